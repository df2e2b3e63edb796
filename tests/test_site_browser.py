"""The boards in a real Chromium, opened from the file system: sorting, filtering, links into the middle, keys, 500 models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsed import address, head, models, opened, settle, sort, tab_to
from robustboard.benchmark.site.boards import AT_ONCE
from sited import cells_of, keep, make_site, some_sizes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ("browsed",)

MANY = 500
SOON = 1.0
"""Seconds."""
TRIES = 8


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    attacks = ("bim", "fgsm", "spsa", "max_confidence", "cw", "jsma")
    # Of 500 models every pair would be tested: most are marked, which is not what takes the browser its time.
    cells = [
        cell
        for at in range(MANY)
        for cell in cells_of(
            f"model_{at:03}",
            {name: (at * (7 + place)) % 41 for place, name in enumerate(attacks)},
            output="logits" if at < 40 else "probabilities",
        )
    ]
    out = tmp_path_factory.mktemp("large")
    make_site(keep(tmp_path_factory.mktemp("cells"), cells), out)
    return out


def waited(browser: Browser, path: Path) -> tuple[float, float]:
    """Seconds from the start of the navigation until the table of a page, in a tab of its own, is ready to be sorted, as the
    page's own clock has them; and seconds of the processor that the page's thread took for it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # counts from here on
    tab.goto(address(path), wait_until="commit")
    tab.wait_for_selector("#board[data-ready]")
    found = session.send("Performance.getMetrics")["metrics"]
    thread = next(metric["value"] for metric in found if metric["name"] == "ThreadTime")
    (ready,) = tab.evaluate("performance.getEntriesByName('table-ready').map((mark) => mark.startTime)")
    context.close()
    return ready / 1000, float(thread)


