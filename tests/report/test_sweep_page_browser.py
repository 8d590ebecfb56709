"""The page of a sweep in a real browser: sorted, played, and never wider than the window."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sweep_page import make_heard_sweep, write_page

pytestmark = pytest.mark.full

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sweep = make_heard_sweep(tmp_path_factory.mktemp("browser"))
    write_page(sweep)
    return sweep.report


@pytest.fixture(params=[1920, 1280, 390])
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page at one width; nothing may be asked for, and nothing may be said on the console."""
    context = browser.new_context(viewport={"width": request.param, "height": 800})
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda asked: heard.append(asked.url))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.goto(file.as_uri())
    yield page
    assert [line for line in heard if not line.startswith(("data:", file.as_uri()))] == []
    context.close()


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


def test_what_is_missing_stays_at_the_end(page: Any) -> None:
    head = page.locator("table.sortable th", has_text="To the best")
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


def test_the_body_never_scrolls_sideways(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_no_table_is_wider_than_its_column(page: Any) -> None:
    wider = """[...document.querySelectorAll("table")]
      .filter((table) => Math.max(table.scrollWidth, table.offsetWidth) > table.parentElement.clientWidth + 1)
      .map((table) => table.parentElement.getAttribute("aria-label"))"""
    assert page.evaluate(wider) == []
