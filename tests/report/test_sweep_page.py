"""The page of a sweep: its answer, whole in itself, safe, and there whatever is missing."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from omegaconf import OmegaConf
from PIL import Image
from sweep_folders import make_sweep, trial

from audio_lightning.compare.leaderboard import make_boards
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config import compose
from audio_lightning.core.files import write_csv
from audio_lightning.figures.colours import luminance
from audio_lightning.report import charts, mistakes, sweep_page
from audio_lightning.report.effects import VALUE, balanced_part, heat_axes, interactions, main_effects
from audio_lightning.report.pages import heat
from audio_lightning.report.svg import Chart, Scale
from audio_lightning.report.sweep_page import write_sweep_page

HOSTILE = "</script><script>alert(1)</script>"
HOSTILE_CLASS = "<img src=x onerror='alert(1)'>"
VOID = {"meta", "link", "img", "br", "wbr", "line"}


class Page(HTMLParser):
    """Elements of a page and their text; raises for wrong nesting."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.html = file.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.words: dict[str, list[str]] = {}
        self._open: list[tuple[str, list[str]]] = []
        self.feed(self.html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, []))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        opened, words = self._open.pop()
        assert opened == tag, f"</{tag}> on line {self.getpos()[0]} closes <{opened}>"
        self.words.setdefault(tag, []).append(" ".join("".join(words).split()))

    def handle_data(self, data: str) -> None:
        for _, words in self._open:
            words.append(data)

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def write_page(sweep: SweepFolder) -> Page:
    results, facts = read_results([sweep]), sweep.read_facts()
    return Page(write_sweep_page(sweep, results, make_boards(results, facts.monitor, facts.axes, [sweep])))


def add_test(sweep: SweepFolder, number: int, rows: list[tuple[str, str, str]], classes: list[str]) -> None:
    """Write what a test leaves behind, of rows of path, label and prediction; half a second of each is the clip."""
    (folder,) = [found for found, status in sweep.folders() if status.number == number]
    shares = [[0.8 if name == predicted else 0.1 for name in classes] for _, _, predicted in rows]
    header = [
        "path",
        "start_seconds",
        "end_seconds",
        "label",
        "predicted",
        *(f"probability {name}" for name in classes),
    ]
    write_csv(folder.predictions, header, ([row[0], "0.250", "0.750", *row[1:], *p] for row, p in zip(rows, shares)))
    write_csv(folder.per_class, ["class", "f1"], [[name, 0.5] for name in classes])
    history = [[epoch, 2 / epoch, 1 - 0.5 / epoch, 2 / epoch] for epoch in (1, 2, 3)]
    write_csv(folder.history, ["epoch", "train/loss", "validation/accuracy", "validation/loss"], history)


def make_playable_sweep(path: Path) -> SweepFolder:
    """Two models with two seeds on readable recordings, and trials without a result; all names are hostile."""
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)
    for name in ("a", HOSTILE_CLASS):
        (path / "data" / name).mkdir(parents=True)
        for number in range(2):
            soundfile.write(path / "data" / name / f"{number} <i>.wav", np.stack([tone, tone], axis=1), 24000)
    data: Any = OmegaConf.to_container(compose(["data=folder", "data.sample_rate=24000"]).data, resolve=True)
    config = {"data": {**data, "root": str(path / "data")}, "note": HOSTILE}
    spoken = {"data": config["data"]}
    sweep = make_sweep(
        path / "sweep",
        [
            trial(0.9, 0.8, model="cnn", feature="logmel", seed=0, config=config),
            trial(0.8, 0.7, model="cnn", feature="logmel", seed=1, config=config),
            trial(0.5, 0.6, model="<b>lstm</b>", feature="mfcc", seed=0, config=spoken, metrics={"macs": 9000}),
            trial(0.4, 0.3, model="<b>lstm</b>", feature="mfcc", seed=1, config=spoken, metrics={"macs": 9000}),
            trial(model="sincnet", feature="mfcc", seed=0, state="skipped", reason="SincNet takes waveforms"),
            trial(model="sincnet", feature="mfcc", seed=1, state="skipped", reason="SincNet takes waveforms"),
            trial(model="cnn", feature="mfcc", seed=0, state="failed", reason=f"RuntimeError: {HOSTILE}"),
            trial(model="cnn", feature="mfcc", seed=1, state="pruned"),
        ],
    )
    sweep.write_facts(
        replace(
            sweep.read_facts(),
            name=HOSTILE,
            overrides=["model=cnn,lstm", f"note={HOSTILE}"],
            created="2026-11-21T12:34:56+00:00",
            version="1.2.3",
        )
    )
    classes = ["a", HOSTILE_CLASS]
    rows = [(f"{label}/{number} <i>.wav", label, classes[number]) for label in classes for number in range(2)]
    for number in range(4):
        add_test(sweep, number, rows, classes)
    return sweep