def test_a_click_on_a_column_sorts_by_its_numbers(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    assert models(page)[0] == "strong"
    sort(page, "bim")
    assert models(page) == ["doubted", "strong", "unfinished", "alike", "weak"]
    assert head(page, "bim").get_attribute("aria-sort") == "descending"
    sort(page, "bim")
    assert models(page)[0] == "weak"
    sort(page, "cw")
    assert models(page)[-1] == "unfinished", "what is missing is last"
    sort(page, "rank")
    assert models(page)[0] == "strong"
    assert set(models(page)[-2:]) == {"doubted", "unfinished"}


def test_search_and_filters_leave_what_was_asked_for(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    page.fill("#search", "alike")
    assert models(page) == ["alike"]
    assert page.text_content("#count") == "1 of 5 models"
    page.fill("#search", "")
    page.check("#ranked")
    assert set(models(page)) == {"strong", "weak", "alike"}
    page.uncheck("#ranked")
    page.click("#filters")
    for text, found in {
        "> 50": {"strong", "doubted"},
        "<= 12.5": {"weak", "alike"},
        "10-60": {"weak", "alike", "unfinished"},
        "= 100": {"doubted"},
    }.items():
        page.get_by_label("Filter bim", exact=True).fill(text)
        assert set(models(page)) == found, text
    page.get_by_label("Filter bim", exact=True).fill("")
    page.get_by_label("Filter cw", exact=True).fill("missing")
    assert models(page) == ["unfinished"]
    page.get_by_label("Filter cw", exact=True).fill("")
    page.get_by_label("Filter model", exact=True).fill("STR")
    assert models(page) == ["strong"]
    page.fill("#search", "nothing of the kind")
    assert models(page) == []
    assert page.text_content("#count") == "0 of 5 models"


def test_large_numbers_and_what_is_none_sort_and_filter(page: Page, tmp_path: Path) -> None:
    make_site(keep(tmp_path / "cells", some_sizes()), tmp_path / "site")
    opened(page, tmp_path / "site" / "digits.html")
    sort(page, "parameters")
    assert models(page) == ["small", "doubted", "middle", "large"]
    sort(page, "parameters")
    assert models(page) == ["large", "middle", "doubted", "small"]
    sort(page, "cw median")
    assert models(page)[0] == "middle", "half of its examples are not fooled at any distance"
    assert models(page)[-1] == "large", "it has no cw"
    sort(page, "rank")
    assert models(page)[-1] == "doubted"
    page.click("#filters")
    for name, text, found in [
        ("parameters", "> 2000000", {"middle", "large"}),
        ("parameters", "> 20000000", {"large"}),
        ("parameters", "= 11200000", {"middle"}),
        ("parameters", "1000-2000000", {"small", "doubted"}),
        ("parameters", "> 2,000,000", {"middle", "large"}),
        ("parameters", "11200000", {"middle"}),
        ("parameters", "> many", {"small", "doubted", "middle", "large"}),
        ("rank", "last", {"doubted"}),
        ("rank", "> 0", {"small", "middle", "large"}),
        ("cw median L2", "> 3", {"middle"}),
        ("cw median L2", "< 3", {"small", "doubted"}),
    ]:
        field = page.get_by_label(f"Filter {name}", exact=True)
        field.fill(text)
        assert set(models(page)) == found, (name, text)
        assert field.get_attribute("aria-invalid") == str(text == "> many").lower()
        field.fill("")


def test_a_view_of_the_board_has_an_address(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    page.check("#ranked")
    page.click("#filters")
    page.get_by_label("Filter bim", exact=True).fill("< 50")
    sort(page, "bim")
    sort(page, "bim")
    there, shown = page.evaluate("location.href"), models(page)
    assert shown == ["weak", "alike"]
    page.goto("about:blank")
    page.goto(there)
    assert models(page) == shown
    assert page.is_checked("#ranked")
    assert page.get_by_label("Filter bim", exact=True).input_value() == "< 50"
    opened(page, site / "digits.html", "search=%3Cb%3E&sort=none:up&filter%20none=1")
    assert models(page) == []


def test_keys_alone_sort_explain_and_open(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    column = head(page, "bim")
    focusable = column.evaluate("cell => cell.matches('[tabindex]') || cell.querySelector('[tabindex]') !== null")
    assert focusable
    column.evaluate("cell => (cell.matches('[tabindex]') ? cell : cell.querySelector('[tabindex]')).focus()")
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "upper bound" in (tip.text_content() or "")
    page.keyboard.press("Enter")
    settle(page)
    assert models(page)[0] == "doubted"
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('thead') !== null")
    page.locator("#board tbody a", has_text="strong").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/digits/strong.html")


def test_keys_alone_search_and_filter(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    tab_to(page, "#search")
    page.keyboard.type("ea")
    settle(page)
    assert models(page) == ["weak"]
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    tab_to(page, "#filters")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('tr.filters') !== null"), "the focus goes to the first filter"
    tab_to(page, "[aria-label='Filter bim']")
    page.keyboard.type("< 15")
    settle(page)
    assert models(page) == ["alike", "weak"]


def test_hovering_explains_a_number_that_flatters(page: Page, tmp_path: Path) -> None:
    make_site(keep(tmp_path / "cells", cells_of("a", {"bim": 4, "fgsm": 38})), tmp_path / "site")
    opened(page, tmp_path / "site" / "digits.html")
    (told,) = page.locator("#board td", has_text="↓").all()
    told.hover()
    assert "on the same examples the worst case is more than 10 points lower" in (page.text_content("#tip") or "")


def test_hovering_explains_a_column_and_a_flag(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    head(page, "worst L∞").hover()
    assert "Worst case" in (page.text_content("#tip") or "")
    page.locator("#board .flag").first.hover()
    assert page.locator("#tip").is_visible()
    box, width = page.locator("#tip").bounding_box(), 1280
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_hovering_a_cell_that_is_missing_or_in_doubt_says_why(page: Page, site: Path) -> None:
    opened(page, site / "digits.html")
    row = page.locator("#board tbody tr", has_text="unfinished")
    row.locator("td", has_text="missing").first.hover()
    assert "no result here of fgsm, cw" in (page.text_content("#tip") or "")
    row.locator("td", has_text="≤ 50.0").hover()
    assert "no result here of fgsm, cw" in (page.text_content("#tip") or "")
    row.locator("td", has_text="50.0").filter(has_not_text="▲").hover()
    assert not page.locator("#tip").is_visible(), "a number in no doubt has nothing to tell"


def test_a_board_of_500_models_is_ready_within_a_second(browser: Browser, page: Page, large: Path) -> None:
    """From the start of the navigation to the mark `table-ready`, when the table is drawn and sorts at a click: the shortest
    wait of several, since what else the machine does is no property of the page. Where its processors have other work, such as
    other tests, a page waits for its turn, and what is bounded is the time that its thread was computing."""
    is_busy = os.getloadavg()[0] > 0.75 * (os.cpu_count() or 1)  # before the tries, which are work themselves
    times = []
    while len(times) < TRIES and not any(wait < SOON for wait, _ in times):
        times.append(waited(browser, large / "digits.html"))
    wait, thread = map(min, zip(*times, strict=True))
    print(f"{MANY} models: ready after {wait:.2f} s, {thread:.2f} s of its thread{', on a busy machine' * is_busy}")
    assert 0 < (thread if is_busy else wait) < SOON, times
    opened(page, large / "digits.html")
    assert page.text_content("#count") == f"{MANY} models"
    sort(page, "bim")
    place = 1 + page.locator("#board thead tr:first-child th").all_text_contents().index("bim")
    column = page.locator(f"#board tbody td:nth-child({place})")
    shown = [float(text.split()[0]) for text in column.all_text_contents()]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 100.0
    assert len(shown) == AT_ONCE, "a page of them"
    page.click(".dt-paging .last")
    settle(page)
    assert column.all_text_contents()[-1].startswith("0.0")
    page.fill("#search", "model_499")
    assert models(page) == ["model_499"]
    page.fill("#search", "model_4 _499")
    assert models(page) == ["model_499"], "every word is looked for"
    page.fill("#search", "href")
    assert models(page) == [], "what is searched is what is read"
    page.fill("#search", "")
    page.click("#filters")
    page.get_by_label("Filter model", exact=True).fill("_499")
    assert models(page) == ["model_499"]
    page.get_by_label("Filter model", exact=True).fill("")
    page.check("#ranked")
    assert page.text_content("#count") == f"40 of {MANY} models"
    page.uncheck("#ranked")
    sort(page, "rank")
    page.click(".dt-paging .last")
    settle(page)
    row = page.locator("#board tbody tr").last
    assert row.locator("th").get_attribute("scope") == "row"
    assert row.locator('td[class^=h], td[class*=" h"]').count() > 0, "shaded as the rows that the page held"
    row.locator(".flag").hover()
    assert "probabilities" in (page.text_content("#tip") or "")
