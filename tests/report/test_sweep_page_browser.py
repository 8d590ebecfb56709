"""The page of a sweep in a real browser: sorted and played."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_sweep_page import make_playable_sweep, write_page

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = make_playable_sweep(tmp_path_factory.mktemp("browser"))
    write_page(sweep)
    return sweep.report


@pytest.fixture
def page(open_page: Callable[[Path], Any], file: Path) -> Any:
    return open_page(file)


def column(page: Any, number: int) -> list[str]:
    cells = page.locator(f"table.sortable tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_it_is_sorted_by_mouse_and_by_keyboard(page: Any) -> None:
    assert column(page, 1) == ["1", "2"]
    macs = page.locator("table.sortable th", has_text="MACs")
    macs.get_by_role("button").click()
    assert macs.get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == ["2", "1"]
    validation = page.locator("table.sortable th", has_text="Validation")
    validation.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert validation.get_attribute("aria-sort") == "descending"
    assert macs.get_attribute("aria-sort") is None
    assert column(page, 1) == ["1", "2"]
    page.keyboard.press("Space")
    assert validation.get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == ["2", "1"]


def test_missing_values_stay_at_the_end(page: Any) -> None:
    head = page.locator("table.sortable th", has_text="Difference")
    for _ in range(2):
        head.get_by_role("button").click()
        assert column(page, 1) == ["2", "1"]


def test_a_clip_is_played(page: Any) -> None:
    played = page.locator("audio").first.evaluate(
        """async (audio) => {
          audio.muted = true;
          await audio.play();
          await new Promise((done) => audio.addEventListener("ended", done));
          return [audio.readyState, audio.duration, audio.currentTime];
        }"""
    )
    assert played[0] >= 2
    assert played[1] == pytest.approx(0.5, abs=0.01)
    assert played[2] == pytest.approx(0.5, abs=0.05)
