"""All pages in a real browser: nothing is wider than its column, cut off, too small or too faint to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fit_folders import CLASSES, whole_summary, write_fit, write_recordings
from sweep_folders import make_sweep, trial
from test_data_page import examined, page_of
from test_sweep_page import add_test, make_playable_sweep, write_page
from tiny import write_urbansound8k

from audio_lightning.compare.fit_summary import FitCandidate, FitChoice, FitProperty
from audio_lightning.data.audit import Finding
from audio_lightning.report.data_page import write_data_page
from audio_lightning.report.fit_page import write_fit_page

pytestmark = pytest.mark.full

WORD = "a_name_without_any_blank_in_it"


def crowded_sweep(folder: Path) -> Path:
    """Setups with long names and close costs, more classes than are shown, and a long reason."""
    models = [f"{WORD}_{number}" for number in range(10)]
    rng = np.random.default_rng(0)
    trials = [
        trial(0.9 - place / 100, 0.8 - place / 100 + seed / 50, model=model, feature=feature, seed=seed,
              metrics={"macs": int(1e6 * rng.uniform(1, 2))})
        for place, model in enumerate(models) for feature in ("logmel", "mfcc") for seed in (0, 1)
    ]  # fmt: skip
    sweep = make_sweep(folder / "sweep", [*trials, trial(model="dnn", seed=0, state="failed", reason=50 * f"{WORD}/")])
    classes = [f"{WORD}_{number}" for number in range(45)]
    rows = [(f"{WORD}/{name}/{number}.wav", name, classes[(place * number) % 45])
            for place, name in enumerate(classes) for number in range(3)]  # fmt: skip
    for number in range(4):  # those of the two best, which are equal
        add_test(sweep, number, rows, classes)
    write_page(sweep)
    return sweep.report


def playable_sweep(folder: Path) -> Path:
    sweep = make_playable_sweep(folder)
    write_page(sweep)
    return sweep.report


def checked_data(folder: Path) -> Path:
    """Findings of every severity, in many places with long names."""
    ready, examination = examined(write_urbansound8k(folder / WORD))
    findings = [
        Finding(kind, f"{WORD}/{number}/{kind}.wav", f"of {kind}, as {WORD} {place}")
        for kind in ("leak", "missing", "silent", "unlisted")
        for place in range(3)
        for number in range(30)
    ]
    write_data_page(folder / "check.html", ready, examination, findings)
    return folder / "check.html"


def faultless_data(folder: Path) -> Path:
    page_of(folder / "check.html", *examined(write_urbansound8k(folder / "data")))
    return folder / "check.html"


def whole_fit(folder: Path) -> Path:
    write_recordings(folder / "yard", CLASSES, 4)
    rows = [(f"{name}/{number}.wav", name, CLASSES[number]) for name in CLASSES for number in range(4)]
    return write_fit_page(write_fit(folder / "fit", whole_summary(folder / "yard"), rows, data=folder / "yard").path)


def crowded_fit(folder: Path) -> Path:
    """Long names everywhere, more classes than the matrix shows, and recordings that are gone."""
    long = 6 * f"{WORD}/"
    classes = [f"{WORD}_{number}" for number in range(45)]
    rows = [(f"{long}/{number}/{place}.wav", name, classes[(place * number) % 45])
            for place, name in enumerate(classes) for number in range(3)]  # fmt: skip
    states: Any = ("selected", "selected", "stopped", "failed")
    summary = whole_summary(
        folder / long,
        classes,
        candidates=[
            FitCandidate(f"{WORD}_{state}", long, [f"note={long}"], state, long, 0.123, 0.123, 0.5, 4e5, 1234.5, 10_000)
            for state in states
        ],
        choices=[FitChoice(long.replace("/", "."), [long, long], long)],
        properties=[FitProperty(long, long, [long, long])],
        fold_origin=long,
        notes=[long],
    )
    return write_fit_page(write_fit(folder / "fit", summary, rows).path)


@pytest.fixture(
    scope="module", params=[playable_sweep, crowded_sweep, checked_data, faultless_data, whole_fit, crowded_fit]
)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        made: Path = request.param(tmp_path_factory.mktemp("page"))
        return made


@pytest.fixture
def page(open_page: Callable[[Path], Any], file: Path) -> Any:
    """The page, with all that can be folded out folded out."""
    page = open_page(file)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    return page


def test_nothing_scrolls_sideways(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    wider = """[...document.querySelectorAll("table, .scroll, .chart, pre, figure, dl")]
      .filter((part) => Math.max(part.scrollWidth, part.offsetWidth) > part.parentElement.clientWidth + 1
                        || part.scrollWidth > part.clientWidth + 1)
      .map((part) => `${part.tagName} ${part.className} ${part.textContent.trim().slice(0, 40)}`)"""
    assert page.evaluate(wider) == []


def test_no_heading_is_broken_within_a_word(page: Any) -> None:
    broken = """[...document.querySelectorAll(".sortable thead button")].flatMap((button) => {
      const text = button.firstChild;
      return [...text.data.matchAll(/[^\\s\\/]+/g)].filter((word) => {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        return range.getClientRects().length > 1;
      }).map((word) => word[0]);
    })"""
    assert page.evaluate(broken) == []


def test_text_of_charts_is_large_enough_and_inside(page: Any) -> None:
    found = page.evaluate(
        """[...document.querySelectorAll("svg text")].filter((text) => text.getBoundingClientRect().width)
        .map((text) => {
          const [svg, box] = [text.ownerSVGElement, text.getBoundingClientRect()];
          const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
          const edge = svg.getBoundingClientRect();
          const inside = box.left >= edge.left - 1 && box.right <= edge.right + 1
                         && box.top >= edge.top - 1 && box.bottom <= edge.bottom + 1;
          return [text.textContent, scale * parseFloat(getComputedStyle(text).fontSize), inside];
        })"""
    )
    assert found
    assert [text for text, size, _ in found if size < 9] == []
    assert [text for text, _, inside in found if not inside] == []
