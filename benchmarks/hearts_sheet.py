"""A contact sheet of real hearts: ED and ES of each patient with both outlines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from echokdm.core.types import Clip

SIDE = 200  # px of a frame
COLUMNS = 6  # patients a row
EXPERT, OURS = (0, 230, 60), (255, 60, 40)


def tile(clip: Clip, truth: np.ndarray, outlines: Sequence[np.ndarray | None]) -> Image.Image:
    """The frames of a clip side by side, each SIDE px square, the experts' outline (T, H, W) green and ours, where
    found, red."""
    made = Image.new("RGB", (SIDE * len(clip), SIDE))
    scale = SIDE / max(clip.size)
    size = round(clip.size[1] * scale), round(clip.size[0] * scale)
    for t, frame in enumerate(clip.gray[:, 0].numpy()):
        picture = np.array(
            Image.fromarray((frame * 255).astype(np.uint8)).resize(size, Image.Resampling.LANCZOS).convert("RGB")
        )
        for mask, colour in ((truth[t], EXPERT), (outlines[t], OURS)):
            if mask is not None:
                small = np.array(Image.fromarray(mask).convert("L").resize(size, Image.Resampling.BILINEAR)) > 127
                picture[find_boundaries(small, mode="inner")] = colour
        made.paste(Image.fromarray(picture), (t * SIDE + (SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return made


def draw_sheet(tiles: Sequence[tuple[str, Image.Image]], path: Path) -> None:
    """A PNG of captioned tiles, COLUMNS a row, in the order given."""
    width, height, gap = tiles[0][1].width + 6, SIDE, 18
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(tiles)) * width, rows * (height + gap)), (30, 30, 30))
    draw = ImageDraw.Draw(sheet)
    for n, (caption, picture) in enumerate(tiles):
        x, y = n % COLUMNS * width, n // COLUMNS * (height + gap)
        draw.text((x + 4, y + 2), caption, fill=(255, 255, 255), font_size=13)
        sheet.paste(picture, (x, y + gap))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
