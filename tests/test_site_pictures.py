"""Every picture on its page: drawn from real cells and networks, the file behind it there, what it says in its text."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from robustboard.benchmark.plots.kinds import KINDS
from robustboard.benchmark.protocols import adjusted, load_protocol
from robustboard.benchmark.run import Request, run
from robustboard.benchmark.subjects import registry_subjects
from sited import HOSTILE, cells_of, chromium, keep, make_site, read_page

MODELS = ("relu", "relu-fast_at")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of digits, four attacks on a dozen examples, and all that can be drawn of them."""
    folder = tmp_path_factory.mktemp("pictures")
    protocol = adjusted(load_protocol("quick"), n=12, epsilon=None, indices=None, seed=None)
    subjects = registry_subjects([f"digits/{model}" for model in MODELS], ["digits"])
    attacks = ["fgsm", "bim", "cw", "max_confidence"]
    run(Request(protocol, ["digits"], subjects, attacks, folder / "results", device="cpu", quiet=True))
    make_site(folder / "results", folder / "site", "all")
    return folder / "site"


def images(path: Path) -> dict[str, dict[str, str | None]]:
    """Path below the page's folder -> the attributes, of every picture in a page."""
    return {str(each["src"]): each for tag, each in read_page(path).elements if tag == "img"}


def test_every_kind_stands_on_the_boards_page_or_a_models(site: Path) -> None:
    board, model = read_page(site / "digits.html"), read_page(site / "models" / "digits" / "relu.html")
    assert set(KINDS) <= set(board.ids) | set(model.ids)
    for page in (board, model):
        assert "not here, and why" not in page.shown


def test_every_picture_is_a_file_of_its_size_and_says_in_words_what_it_shows(site: Path) -> None:
    seen = 0
    for path in [site / "digits.html", *(site / "models" / "digits" / f"{model}.html" for model in MODELS)]:
        for name, attributes in images(path).items():
            with Image.open(path.parent / name) as image:
                assert image.size == (int(attributes["width"] or 0), int(attributes["height"] or 0))
                assert len(image.convert("RGB").getcolors(2**20) or []) > 2, f"{name} shows nothing"
            assert len(attributes["alt"] or "") > 40
            seen += 1
    assert seen > len(KINDS)


def test_the_first_page_leads_to_a_fooled_image(site: Path) -> None:
    assert "digits.html#fooled" in read_page(site / "index.html").values("href")
    page = read_page(site / "digits.html")
    assert "fooled" in page.ids
    alts = [str(each["alt"]) for each in images(site / "digits.html").values()]
    assert any("the change times the factor" in alt for alt in alts), "what the differences show is told in words, too"


def test_pictures_of_hostile_models_load_and_run_nothing(tmp_path: Path) -> None:
    cells = [cell for at, name in enumerate(HOSTILE[:8]) for cell in cells_of(name, {"bim": 3 + at, "fgsm": 20})]
    make_site(keep(tmp_path / "cells", cells), tmp_path / "site", "cells")
    pages = [tmp_path / "site" / "digits.html", *sorted((tmp_path / "site" / "models").rglob("*.html"))]
    assert len(pages) == 9
    with chromium() as browser:
        page = browser.new_page()
        for path in pages:
            page.goto(path.as_uri())
            page.eval_on_selector_all(
                "img", "all => Promise.all(all.map(each => { each.loading = 'eager'; return each.decode(); }))"
            )
            widths = page.eval_on_selector_all("img", "all => all.map(each => each.naturalWidth)")
            assert widths
            assert min(widths) > 100
            assert page.evaluate("window.hacked") is None