@pytest.fixture(scope="module")
def playable(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return make_playable_sweep(tmp_path_factory.mktemp("playable"))


@pytest.fixture(scope="module")
def page(playable: SweepFolder) -> Page:
    return write_page(playable)


def test_page_has_no_external_resources_and_one_script(page: Page) -> None:
    assert "://" not in page.html
    assert "url(" not in page.html
    assert "@import" not in page.html
    assert len(page.all("script")) == 1
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        r"script-src 'sha256-[\w+/]{43}='",
        policy,
    )


def test_names_are_escaped(page: Page) -> None:
    assert page.words["title"][0] == f"{HOSTILE} - sweep results"
    assert page.words["h1"] == [HOSTILE]
    assert "<b>lstm</b>" in page.words["th"]
    assert HOSTILE_CLASS in page.words["th"]
    assert f"RuntimeError: {HOSTILE}" in page.words["td"]
    assert HOSTILE in page.words["code"]
    assert page.words["pre"] == [f"python sweep.py model=cnn,lstm 'note={HOSTILE}'"]
    assert "alert" not in page.words["script"][0]
    assert {player["aria-label"] for player in page.all("audio")} >= {f"Play {HOSTILE_CLASS}/0 <i>.wav"}


@pytest.mark.parametrize(("name", "heading"), [("3fa9c1d2e4b5", "Model × feature on demo (birds)"), ("first", "first")])
def test_the_heading_names_the_sweep(tmp_path: Path, name: str, heading: str) -> None:
    """A sweep with the default name, the hash of its grid, has a title of its axes."""
    data = {"data": {"name": "demo", "root": "recordings/birds"}}
    setups = [
        trial(model=model, feature="mfcc", seed=seed, config=data) for model in ("cnn", "lstm") for seed in (0, 1)
    ]
    page = write_page(make_sweep(tmp_path / name, setups))
    assert page.words["h1"] == [heading]
    assert page.words["title"][0] == f"{heading} - sweep results"
    assert page.words["p"][0] == "Sweep over model, feature, seed on demo (birds)"
    assert "3fa9c1d2e4b5" not in page.html


def test_every_cell_of_a_narrow_table_has_its_heading(page: Page) -> None:
    """In narrow windows a row becomes a list of headings and cells."""
    heads = set(page.words["button"]) | {"Rank"}
    for cell in page.all("td"):
        if "data-v" in cell:
            assert cell["data-label"] in heads


def test_page_states_the_best_setup(page: Page) -> None:
    lead, test, more = page.words["p"][1:4]
    assert lead == "Best validation accuracy of 2 setups so far: cnn logmel (0.850)."
    assert test == "Test accuracy: 0.750 (2 seeds, no interval). The test split was not used to order the setups."
    assert "No winner yet: cnn logmel is first by validation, but" in more
    assert "is not distinguishable from it." in more
    assert not {"chosen", "choice", "Winner"} & set(re.findall(r"\w+", " ".join(page.words["td"] + page.words["p"])))
    assert any("variance of training" in words for words in page.words["li"])


