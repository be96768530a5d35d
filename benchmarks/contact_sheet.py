"""Put pictures on sheets with their names below: `python benchmarks/contact_sheet.py FOLDER [--columns 4]`.

Takes every PNG of a folder, as `benchmarks/screenshots.py` writes them, and writes `sheet-1.png`, `sheet-2.png`, ... beside them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw

GAP, CAPTION = 12, 18


def sheet(paths: list[Path], columns: int, width: int) -> Image.Image:
    """Pictures side by side, each fitted into `width` pixels and 10:16 of that in height."""
    height = width * 10 // 16
    rows = -(-len(paths) // columns)
    size = (columns * (width + GAP) + GAP, rows * (height + CAPTION + GAP) + GAP)
    made = Image.new("RGB", size, "#777777")
    pen = ImageDraw.Draw(made)
    for number, path in enumerate(paths):
        left = GAP + number % columns * (width + GAP)
        top = GAP + number // columns * (height + CAPTION + GAP)
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        picture.thumbnail((width, height), Image.Resampling.LANCZOS)
        made.paste(picture, (left, top))
        pen.text((left, top + height + 3), path.stem, fill="white")
    return made


def main(arguments: list[str]) -> int:
    """Write the sheets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--width", type=int, default=640, help="of one picture in pixels (%(default)s)")
    parser.add_argument("--rows", type=int, default=5, help="of one sheet (%(default)s)")
    parser.add_argument(
        "--only", default="*", help="which pictures, such as 'light-1280x800-*' (%(default)s)"
    )
    options = parser.parse_args(arguments)
    paths = sorted(
        path for path in options.folder.glob(f"{options.only}.png") if not path.stem.startswith("sheet-")
    )
    if not paths:
        parser.error(f"there are no such pictures in {options.folder}")
    each = options.columns * options.rows
    for number, first in enumerate(range(0, len(paths), each), start=1):
        target = options.folder / f"sheet-{number}.png"
        sheet(paths[first : first + each], options.columns, options.width).save(target)
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
