"""The page of a fit: its answer, what to do next, safe, and there whatever is missing."""

import base64
import io
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from fit_folders import CLASSES, whole_summary, write_fit, write_recordings
from test_sweep_page import HOSTILE, HOSTILE_CLASS, Page
from untrained import CNN, write_member

from audio_lightning.compare.fit_summary import FitCandidate, FitFolder, FitResult, FitSummary, LearningPoint, TimeSpent
from audio_lightning.core.errors import CheckpointError, ConfigError, FileError
from audio_lightning.core.files import write_csv
from audio_lightning.report import fit_mistakes
from audio_lightning.report.fit_advice import advice
from audio_lightning.report.fit_mistakes import ClassScore, OutOfFoldResults
from audio_lightning.report.fit_page import write_fit_page
from audio_lightning.report.pages import breakable

HOSTILE_CLASSES = ("a", HOSTILE_CLASS, "c")
SECTIONS = ["use", "leaderboard", "confusion", "classes", "confidence", "clips", "data", "time", "next", "notes"]


def predictions(classes: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Four clips of each class; of the first three are right, of the second two, of the others all."""
    wrong = {(0, 3), (1, 2), (1, 3)}
    return [
        (f"{name}/{number}.wav", name, classes[0] if place else classes[1]) if (place, number) in wrong
        else (f"{name}/{number}.wav", name, name)
        for number in (3, 2, 1, 0) for place, name in enumerate(classes)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("single")
    write_recordings(path / "yard", CLASSES, 4)
    fit = write_fit(path / "fit", whole_summary(path / "yard"), predictions(CLASSES), data=path / "yard")
    return Page(write_fit_page(fit.path))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("hostile")
    data = path / "<i>yard"
    write_recordings(data, HOSTILE_CLASSES, 4)
    candidates = [
        FitCandidate(HOSTILE, HOSTILE, [f"note={HOSTILE}"], "selected", HOSTILE, 0.8, 0.7, 1.0, 3.0, 4.0, 5),
        FitCandidate("cnn", state="stopped", why=HOSTILE),
    ]
    summary = whole_summary(
        data, HOSTILE_CLASSES, candidates=candidates, notes=[HOSTILE], fold_origin=HOSTILE, preset=HOSTILE
    )
    return Page(write_fit_page(write_fit(path / "fit", summary, predictions(HOSTILE_CLASSES), data=data).path))


def test_page_states_the_expected_performance(single: Page) -> None:
    assert single.words["h1"] == ["yard"]
    assert single.words["title"][0] == "yard - fit results"
    lead, more = single.words["p"][1:3]
    assert lead == (
        "Expected accuracy on new recordings: 0.780 (95 % interval 0.710 to 0.840, after selection), from an ensemble "
        "of auto (two PANNs, log-mel and PCEN, 67 %) and mfcc (MFCC, small CNN, 33 %)."
    )
    assert "The interval is over 40 groups." in more
    assert "On the predictions that selected the model: 0.800, optimistic by about 0.020." in more
    assert "Always predicting the most frequent class: 0.250." in more


def test_page_shows_how_to_use_the_model(single: Page, tmp_path: Path) -> None:
    assert single.words["pre"][0].startswith("audio-lightning predict ")
    assert 'classifier = al.load("' in single.words["pre"][1]
    path = tmp_path / 'it\'s "mine"'
    page = Page(write_fit_page(write_fit(path, whole_summary(tmp_path)).path))
    code = page.words["pre"][1].partition("classifier = ")[2].partition(" predictions = ")[0]
    assert eval(code.removeprefix("al.load")) == str(path / "model.ckpt")


def test_the_best_candidates_come_first(single: Page) -> None:
    names = [words.split()[0] for words in single.words["th"] if words.split() and words.split()[0] in
             {"auto", "mfcc", "raw", "vgg", "wav2vec2", "late"}]  # fmt: skip
    assert names[:6] == ["auto", "mfcc", "raw", "vgg", "wav2vec2", "late"]
    assert {"0.810", "0.790", "67 %", "13.5 min", "310"} <= set(single.words["td"])
    states = [words for cell, words in zip_cells(single) if cell.get("class") == "state"]
    assert states[3:5] == ["stopped behind the best after fold 1", "failed no published weights at hand"]


def zip_cells(page: Page) -> list[tuple[dict[str, str], str]]:
    return list(zip(page.all("td"), page.words["td"], strict=True))


def test_lower_is_better_for_a_loss(tmp_path: Path) -> None:
    candidates = [FitCandidate(name, out_of_fold=value) for name, value in (("a", 0.5), ("b", 0.2), ("c", None))]
    page = Page(write_fit_page(write_fit(tmp_path, FitSummary("fast", "loss", candidates=candidates)).path))
    assert [words for words in page.words["th"] if len(words) == 1] == ["b", "a", "c"]


def test_classes_are_shown_from_worst_to_best(single: Page) -> None:
    found = single.words["th"]
    start = found.index("Most often predicted as")
    assert found[start + 1 : start + 5] == ["rain", "dog bark", "siren", "wind"]
    assert "16 clips, 3 of them wrong" in " ".join(single.words["p"])
    cells = [words for cell, words in zip_cells(single) if cell.get("data-label") == "Recall"]
    assert cells == ["0.500", "0.750", "1.000", "1.000"]


def test_mistakes_have_audio_most_confident_first(single: Page) -> None:
    titles = [words for words in single.words["strong"] if " predicted as " in words]
    assert titles == ["dog bark predicted as rain", "rain predicted as dog bark", "rain predicted as dog bark"]
    players = single.all("audio")
    assert [player["aria-label"] for player in players] == [
        "Play dog bark/3.wav",
        "Play rain/3.wav",
        "Play rain/2.wav",
    ]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(players[0]["src"].partition(",")[2], validate=True)))
    assert (rate, samples.shape) == (16000, (8000,))


@pytest.mark.parametrize("windows", [True, False], ids=["windows", "whole recordings"])
def test_missing_recordings_are_named(tmp_path: Path, windows: bool) -> None:
    data = tmp_path / "yard"
    write_recordings(data, CLASSES, 4)
    (data / "rain" / "3.wav").unlink()
    fit = write_fit(tmp_path / "fit", whole_summary(data), predictions(CLASSES), data=data, windows=windows)
    page = Page(write_fit_page(fit.path))
    assert [player["aria-label"] for player in page.all("audio")] == ["Play dog bark/3.wav", "Play rain/2.wav"]
    assert len(page.all("figure")) == 3
    assert "rain/3.wav" in page.words["span"]
    assert any(words.startswith("Some of the recordings cannot be read any more") for words in page.words["p"])


def test_clips_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_mistakes, "MOST_CLIPS", 2)
    page = Page(write_fit_page(write_fit(tmp_path, whole_summary(tmp_path), predictions(CLASSES)).path))
    assert len(page.all("figure")) == 2


def test_multilabel_clips(tmp_path: Path) -> None:
    rows = [("a.wav", "dog bark|rain", "rain"), ("b.wav", "", "siren"), ("c.wav", "dog bark", "dog bark"),
            ("d.wav", "siren|wind", "siren|wind"), ("e.wav", "", "")]  # fmt: skip
    summary = whole_summary(tmp_path, multilabel=True, metric="mean_average_precision")
    page = Page(write_fit_page(write_fit(tmp_path / "fit", summary, rows).path))
    assert page.ids() == [name for name in SECTIONS if name != "confusion"]
    assert "Average precision" in page.words["th"]
    assert any("5 clips, 2 of them with an additional or a missing label" in words for words in page.words["p"])
    titles = [words for words in page.words["strong"] if "labelled" in words]
    assert titles == ["dog bark missed, labelled dog bark, rain", "siren predicted, labelled as none of the classes"]


def test_confidence_is_shown(single: Page) -> None:
    (words,) = [words for words in single.words["p"] if "calibration error" in words]
    assert "0.031 (0.094 before calibration), Brier score 0.402 (0.431 before)" in words
    assert "temperature of 1.62" in words
    assert {"Reliability", "Precision and coverage"} <= set(single.words["h3"])


def test_text_is_escaped_and_nothing_is_external(hostile: Page) -> None:
    assert "://" not in hostile.html
    assert "url(" not in hostile.html
    assert hostile.all("script") == []
    for _, attributes in hostile.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    (policy,) = [meta["content"] for meta in hostile.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    assert hostile.words["h1"] == ["<i>yard"]
    assert HOSTILE in hostile.words["b"]
    assert HOSTILE in hostile.words["li"]
    assert HOSTILE_CLASS in hostile.words["th"]
    assert f"Play {HOSTILE_CLASS}/3.wav" in {player["aria-label"] for player in hostile.all("audio")}


@pytest.mark.parametrize("name", ["single", "hostile"])
def test_page_is_accessible(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    assert page.all("html") == [{"lang": "en"}]
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row"}
    assert page.ids() == SECTIONS
    assert [link["href"][1:] for link in page.all("a")] == SECTIONS
    for picture in page.all("svg"):
        assert picture.get("aria-hidden") == "true" or (picture["role"] == "img" and picture["aria-label"])


SELECTED = FitCandidate("cnn", state="selected", weight=1.0)


@pytest.mark.parametrize(
    ("summary", "sections", "lead"),
    [
        (FitSummary("fast", "accuracy"), [], "There is no model yet."),
        (
            FitSummary("fast", "accuracy", candidates=[FitCandidate("cnn", state="stopped")], notes=["early"]),
            ["leaderboard", "notes"],
            "There is no model yet.",
        ),
        (
            FitSummary("fast", "accuracy", candidates=[SELECTED]),
            ["use", "leaderboard"],
            "The model is cnn; its expected performance is unknown, because the fit ended before the evaluation.",
        ),
        (
            FitSummary("fast", "f1_macro", candidates=[SELECTED], result=FitResult("f1_macro", 0.5, unit="1 group")),
            ["use", "leaderboard"],
            "Expected f1 macro on new recordings: 0.500 (after selection), from cnn.",
        ),
        (FitSummary("fast", "accuracy", recordings=3), ["data"], "There is no model yet."),
        (FitSummary("fast", "accuracy", time=[TimeSpent("measuring", 0.0)]), ["time"], "There is no model yet."),
    ],
    ids=["nothing", "stopped", "no result", "no interval", "measured", "timed"],
)
def test_sections_without_data_are_left_out(
    tmp_path: Path, summary: FitSummary, sections: list[str], lead: str
) -> None:
    page = Page(write_fit_page(write_fit(tmp_path, summary).path))
    assert page.ids() == sections
    assert page.words["p"][1] == lead


def test_time_outside_all_stages_is_shown(single: Page, tmp_path: Path) -> None:
    assert "everything else" in single.words["th"]
    assert "18.8 min" in single.words["td"]
    summary = whole_summary(tmp_path, spent_seconds=1062.0)
    assert "everything else" not in Page(write_fit_page(write_fit(tmp_path, summary).path)).words["th"]


@pytest.mark.parametrize(
    ("metric", "gap", "expected"), [("accuracy", -0.02, None), ("loss", 0.02, None), ("loss", -0.02, "by about 0.020")]
)
def test_negative_optimism_is_not_reported(metric: str, gap: float, expected: str | None, tmp_path: Path) -> None:
    summary = whole_summary(tmp_path, metric=metric, result=FitResult(metric, 0.7, 0.6, 0.8, 0.68, gap))
    page = write_fit_page(write_fit(tmp_path, summary).path).read_text(encoding="utf-8")
    assert ("optimistic" in page) == (expected is not None)
    assert (expected or "") in page


def scored(*found: tuple[str, int, float | None]) -> OutOfFoldResults:
    classes = [ClassScore(name, clips, score, None, None, ("rain", 3)) for name, clips, score in found]
    return OutOfFoldResults(10, 1, classes, None, [], None, None)


@pytest.mark.parametrize(
    ("changes", "results", "expected"),
    [
        ({}, scored(("a", 5, 0.2), ("b", 30, 0.9), ("c", 40, 0.9)), "Record more of a (5 clips, F1 0.20, often "),
        ({}, scored(("a", 50, 0.2), ("b", 30, 0.9), ("c", 40, 0.9)), "Listen to clips of a (50 clips, F1 0.20, often "),
        ({"learning": [LearningPoint(1.0, 0.8), LearningPoint(0.5, 0.6)]}, None, "From 50 to 100 % of the recordings"),
        ({"learning": [LearningPoint(0.5, 0.6), LearningPoint(1.0, 0.8)]}, None, "recordings of all classes will"),
        ({"learning": [LearningPoint(0.5, 0.6), LearningPoint(1.0, 0.6)]}, None, "probably help little"),
        (
            {"learning": [LearningPoint(0.5, 0.6), LearningPoint(1.0, 0.7, 0.02, 0.18)]},
            None,
            "+0.020 to +0.180): more ",
        ),
        ({"learning": [LearningPoint(0.5, 0.6), LearningPoint(1.0, 0.7, -0.1, 0.3)]}, None, "too few recordings were"),
        ({"learning": [LearningPoint(0.5, 0.6), LearningPoint(1.0, 0.59, -0.03, 0.005)]}, None, "help little"),
        (
            {"learning": [LearningPoint(0.5, 0.8), LearningPoint(1.0, 0.6, -0.3, 0.1)], "metric": "loss"},
            None,
            "too few recordings were tested",
        ),
        (
            {"learning": [LearningPoint(0.5, 0.8), LearningPoint(1.0, 0.6)], "metric": "loss"},
            None,
            "of all classes will",
        ),
        ({"candidates": [FitCandidate("cnn", state="skipped")]}, None, "cnn was not trained on all folds"),
        ({"result": FitResult("accuracy", 0.7, 0.6, 0.8, unit="9 groups")}, None, "interval, over 9 groups, is 0.20 "),
    ],
)
def test_recommendations(
    tmp_path: Path, changes: dict[str, object], results: OutOfFoldResults | None, expected: str
) -> None:
    fit = write_fit(tmp_path, whole_summary(tmp_path, **changes))
    assert any(expected in item.text for item in advice(fit, fit.read_summary(), results))


@pytest.mark.parametrize(
    ("changes", "results", "absent"),
    [
        ({}, scored(("a", 5, 0.88), ("b", 30, 0.9), ("c", 40, 0.9)), "Record more"),
        ({}, scored(("a", 5, 0.88)), "Record more"),
        ({}, scored(("a", 0, None), ("b", 30, 0.9), ("c", 40, 0.9)), "Record more"),
        ({"learning": [LearningPoint(1.0, 0.6)]}, None, "of the recordings"),
        ({"budget_seconds": None}, None, "larger budget"),
        ({"candidates": [SELECTED]}, None, "larger budget"),
        ({"result": FitResult("accuracy", 0.7, 0.68, 0.72)}, None, "interval"),
        ({"result": FitResult("accuracy", 0.7)}, None, "interval"),
        ({"data": []}, None, "repeated recordings"),
        ({}, None, "left out"),
    ],
)  # fmt: skip
def test_needless_recommendations_are_left_out(
    tmp_path: Path, changes: dict[str, object], results: OutOfFoldResults | None, absent: str
) -> None:
    fit = write_fit(tmp_path, whole_summary(tmp_path, **changes))
    assert not any(absent in item.text for item in advice(fit, fit.read_summary(), results))


@pytest.mark.parametrize(
    ("override", "typed"),
    [
        ("data.root='/a b/c'", "data.root=/a b/c"),
        ("data.root=/a", "data.root=/a"),
        ("data.label='yes'", "data.label='yes'"),
        ("data.root='", "data.root='"),
    ],
)
def test_commands_are_shown_without_hydra_quotes(tmp_path: Path, override: str, typed: str) -> None:
    fit = write_fit(tmp_path, whole_summary(Path("yard"), data=[override]))
    (command,) = [item.command for item in advice(fit, fit.read_summary(), None) if "check" in item.command]
    assert command == shlex.join(["audio-lightning", "check", typed, "--report", "check.html"])


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    summary = whole_summary(tmp_path, data=["data=folder", "data.bad_recordings=skip"])
    fit = write_fit(tmp_path / "fit", summary, data=tmp_path)
    ((run, _),) = fit.sweep.folders()
    write_csv(run.problems, ["where", "what"], [["a.wav", "is empty"], ["b.wav", "is no recording"]])
    found = advice(fit, summary, None)
    assert f"Repair or delete what was left out: a.wav and b.wav. {run.problems} gives the reasons." in [
        item.text for item in found
    ]
    assert "audio-lightning check data=folder --report check.html" in [item.command for item in found]


@pytest.mark.parametrize("unit", ["clips", "recordings"])
def test_rows_of_the_predictions_are_named(tmp_path: Path, unit: str) -> None:
    result = FitResult("accuracy", 0.8, whole_recordings=unit == "recordings")
    summary = whole_summary(tmp_path, result=result)
    page = Page(write_fit_page(write_fit(tmp_path, summary, predictions(CLASSES)).path))
    assert unit.capitalize() in page.words["th"]
    assert {"clips": "Recordings", "recordings": "Clips"}[unit] not in page.words["th"]
    assert f"% of the {unit} that have a prediction" in page.words["text"]
    assert "100.0 % (16 of 16)" in page.words["td"]  # the count beside the coverage
    found = advice(FitFolder(tmp_path), summary, scored(("a", 5, 0.2), ("b", 30, 0.9), ("c", 40, 0.9)))
    assert f"Record more of a (5 {unit}, F1 0.20" in found[0].text


def test_axis_of_a_share_ends_at_one(single: Page) -> None:
    assert not [words for words in single.words["text"] if words.startswith("1.0")]


def test_names_break_at_their_separators() -> None:
    assert breakable("speech_embedding, <b>.") == "speech_<wbr>embedding,<wbr> &lt;b&gt;."


def test_a_wide_interval_of_a_part_of_the_recordings(tmp_path: Path) -> None:
    result = FitResult("accuracy", 0.7, 0.6, 0.8, whole_recordings=True)
    fit = write_fit(tmp_path, whole_summary(tmp_path, result=result))
    results = scored(("a", 5, 0.9))
    texts = [item.text for item in advice(fit, fit.read_summary(), results)]
    assert (
        "The 95 % interval is 0.20 wide; 10 of 80 recordings were predicted, and a larger budget predicts more."
        in texts
    )


@pytest.mark.parametrize(("budget", "twice"), [(180.0, "6m"), (1200.0, "40m"), (3600.0, "2h"), (5.0, "1m")])
def test_larger_budget_repeats_the_command(tmp_path: Path, budget: float, twice: str) -> None:
    fit = write_fit(tmp_path / "my fit", whole_summary(Path("yard"), budget_seconds=budget))
    (command,) = [item.command for item in advice(fit, fit.read_summary(), None) if "budget" in item.command]
    assert command == f"audio-lightning fit data=folder data.root=yard preset=good metric=accuracy budget={twice}"


def test_larger_budget_keeps_the_folder_of_the_fit(tmp_path: Path) -> None:
    words = ["data=folder", "data.root=my yard", "budget=20m", "exclude=quick", "fit.dir=here"]
    fit = write_fit(tmp_path / "fit", whole_summary(Path("yard"), command=words))
    (command,) = [item.command for item in advice(fit, fit.read_summary(), None) if "budget" in item.command]
    assert command == "audio-lightning fit data=folder 'data.root=my yard' exclude=quick fit.dir=here budget=40m"


@pytest.mark.parametrize(
    ("rows", "multilabel"), [([("a.wav", "cat", "rain")], False), ([("a.wav", "rain|cat", "rain")], True)]
)
def test_damaged_predictions_are_one_line(tmp_path: Path, rows: list[tuple[str, str, str]], multilabel: bool) -> None:
    write_fit(tmp_path, whole_summary(tmp_path, multilabel=multilabel), rows)
    with pytest.raises(FileError, match=r"out_of_fold\.csv: damaged, no column 'probability cat'; run the fit again"):
        write_fit_page(tmp_path)


def test_other_folders_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a folder with fit\.json"):
        write_fit_page(tmp_path)


@pytest.mark.parametrize("cut", [lambda found: replace(found, groups=None), lambda found: replace(found, machine=None)])
def test_unknown_facts_are_left_out(tmp_path: Path, cut: Callable[[FitSummary], FitSummary]) -> None:
    page = Page(write_fit_page(write_fit(tmp_path, cut(whole_summary(tmp_path))).path))
    assert ("Machine" not in page.words["dt"]) or ("no groups known" in page.words["small"])


def test_relevance_is_optional(tmp_path: Path) -> None:
    write_recordings(tmp_path / "yard", CLASSES, 4)
    fit = write_fit(tmp_path / "fit", whole_summary(tmp_path / "yard"), predictions(CLASSES), data=tmp_path / "yard")
    with pytest.raises(CheckpointError):
        write_fit_page(fit.path, relevance=True)
    write_member(fit.model, *CNN, classes=CLASSES, sample_rate=16000, num_samples=8000)
    write_fit_page(fit.path)
    without = fit.report.read_text()
    assert "Relevance for" not in without
    text = write_fit_page(fit.path, relevance=True).read_text()
    assert text.count("Relevance for dog bark in") == 2
    assert text.count("Relevance for rain in") == 1
    assert "dog bark in the final model: 0." in text
    assert "The second picture highlights the 10 % of the sound" in text
