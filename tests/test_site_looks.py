"""How every page looks in a real Chromium: dark, on a phone, on paper, without scripts, with hostile names, no error anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsed import address, every_page, head, models, opened, settle, sort
from robustboard.benchmark.report.escaping import for_terminal
from sited import HOSTILE, cells_of, keep, make_site, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ("browsed",)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = [cell for at, name in enumerate(HOSTILE) for cell in cells_of(name, {"bim": 3 + at, "cw": 2})]
    out = tmp_path_factory.mktemp("hostile")
    make_site(keep(tmp_path_factory.mktemp("cells"), cells), out)
    return out


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


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board whose hostile names stand beyond the rows that its page holds."""
    cells = [cell for at, name in enumerate(HOSTILE) for cell in cells_of(name, {"bim": 3 + at, "cw": 2})]
    out = tmp_path_factory.mktemp("paged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustboard.benchmark.site.build.AT_ONCE", 3)
        make_site(keep(tmp_path_factory.mktemp("cells"), cells), out)
    return out


def test_hostile_names_beyond_the_first_page_are_text_and_found_as_they_are_read(page: Page, paged: Path) -> None:
    opened(page, paged / "digits.html")
    assert len(models(page)) == 3
    shown = models(page)
    while page.locator(".dt-paging .next:not(.disabled)").count():
        page.click(".dt-paging .next")
        settle(page)
        shown += models(page)
        assert page.evaluate("document.querySelectorAll('#board script, #board img, #board b').length") == 0
    assert sorted(shown) == sorted(" ".join(for_terminal(name).split()) for name in HOSTILE)
    page.click("#filters")
    field = page.get_by_label("Filter model", exact=True)
    for text, count in {"<img": 2, "&amp;": 1, "&": 2, "</script>": 2, "href": 0, "&lt;": 0}.items():
        page.fill("#search", text)
        assert len(models(page)) == count, f"searched {text}"
        page.fill("#search", "")
        field.fill(text)
        assert len(models(page)) == count, f"filtered {text}"
        field.fill("")


def test_without_scripts_further_models_have_their_links(browser: Browser, page: Page, paged: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(address(paged / "digits.html"))
    assert len(models(bare)) == 3
    assert bare.locator("noscript li a:first-child").count() == len(HOSTILE) - 3
    context.close()
    page.emulate_media(media="print")
    opened(page, paged / "digits.html")
    assert page.get_by_text(f"3 of {len(HOSTILE)} models").is_visible()


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
