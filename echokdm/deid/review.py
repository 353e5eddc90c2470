"""Sheets of pictures by which a person checks what was put out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_ROWS = 6
_WIDTH = 480
_HEADINGS = ("first frame", "middle frame", "bright in every frame")
_BAR = 16


def write_sheets(folder: Path, clips: Sequence[tuple[str, Path]]) -> None:
    """sheet-001.png and on, six clips each: first and middle frame as put out, and what stands still, where text would
    show.

    clips: (output's name, the .npz that `deidentify_file` left).
    """
    from PIL import Image, ImageDraw

    folder.mkdir()
    for number, page in enumerate(_pages(clips), 1):
        rows = [(name, _pictures(path)) for name, path in page]
        heights = [max(picture.height for picture in pictures) + _BAR for _, pictures in rows]
        sheet = Image.new("L", (len(_HEADINGS) * _WIDTH, sum(heights)))
        draw = ImageDraw.Draw(sheet)
        top = 0
        for (name, pictures), height in zip(rows, heights, strict=True):
            for column, (picture, heading) in enumerate(zip(pictures, _HEADINGS, strict=True)):
                draw.text((column * _WIDTH + 4, top + 2), f"{name}: {heading}", fill=255)
                sheet.paste(picture, (column * _WIDTH, top + _BAR))
            top += height
        sheet.save(folder / f"sheet-{number:03d}.png", format="PNG")


def _pages(clips: Sequence[tuple[str, Path]]) -> Iterator[Sequence[tuple[str, Path]]]:
    for start in range(0, len(clips), _ROWS):
        yield clips[start : start + _ROWS]


def _pictures(path: Path) -> list:
    """The three pictures, at most `_WIDTH` wide; small ones keep their pixels."""
    from PIL import Image

    with np.load(path, allow_pickle=False) as arrays:
        pictures = [Image.fromarray(arrays[name]) for name in ("first", "middle", "standing")]
    share = min(1.0, _WIDTH / pictures[0].width)
    return [
        picture.resize((max(round(picture.width * share), 1), max(round(picture.height * share), 1)))
        for picture in pictures
    ]
