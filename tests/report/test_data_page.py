"""The page about a data set: whole in itself, safe, true, and not too large."""

import base64
import csv
import functools
import io
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
from omegaconf import OmegaConf
from PIL import Image

from audio_lightning.config import build, compose
from audio_lightning.data.audit import Finding, audit
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.opening import Opened, examine
from audio_lightning.report import data_page
from audio_lightning.report.data_page import LONGEST_SECONDS, MEDIA_BYTES, Plan, write_data_page

HOSTILE_CLASS = "</h3><script>alert(1)</script>"
HOSTILE_FILE = "x\"><img src=y onerror='alert(1)'>.wav"

VOID = {"meta", "link", "img", "br", "wbr", "rect", "line", "path"}


class Page(HTMLParser):
    """A page with its elements, after a look at how they are nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, f"</{tag}> on line {self.getpos()[0]} closes something else"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((self._open[-1] if self._open else "", data.strip()))

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def inside(self, tag: str) -> list[str]:
        return [text for where, text in self.text if where == tag]


@functools.cache
def settings() -> dict[str, Any]:
    lines = ["data=urbansound8k", "data.root=.", "data.sample_rate=8000", "data.clip_seconds=0.25"]
    return OmegaConf.to_container(compose(lines).data, resolve=True)


def examined(root: Path, **options: Any) -> tuple[AudioDataModule, Opened]:
    ready = build({**settings(), "root": str(root), **options}, AudioDataModule, where="data")
    return ready, examine(ready)


def page_of(file: Path, ready: AudioDataModule, examination: Opened) -> Page:
    write_data_page(file, ready, examination, audit(ready, examination))
    return Page(file.read_text(encoding="utf-8"))


def media(address: str, kind: str) -> io.BytesIO:
    head, _, content = address.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(content, validate=True))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose names try to become elements of the page, with a finding about one of them."""
    root = tiny.write_urbansound8k(tmp_path_factory.mktemp("hostile") / "<b>set & more")
    table = root / "metadata/UrbanSound8K.csv"
    rows = list(csv.reader(table.read_text(encoding="utf-8").splitlines()))
    for row in rows:
        row[7] = row[7].replace("noise", HOSTILE_CLASS)
    (root / f"audio/fold{rows[1][5]}/{rows[1][0]}").rename(root / f"audio/fold{rows[1][5]}/{HOSTILE_FILE}")
    rows[1][0] = HOSTILE_FILE
    soundfile.write(root / f"audio/fold{rows[1][5]}/{HOSTILE_FILE}", np.zeros(2000), 8000)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


@pytest.fixture(scope="module")
def page(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(folder / "cache"))
        patch.setattr(data_page, "CLIPS_A_CLASS", 12)  # so that the odd file is among those shown
        return page_of(folder / "page.html", *examined(hostile))


def test_page_has_no_external_resources_and_no_scripts(page: Page) -> None:
    assert "://" not in page.html
    assert "url(" not in page.html
    assert "@import" not in page.html
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def test_names_are_escaped(page: Page) -> None:
    assert page.inside("title")[0] == "<b>set & more - data check"
    assert HOSTILE_CLASS in page.inside("h3")
    assert HOSTILE_CLASS in page.inside("th")
    assert f"audio/fold1/{HOSTILE_FILE}" in page.inside("strong")
    assert f"audio/fold1/{HOSTILE_FILE}" in page.inside("td")
    assert f"Play audio/fold1/{HOSTILE_FILE}" in [player["aria-label"] for player in page.all("audio")]


def test_page_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert all(player["aria-label"] for player in page.all("audio"))
    assert {cell["scope"] for cell in page.all("th")} == {"col", "row"}
    for picture in page.all("svg"):
        assert picture.get("aria-hidden") == "true" or (picture["role"] == "img" and picture["aria-label"])
    names = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(names.values()) == {1}
    wanted = [attributes.get("aria-labelledby") or attributes.get("href", "")[1:] for _, attributes in page.elements
              if "aria-labelledby" in attributes or str(attributes.get("href", "")).startswith("#")]  # fmt: skip
    assert set(wanted) <= set(names)
    assert len(wanted) >= 10


def test_a_player_and_pictures_for_every_clip(page: Page) -> None:
    assert len(page.all("audio")) == len(page.all("figure")) == len(page.all("img")) == 36
    for image in page.all("img"):
        with Image.open(media(image["src"], "image/png")) as picture:
            assert picture.size[1] == 64
            assert 20 < picture.size[0] <= 300
    assert all(path["d"].startswith("M0 ") for path in page.all("path"))


