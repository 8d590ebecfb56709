"""A real browser for the pages."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[390, 1000, 1280, 1920])
def width(request: pytest.FixtureRequest) -> int:
    """Size of the window: a phone, half a screen, a laptop, a large screen."""
    return int(request.param)


@pytest.fixture
def open_page(browser: Any, width: int) -> Iterator[Callable[[Path], Any]]:
    """Open a page, which must request nothing and write nothing to the console."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    events: list[str] = []

    def opened(file: Path) -> Any:
        page = context.new_page()
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on(
            "request",
            lambda request: (
                events.append(request.url) if not request.url.startswith(("data:", file.as_uri())) else None
            ),
        )
        page.on("dialog", lambda dialog: events.append(dialog.message))
        page.goto(file.as_uri())
        return page

    yield opened
    assert events == []
    context.close()
