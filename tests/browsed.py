"""Pages in a real Chromium that tests share: the browser, a page that must come through without an error, small sites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sited import cells_of, chromium, keep, make_site, some_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must come through the test without an error, a failed load, a dialogue, or a look at the network."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("requestfailed", lambda request: None if is_left(request) else troubles.append(f"failed: {request.url}"))
    opened.on("request", lambda request: None if request.url.startswith("file:") else troubles.append(f"asked for {request.url}"))
    opened.on("dialog", lambda dialog: troubles.append(f"dialogue: {dialog.message}"))
    yield opened
    assert not opened.evaluate("window.hacked")
    context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("a site with spaces # and signs")
    make_site(results, out)
    return out


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictured")
    make_site(keep(tmp_path_factory.mktemp("cells"), [*cells_of("a", {"bim": 20}), *cells_of("b", {"bim": 9})]), out, "cells")
    return out


def is_left(request: Request) -> bool:
    """Whether a load was given up because the page was left."""
    return request.failure == "net::ERR_ABORTED"


def address(path: Path, fragment: str = "") -> str:
    return path.as_uri() + (f"#{fragment}" if fragment else "")


def opened(page: Page, path: Path, fragment: str = "") -> Page:
    """The page, anew even where only the fragment is another."""
    page.goto("about:blank")
    page.goto(address(path, fragment))
    return page


def models(page: Page) -> list[str]:
    """The models of the board's rows, from the top, without their flags."""
    return [text.strip() for text in page.locator("#board tbody th > a:first-child").all_text_contents()]


def head(page: Page, name: str) -> Locator:
    return page.locator("#board thead tr:first-child th").filter(has_text=name).first


def settle(page: Page) -> None:
    """Wait until what a click or a key set going is done: DataTables sorts once the event is over."""
    page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done))))")


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, at most once round the page."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def sort(page: Page, name: str) -> None:
    head(page, name).click()
    settle(page)


def every_page(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))
