"""The pages in a real Chromium, opened from the file system: sorting, filtering, comparing, links into the middle, dark mode,
keys, a phone, no error on any console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robustboard.benchmark.report.compare.differences import compare_sides
from robustboard.benchmark.report.compare.sides import read_sides
from robustboard.benchmark.report.escaping import for_terminal
from sited import HOSTILE, cells_of, chromium, keep, make_site, some_results, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request

MANY = 500
SOON_MS = 1000


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


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [cell for at, name in enumerate(HOSTILE) for cell in cells_of(name, {"bim": 3 + at, "cw": 2})]
    out = tmp_path_factory.mktemp("hostile")
    make_site(keep(tmp_path_factory.mktemp("cells"), cells), out)
    return out


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


def sort(page: Page, name: str) -> None:
    head(page, name).click()
    settle(page)


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


def test_a_comparison_carries_marks_and_tests_no_bound(page: Page, site: Path) -> None:
    opened(page, site / "compare.html", "digits/doubted/unfinished")
    page.wait_for_selector("#result[data-ready]")
    marks = page.text_content("#marks") or ""
    assert "A, doubted: ▲ outputs are probabilities" in marks
    assert "B, unfinished: ▲ fgsm, cw not run yet" in marks
    assert cells(page, "fgsm")[1:3] == ["missing", "not on the same images"]
    page.select_option("#board", "mnist")
    wait_until(page, "document.title.startsWith('other and plain')")
    assert "tied" in (page.text_content("#said") or "")
    opened(page, site / "compare.html", "digits/strong/nobody")
    page.wait_for_selector("#result[data-ready]")
    assert "This board has no nobody" in (page.text_content("#said") or "")


def test_pictures_of_two_models_stand_side_by_side(page: Page, pictured: Path) -> None:
    opened(page, pictured / "compare.html", "digits/a/b")
    page.wait_for_selector("#side img")
    assert page.locator("#side img").count() == 4
    wait_until(page, "[...document.querySelectorAll('#side img')].slice(0, 1).every(image => image.naturalWidth > 100)")


def background(page: Page) -> tuple[int, ...]:
    text = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return tuple(int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(","))


def test_dark_follows_the_system_and_the_button_and_stays(page: Page, site: Path) -> None:
    page.emulate_media(color_scheme="dark")
    opened(page, site / "index.html")
    assert max(background(page)) < 60
    page.click("#theme")
    assert min(background(page)) > 200
    page.goto(address(site / "digits.html"))
    assert min(background(page)) > 200, "what was chosen holds on the next page"
    page.emulate_media(color_scheme="light")
    page.click("#theme")
    assert max(background(page)) < 60
    assert page.get_attribute("#theme", "aria-pressed") == "true"


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shades_are_in_the_order_of_their_grey_and_text_stands_out(page: Page, site: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened(page, site / "digits.html")
    script = """() => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const paint = (...colours) => {
        colours.forEach((colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); });
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const base = getComputedStyle(document.querySelector('.scroll')).backgroundColor;
      return [...Array(11).keys()].map((shade) => {
        const cell = document.querySelector('#board tbody td');
        cell.className = `h${shade}`;
        const look = getComputedStyle(cell);
        const faint = getComputedStyle(cell.querySelector('.interval') ?? cell);
        const ground = look.backgroundColor;
        return [paint(base, ground), paint(base, ground, look.color), paint(base, ground, faint.color)];
      });
    }"""
    page.locator("#board tbody tr").first.evaluate(
        "row => row.querySelector('td').innerHTML = '1 <span class=interval>[2]</span>'"
    )
    shades = [[luminance(tuple(colour)) for colour in each] for each in page.evaluate(script)]
    grounds = [each[0] for each in shades]
    assert grounds == sorted(grounds, reverse=scheme == "light")
    assert len({round(ground, 3) for ground in grounds}) == 11
    for ground, *texts in shades:
        for text in texts:
            low, high = sorted((ground, text))
            assert (high + 0.05) / (low + 0.05) >= 4.5


def every_page(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


@pytest.mark.parametrize("which", ["site", "hostile"])
def test_on_a_phone_no_page_is_wider_than_the_screen(page: Page, which: str, request: pytest.FixtureRequest) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    # Of the models' pages the largest: there are as many as names.
    top, deep = (sorted(request.getfixturevalue(which).glob(where)) for where in ("*.html", "models/*/*.html"))
    for path in [*top, *sorted(deep, key=lambda each: each.stat().st_size)[-6:]]:
        opened(page, path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{path.name} is {wide} wide"
    opened(page, request.getfixturevalue(which) / "digits.html")
    assert page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('#board').closest('.scroll'))")


def test_no_page_has_an_error_and_every_picture_loads(page: Page, pictured: Path) -> None:
    assert len(every_page(pictured)) == 6
    for path in every_page(pictured):
        opened(page, path)
        page.evaluate("document.querySelectorAll('img').forEach(image => (image.loading = 'eager'))")
        wait_until(page, "[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth === Number(image.getAttribute('width')))")


def test_hostile_names_are_shown_as_text_everywhere(page: Page, hostile: Path) -> None:
    wanted = sorted(" ".join(for_terminal(name).split()) for name in HOSTILE)
    opened(page, hostile / "digits.html")
    assert sorted(models(page)) == wanted
    page.fill("#search", "<script>")
    assert len(models(page)) == 2
    sort(page, "model")
    head(page, "model").hover()
    assert page.evaluate("document.querySelectorAll('#board script, #board img, #board b').length") == 0
    opened(page, hostile / "compare.html")
    page.wait_for_selector("#result[data-ready]")
    options = page.locator("#a option").all_text_contents()
    assert len(options) == len(HOSTILE)
    for at in range(len(options)):
        page.select_option("#a", index=at)
    assert page.evaluate("document.querySelectorAll('main b, main img, main script').length") == 0


def test_without_scripts_the_table_is_there(browser: Browser, site: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(address(site / "digits.html"))
    assert models(bare)[0] == "strong"
    assert bare.locator("#board").is_visible()
    context.close()


def test_on_paper_there_is_the_table_and_nothing_to_press(page: Page, site: Path) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1060, "height": 720})  # A4 on its side
    opened(page, site / "digits.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1060
    assert page.locator("#board").is_visible()
    assert not page.locator(".tools").is_visible()
    assert not page.locator("#theme").is_visible()


def test_a_board_of_500_models_is_ready_within_a_second(page: Page, large: Path) -> None:
    times = []
    for _ in range(3):
        opened(page, large / "digits.html")
        times.append(page.evaluate("performance.getEntriesByName('table-ready')[0].startTime"))
    assert page.text_content("#count") == f"{MANY} models"
    assert min(times) < SOON_MS, times
    sort(page, "bim")
    place = 1 + page.locator("#board thead tr:first-child th").all_text_contents().index("bim")
    column = page.locator(f"#board tbody td:nth-child({place})")
    shown = [float(text.split()[0]) for text in column.all_text_contents()]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 100.0
    assert len(shown) == 100, "a page of them"
    page.click(".dt-paging .last")
    settle(page)
    assert column.all_text_contents()[-1].startswith("0.0")
    page.fill("#search", "model_499")
    assert models(page) == ["model_499"]
