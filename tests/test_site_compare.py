"""The page that compares two models, in a real Chromium: its numbers, its marks, its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsed import opened, tab_to
from handmade import make_cell
from robustboard.benchmark.report.compare.differences import compare_sides
from robustboard.benchmark.report.compare.sides import read_sides
from sited import keep, make_site, outcome, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest_plugins = ("browsed",)


def cells(page: Page, name: str) -> list[str]:
    """A row of the comparison."""
    row = page.locator("#compared tbody tr").filter(has=page.get_by_role("rowheader", name=name, exact=True))
    return [" ".join(text.split()) for text in row.locator("td").all_text_contents()]


def test_a_comparison_shows_the_numbers_of_compare(page: Page, site: Path, results: Path) -> None:
    opened(page, site / "compare.html", "digits/strong/weak")
    page.wait_for_selector("#result[data-ready]")
    sides = read_sides("digits/strong", "digits/weak", results)
    board_wide = {each.label: each for each in compare_sides(sides)}
    for name in ("bim", "fgsm", "cw"):
        each = board_wide[name]
        assert each.tested is not None
        a, b, difference, p, _, counts, _ = cells(page, name)
        assert a.startswith(f"{100 * each.a.value:.1f}[")
        assert b.startswith(f"{100 * each.b.value:.1f}[")
        paired = each.tested.paired
        low, high = (f"{100 * end:+.1f}".replace("-", "−") for end in (paired.low, paired.high))
        assert difference == f"{100 * paired.difference:+.1f}".replace("-", "−") + f"[{low}, {high}]"
        assert p == f"{paired.p_value:.2g}"
        assert counts.split(" · ")[1:3] == [str(len(each.lost)), str(len(each.gained))]
    assert "A withstands significantly more" in (page.text_content("#said") or "")
    assert page.text_content("#command") == "robustboard compare digits/strong digits/weak"


def test_swapping_turns_every_number_round(page: Page, site: Path) -> None:
    opened(page, site / "compare.html", "digits/strong/weak")
    page.wait_for_selector("#result[data-ready]")
    before = cells(page, "bim")
    page.click("#swap")
    assert page.evaluate("location.hash") == "#digits/weak/strong"
    after = cells(page, "bim")
    assert (after[0], after[1]) == (before[1], before[0])
    assert before[2].startswith("−80.0[")
    assert after[2].startswith("+80.0[")
    assert after[3:5] == before[3:5]
    assert after[5].split(" · ")[1:3] == before[5].split(" · ")[2:0:-1]
    assert "B withstands significantly more" in (page.text_content("#said") or "")


def test_keys_alone_choose_and_swap(page: Page, site: Path) -> None:
    opened(page, site / "compare.html", "digits/strong/weak")
    page.wait_for_selector("#result[data-ready]")
    tab_to(page, "#b")
    # The first letters of an option choose it.
    page.keyboard.type("alike")
    wait_until(page, "location.hash === '#digits/strong/alike'")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "swap"
    page.keyboard.press("Enter")
    wait_until(page, "location.hash === '#digits/alike/strong'")


def test_the_links_of_a_comparison_lead_to_its_models(page: Page, pictured: Path) -> None:
    opened(page, pictured / "compare.html", "digits/a/b")
    page.wait_for_selector("#result[data-ready]")
    links = page.eval_on_selector_all("#result a", "found => found.map(link => decodeURIComponent(new URL(link.href).pathname))")
    assert {Path(link).name for link in links} >= {"a.html", "b.html"}
    assert all(Path(link).is_file() for link in links)
    page.click("#side h2 a >> text=b")
    page.wait_for_url("**/models/digits/b.html")


def test_a_comparison_carries_marks_and_tests_no_bound(page: Page, site: Path) -> None:
    opened(page, site / "compare.html", "digits/doubted/unfinished")
    page.wait_for_selector("#result[data-ready]")
    marks = page.text_content("#marks") or ""
    assert "A, doubted: ▲ outputs are probabilities" in marks
    assert "B, unfinished: ▲ no result here of fgsm, cw" in marks
    assert cells(page, "fgsm")[1:3] == ["missing", "not on the same images"]
    page.select_option("#board", "mnist")
    wait_until(page, "document.title.startsWith('other and plain')")
    assert "tied" in (page.text_content("#said") or "")
    opened(page, site / "compare.html", "digits/strong/nobody")
    page.wait_for_selector("#result[data-ready]")
    assert "This board has no nobody" in (page.text_content("#said") or "")
    for address, board in {"nowhere/strong/weak": "nowhere", "%E0%A4%A": "%E0%A4%A"}.items():
        opened(page, site / "compare.html", address)
        page.wait_for_selector("#result[data-ready]")
        wait_until(page, f"document.getElementById('said').textContent === 'There is no board {board}: another is shown.'")
    opened(page, site / "compare.html", "digits/strong/strong")
    page.wait_for_selector("#result[data-ready]")
    assert page.text_content("#said") == "A and B are the same model."
    assert cells(page, "worst L∞")[2] == "the same"


def test_where_the_board_ties_what_the_two_alone_do_not_it_is_said(page: Page, tmp_path: Path) -> None:
    # a against b: p is 0.0248; c to h stand as a does, and of the 28 pairs of the board none is apart after the correction.
    kept = {"a": (42, 0), "b": (23, 42)} | dict.fromkeys("cdefgh", (42, 0))
    saved = [make_cell(name, correct=[1] * 65, fooled=outcome(*each, n=65)) for name, each in kept.items()]
    make_site(keep(tmp_path / "cells", saved), tmp_path / "site")
    for pair in ("a/b", "b/a"):
        opened(page, tmp_path / "site" / "compare.html", f"digits/{pair}")
        page.wait_for_selector("#result[data-ready]")
        assert (page.text_content("#said") or "").endswith("The board, corrected for all pairs of its models, ties them.")
    opened(page, tmp_path / "site" / "compare.html", "digits/a/c")
    page.wait_for_selector("#result[data-ready]")
    assert "The board" not in (page.text_content("#said") or "")


def test_all_images_that_two_models_part_on_open_at_a_click(page: Page, site: Path) -> None:
    opened(page, site / "compare.html", "digits/strong/weak")
    page.wait_for_selector("#result[data-ready]")
    row = page.locator("#compared tbody tr").filter(has=page.locator("th", has_text="bim")).first
    summary, rest = row.locator("details summary"), row.locator("details span")
    assert "and 26 more" in (summary.text_content() or "")
    assert not rest.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert rest.is_visible()
    assert len((rest.text_content() or "").split(", ")) == 26


def test_two_models_without_a_worst_case_of_the_same_images_are_not_judged(page: Page, tmp_path: Path) -> None:
    saved = [make_cell(name, "jsma") for name in "ab"]
    make_site(keep(tmp_path / "cells", saved), tmp_path / "site")
    opened(page, tmp_path / "site" / "compare.html", "digits/a/b")
    page.wait_for_selector("#result[data-ready]")
    assert page.text_content("#said") == "The two have no worst case of the same images: only single attacks are compared."


def test_of_too_many_models_no_pair_is_tested_and_it_is_said(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pairs", "data"):
        monkeypatch.setattr(f"robustboard.benchmark.site.{module}.MOST", 2)
    saved = [make_cell(name) for name in "abc"]
    make_site(keep(tmp_path / "cells", saved), tmp_path / "site")
    opened(page, tmp_path / "site" / "compare.html", "digits/a/b")
    page.wait_for_selector("#result[data-ready]")
    assert page.text_content("#said") == "This board has more than 2 models: no pair is tested here."
    assert cells(page, "bim")[2] == "not tested here"


def test_no_model_in_doubt_is_said_to_withstand_more(page: Page, site: Path) -> None:
    doubted = "doubted ▲, is in doubt and not to be ranked: outputs are probabilities, which can hide gradients."
    unfinished = "unfinished ▲, is in doubt and not to be ranked: no result here of fgsm, cw."
    for pair, told in {
        "doubted/strong": f"A, {doubted}",
        "strong/doubted": f"B, {doubted}",
        "weak/unfinished": f"B, {unfinished}",
        "doubted/unfinished": f"A, {doubted} B, {unfinished}",
    }.items():
        opened(page, site / "compare.html", f"digits/{pair}")
        page.wait_for_selector("#result[data-ready]")
        assert page.text_content("#said") == told


def test_the_level_of_a_test_is_that_of_the_p_value_before_it_is_rounded(page: Page, tmp_path: Path) -> None:
    # Of the 65 examples that the two part on a has 42: p is 0.0248, and after the correction for two columns 0.0496.
    saved = [
        make_cell(name, correct=[1] * 65, fooled=outcome(*kept, n=65)) for name, kept in {"a": (42, 0), "b": (23, 42)}.items()
    ]
    make_site(keep(tmp_path / "cells", saved), tmp_path / "site")
    for pair, ahead in {"a/b": "A", "b/a": "B"}.items():
        opened(page, tmp_path / "site" / "compare.html", f"digits/{pair}")
        page.wait_for_selector("#result[data-ready]")
        assert cells(page, "worst L∞")[4] == "0.05"
        assert f"{ahead} withstands significantly more" in (page.text_content("#said") or "")
        assert page.locator("#compared td.apart").count() == 2


def test_pictures_of_two_models_stand_side_by_side(page: Page, pictured: Path) -> None:
    opened(page, pictured / "compare.html", "digits/a/b")
    page.wait_for_selector("#side img")
    assert page.locator("#side img").count() == 4
    wait_until(page, "[...document.querySelectorAll('#side img')].slice(0, 1).every(image => image.naturalWidth > 100)")


def test_images_keep_their_greys_in_the_dark(page: Page) -> None:
    """Galleries are photographs: of the committed pages, where networks were at hand to make them."""
    site = Path(__file__).resolve().parents[1] / "leaderboards" / "site"
    page.emulate_media(color_scheme="dark")
    opened(page, site / "compare.html", "digits/relu-fast_at/relu")
    page.wait_for_selector("#side img")
    filters = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#side img')]"
        ".map(image => [image.src.split('/').pop(), getComputedStyle(image).filter]))"
    )
    assert filters["gallery.webp"] == "none"
    assert filters["epsilon.webp"] != "none"