@pytest.mark.parametrize(
    ("models", "lead", "comparison"),
    [
        (["cnn"], "The only setup: cnn (0.900).", ""),
        (["cnn", "dnn"], "Winner: cnn, with the best validation accuracy of 2 setups (0.900).", "The other setup"),
        (["cnn", "dnn", "lstm"], "Winner: cnn, with the best validation accuracy of 3 setups (0.900).", "All others"),
        (["cnn", "dnn", "near"], "Best validation accuracy of 3 setups so far: cnn (0.900).", "1 of the 2 others"),
    ],
)  # fmt: skip
def test_winner_requires_that_all_others_are_worse(
    tmp_path: Path, models: list[str], lead: str, comparison: str
) -> None:
    means = {"cnn": 0.9, "dnn": 0.5, "lstm": 0.4, "near": 0.895}
    trials = [
        trial(means[model], means[model] + 0.01 * (seed * (place + 1) % 5), model=model, seed=seed)
        for place, model in enumerate(models)
        for seed in range(4)
    ]
    paragraphs = write_page(make_sweep(tmp_path / "sweep", trials)).words["p"]
    assert paragraphs[1] == lead
    assert (
        re.search(f"{comparison} (is|are) significantly worse", paragraphs[3])
        if comparison
        else "worse" not in " ".join(paragraphs)
    )


def test_the_leaderboard_can_be_sorted(page: Page) -> None:
    assert [table.get("class") for table in page.all("table")].count("sortable stack") == 1
    heads = [head for head in page.all("th") if head.get("scope") == "col" and "aria-sort" in head]
    assert [head["aria-sort"] for head in heads] == ["ascending"]
    values = [cell["data-v"] for cell in page.all("td") if "data-v" in cell]
    assert "0.85" in [value[:4] for value in values]
    assert "" in values  # the best is not compared with itself
    assert {"Setup", "Validation", "Test", "Seeds", "Verdict", "MACs"} <= set(page.words["button"])
    assert "Leakage" not in page.words["button"]


def test_the_heat_map_says_why_a_cell_is_empty(page: Page) -> None:
    gaps = [cell for cell in page.all("td") if cell.get("class") == "gap" and "title" in cell]
    assert [gap["title"] for gap in gaps] == [f"RuntimeError: {HOSTILE}", "SincNet takes waveforms"]
    assert "Heat map: feature × model" in page.words["h2"]
    assert "0.850" in page.words["td"]


def test_trials_without_a_result_stand_by_reason(page: Page) -> None:
    start = page.words["th"].index("failed")
    assert page.words["th"][start : start + 2] == ["failed", "skipped"]
    assert any(words.startswith("4: model=sincnet") and "5: model=sincnet" in words for words in page.words["td"])
    assert "4 done, 1 failed, 2 skipped, 1 pruned" in page.words["small"]
    assert "12:34, audio-lightning 1.2.3" in page.words["small"]


def test_mistakes_have_audio(page: Page, playable: SweepFolder) -> None:
    assert any("8 predictions of 4 clips, 4 of them wrong" in words for words in page.words["p"])
    assert len(page.all("audio")) == len(page.all("figure")) == 2
    for player in page.all("audio"):
        head, _, content = player["src"].partition(",")
        assert head == "data:audio/flac;base64"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content, validate=True)))
        assert (rate, samples.shape) == (16000, (8000,))
        assert 0.45 < abs(samples).max() < 0.55
    for image in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as picture:
            assert picture.size[1] == 64


