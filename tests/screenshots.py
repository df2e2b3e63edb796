"""Pictures of the pages for the README: `python tests/screenshots.py SITE FOLDER` (`make screenshots`)."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Literal

from PIL import Image

from sited import chromium, wait_until

WIDTH, SCALE = 1280, 1.25
LARGEST = 200_000
Shot = tuple[str, str, int, Literal["light", "dark"]]


def shots(site: Path) -> list[Shot]:
    """Name, page, height and theme: a board, the model that stands first, the second beside it."""
    boards = sorted(path.stem for path in (site / "models").iterdir())
    board = "mnist" if "mnist" in boards else boards[0]
    rows = json.loads((site / "data" / f"{board}.json").read_text(encoding="utf-8"))
    first, second = list(dict.fromkeys(row["model"] for row in rows))[:2]
    return [
        ("board", f"{board}.html", 1320, "light"),
        ("model", f"models/{board}/{first}.html", 1700, "light"),
        ("compare", f"compare.html#{board}/{first}/{second}", 1180, "dark"),
    ]


def small(png: bytes) -> bytes:
    """The picture in as few colours as keep it below `LARGEST`."""
    with Image.open(io.BytesIO(png)) as image:
        for colours in (256, 128, 64, 32):
            target = io.BytesIO()
            image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
            if len(target.getvalue()) <= LARGEST:
                break
    return target.getvalue()


def main(site: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, page, height, scheme in shots(site):
            context = browser.new_context(
                viewport={"width": WIDTH, "height": height}, device_scale_factor=SCALE, color_scheme=scheme
            )
            opened = context.new_page()
            opened.goto((site / page.partition("#")[0]).resolve().as_uri() + "".join(page.partition("#")[1:]))
            opened.wait_for_load_state("networkidle")
            wait_until(opened, "[...document.images].every(image => image.complete || image.loading === 'lazy')")
            (folder / f"{name}.png").write_bytes(small(opened.screenshot()))
            context.close()
            print(folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
