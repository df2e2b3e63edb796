"""The committed pages are those of the committed cells: `make site` was called after the last change of either."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from robustboard.benchmark.plots.bench import Bench
from robustboard.benchmark.site.build import SiteRequest, build
from robustboard.benchmark.site.kept import LIST

BOARDS = Path(__file__).resolve().parents[1] / "leaderboards"
SITE = BOARDS / "site"
LARGEST = 40e6
OF_PICTURES = re.compile(r'<section id="pictures">.*?</section>|<dt>What does a fooled image look like\?</dt>.*?</dd>', re.DOTALL)
"""What a page has to say of pictures alone."""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the committed cells, without their pictures."""
    out = tmp_path_factory.mktemp("committed") / "site"
    known = [BOARDS / "distances", BOARDS / "exact"]
    build(SiteRequest([BOARDS / "results"], out, known=known, pictures="none", bench=Bench(device="cpu"), quiet=True))
    return out


def without_pictures(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix not in (".html", ".js"):
        return content
    return re.sub(r'"pictures": ?\[[^]]*\]', "", OF_PICTURES.sub("", content.decode())).encode()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".webp"} - {
        LIST,
        "site.json",
    }


def test_the_committed_pages_are_those_of_the_committed_cells(fresh: Path) -> None:
    assert files(SITE) == files(fresh)
    stale = [name for name in sorted(files(fresh)) if without_pictures(SITE / name) != without_pictures(fresh / name)]
    assert stale == [], "call make site"


def test_the_committed_pictures_are_those_that_were_drawn() -> None:
    listed = json.loads((SITE / LIST).read_text(encoding="utf-8")).values()
    hashes = {entry["path"]: entry["sha256"] for entry in listed}
    assert hashes == {str(path.relative_to(SITE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in SITE.rglob("*.webp")}
    assert sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) < LARGEST