def test_missing_recordings_are_named(tmp_path: Path) -> None:
    sweep = make_playable_sweep(tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")
    page = write_page(sweep)
    assert page.all("audio") == []
    assert any("cannot be read any more" in words and ".wav" in words for words in page.words["p"])


def test_differences_between_the_best_two_setups(page: Page) -> None:
    keys = [words for words in page.words["code"] if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", words)]
    assert "model.name" in keys
    assert "note" in keys
    assert "seed" not in keys
    assert "not set" in page.words["span"]


def test_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row"}
    for picture in page.all("svg"):
        assert picture.get("aria-hidden") == "true" or (picture["role"] == "img" and picture["aria-label"])
    ids = page.ids()
    assert len(set(ids)) == len(ids)
    wanted = {link["href"][1:] for link in page.all("a")}
    assert wanted <= set(ids)
    assert wanted == {
        "leaderboard",
        "heat",
        "effects",
        "costs",
        "curves",
        "confusion",
        "differences",
        "troubles",
        "made",
    }


@pytest.mark.parametrize(
    ("trials", "sections"),
    [
        ([], ["made"]),
        ([trial(model="cnn", state="failed", reason="no")], ["troubles", "made"]),
        ([trial(model="cnn", latency_ms=None)], ["leaderboard", "made"]),
        ([trial(0.9, None, model="cnn"), trial(0.8, None, model="lstm")],
         ["leaderboard", "effects", "differences", "made"]),
        ([trial(0.9, model="cnn", lr=0.1, content="x"), trial(0.8, model="cnn", lr=0.2, content="x"),
          trial(0.7, model="cnn", content="y")],
         ["leaderboard", "effects", "differences", "leaderboard-2", "made"]),
    ],
    ids=["nothing", "only failed", "one", "no test", "two data sets"],
)  # fmt: skip
def test_sections_without_data_are_left_out(tmp_path: Path, trials: list[dict[str, Any]], sections: list[str]) -> None:
    page = write_page(make_sweep(tmp_path / "sweep", trials))
    assert page.ids() == sections
    assert ("No trial has a result yet." in page.words["p"]) == ("leaderboard" not in sections)
    assert ("Test" in page.words.get("button", [])) == any(row.get("test") and not row.get("state") for row in trials)


def test_setups_with_different_windows_are_ordered_by_recordings(tmp_path: Path) -> None:
    trials = [
        trial(0.7 + clip / 10, model="cnn", config={"data": {"clip_seconds": clip, "hop_seconds": 0.5}},
              metrics={"test/recording_accuracy": 0.9 - clip / 10, "validation/recording_accuracy": 0.95 - clip / 10})
        for clip in (1.0, 2.0)
    ]  # fmt: skip
    page = write_page(make_sweep(tmp_path / "sweep", trials))
    paragraphs = " ".join(page.words["p"])
    assert "Best validation recording accuracy of 2 setups so far: cnn data.clip_seconds=1" in paragraphs
    assert "Best first by validation recording accuracy" in paragraphs
    assert page.words["button"].count("Test") == page.words["button"].count("Validation") == 1


def test_equal_values_have_no_interval(tmp_path: Path) -> None:
    page = write_page(make_sweep(tmp_path / "sweep", [trial(0.8, 0.25, model="cnn", seed=seed) for seed in range(3)]))
    assert "Test accuracy: 0.250 (3 seeds, no interval)." in " ".join(page.words["p"])
    assert "95 % interval" not in page.words["button"]


def test_the_expected_figure_is_that_of_nested_selection(tmp_path: Path) -> None:
    values = {"cnn": [(0.9, 0.6), (0.5, 0.9), (0.9, 0.7)], "dnn": [(0.6, 0.8), (0.8, 0.5), (0.6, 0.9)]}
    trials = [
        trial(*pair, model=model, fold=fold) for model, folds in values.items() for fold, pair in enumerate(folds)
    ]
    page = write_page(make_sweep(tmp_path / "sweep", trials))
    paragraphs = " ".join(page.words["p"])
    assert "Expected test accuracy: 0.600 (95 % interval" in paragraphs
    assert "the row that is best on the validation of that fold alone (cnn in 2 and dnn in 1)" in paragraphs
    assert "was not used" not in paragraphs
    assert "0.733" in " ".join(page.words["td"])  # its own, in the table


def test_several_labels_have_no_confusion(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", [trial(model="cnn")])
    add_test(sweep, 0, [("a.wav", "a", "a")], ["a", "b"])
    ((folder, _),) = sweep.folders()
    write_csv(folder.per_class, ["class", "average_precision", "clips"], [["a", 0.5, 1], ["b", "nan", 0]])
    assert "confusion" not in write_page(sweep).ids()


def test_leakage_has_a_stamp(tmp_path: Path) -> None:
    leaking = {"leakage": "present"}
    page = write_page(make_sweep(tmp_path / "sweep", [trial(model=name, metrics=leaking) for name in ("cnn", "lstm")]))
    assert any(attributes.get("class") == "stamp bad" for attributes in page.all("p"))
    assert "Leakage" not in page.words["button"]  # the stamp is for all rows
    trials = [trial(model="cnn", metrics=leaking), trial(model="lstm")]
    page = write_page(make_sweep(tmp_path / "mixed", trials))
    assert "Leakage" in page.words["button"]
    assert page.words["td"].count("present") == 1


def test_five_hundred_trials_stay_small(tmp_path: Path) -> None:
    models = ("cnn", "lstm", "resnet", "vgg", "dnn")
    sweep = make_sweep(tmp_path / "sweep", [trial(model=model, lr=0.1) for model in models])
    written, rng = read_results([sweep]), np.random.default_rng(0)
    rates = rng.uniform(-4, -1, 100)
    many = pd.concat([written.assign(**{"choice.optimizer.lr": 10**rate}) for rate in rates], ignore_index=True)
    many["setup"] = [f"setup {number}" for number in range(500)]
    many["validation/accuracy"], many["macs"] = rng.uniform(0.2, 0.9, 500), rng.integers(1000, 10**9, 500)
    boards = make_boards(many, "validation/accuracy", ["model", "optimizer.lr"], [sweep])
    page = Page(write_sweep_page(sweep, many, boards))
    assert len(page.html) < 1_000_000
    assert "optimizer.lr" in page.words["h3"]
    assert "500 done" in page.words["small"]


# What is behind it


def test_keys_that_vary_within_a_setup_are_no_difference() -> None:
    results = pd.DataFrame({"config.seed": [0, 1, 2, 3], "config.lr": [0.1, 0.1, 0.2, 0.2], "config.same": [1] * 4})
    board = make_boards(
        results.assign(state="done", setup=list("aabb"), content="x", division="d", folder="", leakage="none found",
                       seed=[0, 1, 0, 1], **{"validation/accuracy": 0.5}),
        "validation/accuracy",
        [],
        [SweepFolder(Path())],
    )[0]  # fmt: skip
    found = sweep_page._differences(results, board.rows)
    assert found is not None
    assert found["keys"] == [("lr", "0.1", "0.2")]


def table(rows: dict[tuple[str, str], float]) -> pd.DataFrame:
    return pd.DataFrame([{"feature": one, "model": other, VALUE: value} for (one, other), value in rows.items()])


def test_main_effects_are_balanced() -> None:
    """A front end that was combined with the better model only has no better mean."""
    setups = table({("a", "good"): 0.9, ("b", "good"): 0.9, ("c", "good"): 0.9, ("a", "bad"): 0.5, ("b", "bad"): 0.5})
    effects = {effect.axis: effect for effect in main_effects(setups)}
    assert [(name, pytest.approx(0.9)) for name in "abc"] == [level[:2] for level in effects["feature"].levels]
    assert (effects["feature"].used, effects["feature"].setups, effects["feature"].balanced) == (3, 5, True)
    assert effects["model"].span == pytest.approx(0.4)
    assert list(effects) == ["model", "feature"]


def test_main_effects_without_common_settings_are_unbalanced() -> None:
    (first, _) = main_effects(table({("a", "x"): 0.9, ("b", "y"): 0.5}))
    assert not first.balanced
    assert first.span == pytest.approx(0.4)


def test_interactions_are_residuals_of_the_main_effects() -> None:
    apart = {("a", "x"): 0.1, ("a", "y"): 0.2, ("b", "x"): 0.5, ("b", "y"): 0.6}
    (none,) = interactions(table(apart))
    assert none.size == pytest.approx(0)
    (some,) = interactions(table(apart | {("b", "y"): 0.8, ("c", "x"): 0.3}))
    assert some.size == pytest.approx(0.05)
    assert abs(some.largest) == pytest.approx(0.05)
    assert (some.shape, some.left_out) == ((2, 2), 1)


def test_the_balanced_part_has_no_gaps() -> None:
    gaps = pd.DataFrame([[1, 2, np.nan], [3, 4, np.nan], [5, np.nan, np.nan]])
    assert balanced_part(gaps).to_numpy().tolist() in ([[1, 2], [3, 4]], [[1], [3], [5]])
    assert balanced_part(pd.DataFrame([[np.nan]])).size == 0


def test_a_heat_map_takes_the_axes_with_most_values() -> None:
    setups = pd.DataFrame({"seed": list("aab"), "model": list("abc"), "lr": list("aba"), VALUE: [1.0, 2.0, 3.0]})
    assert heat_axes(setups, setups.drop(columns=VALUE)) == ("seed", "model")
    assert heat_axes(setups[["model", VALUE]], setups[["model"]]) is None


@pytest.mark.parametrize(
    ("values", "within", "ends"),
    [([0.9, 1.0], None, (0.895, 1.005)), ([0.9, 1.0], (0, 1), (0.895, 1.0)), ([1.0], (0, 1), (0.95, 1.0)),
     ([-0.5, 0.5], (0, 1), (-0.5, 0.55)), ([2.0, 4.0], (0, 1), (1.9, 4.0))],
)  # fmt: skip
def test_margins_stay_within_the_possible_values(
    values: list[float], within: tuple[float, float] | None, ends: tuple[float, float]
) -> None:
    scale = Scale.around(values, within=within)
    assert (scale.low, scale.high) == pytest.approx(ends)


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [(Scale(0.58, 0.91), [0.6, 0.7, 0.8, 0.9]), (Scale(0, 0), [0]), (Scale(1, 4, whole=True), [1, 2, 3, 4]),
     (Scale(1, 2, whole=True), [1, 2]), (Scale(900, 2e6, log=True), [1e3, 1e4, 1e5, 1e6]),
     (Scale(1.1e6, 1.42e6, log=True), [1.1e6, 1.2e6, 1.3e6, 1.4e6])],
)  # fmt: skip
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks)


def test_lines_are_interrupted_at_missing_values() -> None:
    chart = Chart("<label>", Scale(0, 4), Scale(0, 1), size=(104, 100), left=0)
    chart.line([(0, 0), (1, 1), (2, float("nan")), (3, 0), (4, 1)], "s0", "<b>")
    svg = str(chart.__html__())
    (drawn,) = re.findall(r' d="([^"]*)"', svg)
    assert re.sub(r"[^ML]", "", drawn) == "MLML"
    assert "&lt;b&gt;" in svg
    assert "<label>" not in svg


def test_labels_of_points_do_not_overlap() -> None:
    chart = Chart("labels", Scale(0, 1), Scale(0, 1), size=(600, 400))
    points = [((0.5 + 0.01 * number, 0.5), f"setup {number}") for number in range(12)] + [((0.1, 0.9), "alone")]
    chart.label(points, most=20)
    svg = str(chart.__html__())
    places = {
        text: (float(x), float(y)) for x, y, text in re.findall(r'x="([\d.]+)" y="([\d.]+)">(setup \d+|alone)<', svg)
    }
    assert "alone" in places
    assert "setup 0" in places
    assert len(places) < 13  # there is no room for all
    rows = sorted({y for _, y in places.values()})
    assert all(below - above >= 14 for above, below in itertools.pairwise(rows))


def test_an_interval_has_caps() -> None:
    chart = Chart("interval", Scale(0, 1), Scale(0, 1), size=(158, 130), left=46)
    chart.interval(0.5, 0.25, 0.75, "whisker")
    (drawn,) = re.findall(r'class="line whisker" d="([^"]*)"', str(chart.__html__()))
    assert drawn == "M91 33h10M91 83h10M96 33V83"


def test_text_on_a_heat_map_has_enough_contrast() -> None:
    """WCAG 2.2 requires a contrast of 4.5:1."""
    for share in np.linspace(0, 1, 101).tolist():
        style = dict(entry.split(": ") for entry in heat(share).split("; "))
        background = [int(style["background"][place : place + 2], 16) / 255 for place in (1, 3, 5)]
        one, other = sorted((luminance(tuple(background)), {"black": 0.0, "white": 1.0}[style["color"]]))
        assert (other + 0.05) / (one + 0.05) >= 4.5, share


def test_only_the_classes_with_most_mistakes_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mistakes, "MOST_CLASSES", 2)
    counts = np.array([[5, 0, 0], [0, 2, 3], [0, 1, 4]])
    found = mistakes.Confusion(["a", "b", "c"], counts, 1, 15, pd.DataFrame())
    assert found.shown() == [1, 2]
    assert found.pairs() == [("b", "c", 3, 0.6), ("c", "b", 1, 0.2)]
    assert found.wrong == 4


def test_curves_are_thinned_to_their_ends() -> None:
    assert charts._thinned(list(range(1000)), 5) == [0, 250, 500, 749, 999]
    assert charts._thinned([1, 2], 5) == [1, 2]


def test_page_is_replaced_atomically(playable: SweepFolder, page: Page) -> None:
    assert write_page(playable).html == page.html
    assert json.loads(playable.facts.read_text())["name"] == HOSTILE
