"""What the tests of the pages share: sites made of cells by hand, what stands in a page, and a Chromium that opens it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from handmade import diagnosed, make_cell, make_certificate, make_manifest
from robustboard.benchmark.certify.record import write_certificate
from robustboard.benchmark.diagnose.record import write_diagnosis
from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.records import CellResult, Manifest, NotRun
from robustboard.benchmark.results import write_cell, write_manifest
from robustboard.benchmark.site.build import Built, SiteRequest, build
from robustboard.benchmark.site.pictures import Chosen

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
N = 40
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<img src=nothing onerror='window.hacked = 1'>&amp;",
    '"><b onmouseover="window.hacked = 1">',
    "{{ 7 * 7 }}{% raw %}",
    "../..",
    "..",
    "#%?&=/\\",
    "a/b/c",
    "Relu",
    "RELU",
    "x" * 200,
    "two\nlines",
    "\x1b[31mred\x07\u202eturned",
    "</script><script>window.hacked = 1</script>",
    "modèle-中文-🙂",
    "javascript:window.hacked=1",
    " leading and trailing ",
    "index",
    "'; DROP TABLE models; --",
    "~!@$^*()+|`",
)


def outcome(standing: int, first: int = 0, n: int = N) -> list[int]:
    """Which of n examples are fooled: all but `standing` from the place `first` on."""
    kept = {(first + at) % n for at in range(standing)}
    return [0 if at in kept else 1 for at in range(n)]


def cells_of(model: str, attacks: Mapping[str, int], first: int = 0, **more: Any) -> list[CellResult]:
    """A cell an attack, in which so many examples stand."""
    return [
        replace(
            make_cell(model, attack, correct=[1] * N, fooled=outcome(standing, first), **more),
            identity=f"{model}{attack}".encode().hex()[:64].ljust(64, "0"),
        )
        for attack, standing in attacks.items()
    ]


def keep(folder: Path, cells: Sequence[CellResult], manifest: Manifest | None = None) -> Path:
    """The cells as files, whatever their models are called."""
    for at, cell in enumerate(cells):
        write_cell(cell, folder / f"{at}.json")
    if manifest is not None:
        write_manifest(manifest, folder)
    return folder


def some_results(folder: Path) -> Path:
    """Two boards: one of models far apart, alike, marked, missing a cell, certified, diagnosed and not run; one of two models."""
    cells = [
        *cells_of("strong", {"bim": 36, "fgsm": 38, "cw": 30}),
        *cells_of("weak", {"bim": 4, "fgsm": 8, "cw": 2}),
        *cells_of("alike", {"bim": 5, "fgsm": 7, "cw": 2}, first=1),
        *cells_of("doubted", {"bim": 40, "fgsm": 40, "cw": 40}, output="probabilities"),
        *cells_of("unfinished", {"bim": 20}),
        *cells_of("plain", {"bim": 20}, dataset="mnist"),
        *cells_of("other", {"bim": 21}, dataset="mnist"),
    ]
    attacks = ["bim", "fgsm", "cw"]
    planned = dict.fromkeys(("strong", "weak", "alike", "doubted", "unfinished"), attacks)
    manifest = make_manifest({"digits": planned}, [NotRun("digits", "broken", "the model raised <b>")])
    write_certificate(make_certificate("strong", ["robust"] * 10 + ["undecided"] * 30), folder / "crown.json")
    weak = [cell for cell in cells if cell.model.name == "weak"]
    (found,) = diagnosed(weak, {"weak": {8: "fail", 9: "warn"}}, "FGSM beats BIM on 3")
    write_diagnosis(found, folder / "weak" / "diagnosis.json")
    return keep(folder, cells, manifest)


def some_sizes() -> list[CellResult]:
    """A board of models of some thousand parameters and of millions; one is in doubt, one has half its examples unfooled by cw,
    one has no cw."""
    sized = {
        "small": (1_234, cells_of("small", {"bim": 9, "cw": 2})),
        "doubted": (1_500_000, cells_of("doubted", {"bim": 30, "cw": 2}, output="probabilities")),
        "middle": (11_200_000, cells_of("middle", {"bim": 10, "cw": 30})),
        "large": (36_500_000, cells_of("large", {"bim": 11})),
    }
    return [
        replace(cell, model=replace(cell.model, parameters=parameters)) for parameters, cells in sized.values() for cell in cells
    ]


def make_site(results: Path, out: Path, pictures: Chosen = "none", bench: Bench | None = None) -> Built:
    """The site of a folder of results."""
    return build(SiteRequest([results], out, pictures=pictures, bench=bench or Bench(device="cpu")))


@dataclass
class Page(HTMLParser):
    """What stands in a page: its elements with their attributes, its visible text, its ids."""

    text: str
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    _hidden: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def shown(self) -> str:
        """The visible text, spaces as one."""
        return " ".join(" ".join(self.words).split())

    @property
    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def values(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def wait_until(page: Page, expression: str, seconds: float = 20.0) -> None:
    """Wait until the expression holds in the page. Playwright's own waiting evaluates text in the page, which the pages'
    content security policy refuses from the second time on."""
    for _ in range(round(20 * seconds)):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"after {seconds:g} s it is still not so: {expression}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium; skips, and says why, where there is none."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser is on this machine: install chromium (looked for {', '.join(BROWSERS)})")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