def test_playback_is_the_input_of_the_network(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k, sample_rate=6000)
    page = page_of(tmp_path / "page.html", ready, examination)
    paths = examination.manifest.table["path"].tolist()
    assert len(page.all("audio")) == 9
    for player in page.all("audio"):
        samples, rate = soundfile.read(media(player["src"], "audio/flac"), dtype="float32")
        row = paths.index(player["aria-label"].removeprefix("Play "))
        assert rate == 6000
        np.testing.assert_allclose(samples, examination.audio[examination.recording[row]], atol=2**-15)


def test_playback_begins_at_the_start_of_the_clip(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k)
    table = examination.manifest.table.assign(start_seconds=0.05, stop_seconds=0.1)
    page = page_of(tmp_path / "page.html", ready, replace(examination, manifest=examination.manifest.with_table(table)))
    for player in page.all("audio"):
        samples, _ = soundfile.read(media(player["src"], "audio/flac"), dtype="float32")
        row = table["path"].tolist().index(player["aria-label"].removeprefix("Play "))
        np.testing.assert_allclose(samples, examination.audio[examination.recording[row]][400:800], atol=2**-15)
    assert len([text for text in page.inside("figcaption") if "0.05 s from 0.05 s" in text]) == 9


def test_examples_depend_on_the_seed(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    shown = []
    for number, seed in enumerate((0, 0, 1)):
        page = page_of(tmp_path / f"{number}.html", *examined(tiny_urbansound8k, seed=seed))
        shown.append([player["aria-label"] for player in page.all("audio")])
    assert shown[0] == shown[1]
    assert shown[0] != shown[2]
    assert (tmp_path / "0.html").read_bytes() == (tmp_path / "1.html").read_bytes()


def test_figures_are_those_of_the_data(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k)
    page = page_of(tmp_path / "page.html", ready, examination)
    seconds = sum(soundfile.info(path).duration for path in tiny_urbansound8k.glob("audio/*/*.wav"))
    facts = dict(zip(page.inside("dt"), page.inside("strong")))
    assert facts == {
        "Recordings": "36", "Duration": f"{seconds / 60:.1f} min", "Clips": "36", "Clip length": "0.25 s",
        "Classes": "3", "Sample rate used": "8,000 Hz", "Split": "folds", "Leakage": "none found",
    }  # fmt: skip
    cells = page.inside("td")
    assert cells[:12] == ["6", "3", "3", "12"] * 3
    rows = page.inside("th")
    lengths = [row for row in rows if " to " in row]
    counts = [int(cell) for cell in cells[12 : 12 + len(lengths)]]
    assert sum(counts) == 36
    assert len(lengths) > 5
    assert {"8,000 Hz", "WAV PCM 16", "1"} <= set(rows)
    assert "No problems were found." in page.inside("p")


def test_the_histogram_puts_the_longest_into_one_bar() -> None:
    seconds = np.concatenate([np.full(500, 1.0), np.full(498, 0.2), np.full(2, 90.0)])
    lengths = data_page._lengths(seconds, 4.0)
    assert [bar for bar in lengths["bars"] if bar[1]] == [
        ("0.2 to 0.25 s", 498), ("1 to 1.05 s", 500), ("1.05 s and longer", 2)
    ]  # fmt: skip
    assert lengths["whole_at"] is None
    assert (lengths["padded"], lengths["cut"]) == (0.998, 0.002)


def test_background_noise_is_as_long_as_a_clip(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k, clip_seconds=0.1)
    table = examination.manifest.table.assign(background=True)
    page = page_of(tmp_path / "page.html", ready, replace(examination, manifest=examination.manifest.with_table(table)))
    assert any(text.startswith("0.1 to 0.1 s, median 0.1 s") for text in page.inside("p"))


def test_many_findings_are_cut_short(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k)
    findings = [Finding("clipped", f"{number}.wav", f"is clipped: {number}") for number in range(1234)]
    write_data_page(tmp_path / "page.html", ready, examination, [*findings, Finding("missing", "x.wav", "is missing")])
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "1,235 findings of 2 kinds" in page.inside("p")
    assert sum(text.startswith("is clipped") for text in page.inside("td")) == data_page.FINDINGS_A_KIND
    assert any(text.startswith("and 1,184 more") for text in page.inside("td"))
    assert [("open" in group) for group in page.all("details")][:2] == [True, False], "the gravest first"


def test_findings_are_ordered_by_severity_and_equal_ones_are_joined(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k)
    kinds = ("short", "silent", "leak", "missing", "unlisted")
    findings = [Finding(kind, f"{number}.wav", f"of {kind}") for number in range(30) for kind in kinds]
    write_data_page(tmp_path / "page.html", ready, examination, findings)
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    cells = page.inside("td")[:10]
    assert cells[1::2] == ["of leak", "of missing", "of silent", "of unlisted", "of short"]
    assert cells[0] == ", ".join(f"{number}.wav" for number in range(8)) + " and 22 more"
    assert [text for text in page.inside("span") if text.split()[0] in ("60", "30")] == [
        "60 errors", "30 warnings", "60 hints"
    ]  # fmt: skip


def test_without_splits_and_without_readable_clips(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    for path in root.glob("audio/*/*.wav"):
        path.write_bytes(b"no sound")
    page = page_of(tmp_path / "page.html", *examined(root, test_fold=9))
    assert "No recording can be read." in page.inside("p")
    assert page.inside("p").count("No clip of this class can be read.") == 3
    assert "no split" in page.inside("th")
    assert page.all("audio") == []
    assert dict(zip(page.inside("dt"), page.inside("strong")))["Split"] == "none"


def test_windows_and_multilabel_clips(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    ready, examination = examined(tiny_urbansound8k, clip_seconds=0.05, hop_seconds=0.05)
    table = examination.manifest.table
    both = table.assign(label=table["label"].replace("noise", "noise;low_tone"))
    manifest = replace(examination.manifest, table=both, label_separator=";")
    page = page_of(tmp_path / "page.html", ready, replace(examination, manifest=manifest))
    facts = dict(zip(page.inside("dt"), page.inside("strong")))
    assert int(facts["Clips"]) > 3 * 36
    assert any(text.endswith("are longer and are cut into windows.") for text in page.inside("p"))
    assert page.inside("td")[:12] == ["6", "3", "3", "12", "12", "6", "6", "24", "6", "3", "3", "12"]
    assert any("noise;low_tone" in text for text in page.inside("figcaption"))


def test_low_frequencies_are_at_the_bottom_and_time_runs_to_the_right() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(4000) / 8000).astype(np.float32)
    tone[2000:] = 0
    with Image.open(io.BytesIO(data_page._log_mel(tone, 8000))) as picture:
        loud = np.asarray(picture) > 200
    rows, columns = np.nonzero(loud)
    assert rows.min() > 32
    assert columns.max() < loud.shape[1] * 0.55


@pytest.mark.parametrize("samples", [np.zeros(4000), np.array([0.5]), np.full(3, -1.0), np.sin(np.arange(9000))])
def test_every_sound_has_a_picture(samples: np.ndarray) -> None:
    samples = samples.astype(np.float32)
    with Image.open(io.BytesIO(data_page._log_mel(samples, 8000))) as picture:
        values = np.asarray(picture)
        assert values.shape[0] == 64
        assert (values.max() == 0) == (samples.max() == samples.min() == 0)
    points = data_page._waveform(samples)[1:-1].split("L")
    heights = [int(point.split()[1]) for point in points]
    assert 0 <= min(heights) <= max(heights) <= 100


@pytest.mark.parametrize(
    ("classes", "rate", "plan"),
    [(0, 22050, (0, 3, 5.0)), (10, 22050, (10, 3, 5.0)), (50, 22050, (50, 2, None)), (50, 48000, (50, 1, None)),
     (5000, 16000, (None, 1, 2.0))],
)  # fmt: skip
def test_page_size_is_bounded(classes: int, rate: int, plan: tuple[int | None, int, float | None]) -> None:
    """White noise, which can't be compressed, in every clip of every class."""
    made = Plan.of(classes, rate)
    assert (made.classes if plan[0] is not None else None, made.clips) == plan[:2]
    assert 2.0 <= made.seconds <= LONGEST_SECONDS
    assert plan[2] in (None, made.seconds)
    noise = np.random.default_rng(0).uniform(-1, 1, round(made.seconds * rate)).astype(np.float32)
    pictures = len(data_page._waveform(noise)) + 4 / 3 * len(data_page._log_mel(noise, rate))
    assert pictures < data_page.PICTURE_BYTES - 2000
    clip = data_page.PICTURE_BYTES + 4 / 3 * len(data_page._flac(noise, rate))
    assert made.classes * made.clips * clip <= MEDIA_BYTES
    assert made.classes * made.clips * clip > 0.4 * MEDIA_BYTES or made.seconds == LONGEST_SECONDS


def test_smaller_bounds_are_respected(tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_page, "MEDIA_BYTES", 150_000)
    monkeypatch.setattr(data_page, "SHORTEST_SECONDS", 0.1)
    page = page_of(tmp_path / "page.html", *examined(tiny_urbansound8k))
    assert 0 < len(page.all("audio")) < 9
    assert len(page.html) < 150_000 + 30_000
