"""Contrast, haze and thickness of the left ventricle's walls in labelled frames, the same for phantoms and real
hearts."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from echokdm.core.labels import Label
from echokdm.ops.ventricle import long_axis

APICAL = 0.15  # share of the long axis above which the wall counts as the apex's
STEP = 0.1  # px between samples along a ray
REACH = 45.0  # mm to which a wall is sought
RATIOS = ("wall over cavity", "lateral over cavity", "septum over cavity", "apex over cavity")
MOTION = ("ES over ED length", "ES over ED area")

Array = NDArray[np.float64]


def _run(label: NDArray[np.uint8], tag: int, start: Array, direction: Array, mm_per_px: float) -> float:
    """Length, mm, of the first stretch of `tag` that a ray (x, y) px meets."""
    points = start[:, None] + direction[:, None] * np.arange(0, REACH / mm_per_px, STEP)
    on = map_coordinates((label == tag).astype(np.float32), points[::-1], order=1) > 0.5
    if not on.any():
        return 0.0
    first = int(on.argmax())
    rest = ~on[first:]
    return (int(rest.argmax()) if rest.any() else len(rest)) * STEP * mm_per_px


def frame_walls(image: ArrayLike, label: ArrayLike, sector: ArrayLike, mm_per_px: float) -> dict[str, float]:
    """Gray ratios of walls to cavity, the cavity's gray (of 255) and sizes in mm of one frame, the ventricle's apex up
    and septum left.

    image: (H, W) in [0, 1]. label: (H, W), LV 1 and MYOCARDIUM 2, which may reach beyond the sector. sector: (H, W)
    bool; only gray inside it counts. A wall's thickness is taken along or across the long axis, at the apex and amid. A
    wall out of the sector is nan.
    """
    gray, tags, inside = 255 * np.asarray(image, np.float64), np.asarray(label, np.uint8), np.asarray(sector, bool)
    apex, base = long_axis(tags == Label.LV)
    length = float(np.hypot(*(base - apex)))
    down = (base - apex) / length
    right = np.array([down[1], -down[0]])
    y, x = np.indices(tags.shape)
    along = ((x - apex[0]) * down[0] + (y - apex[1]) * down[1]) / length
    across = (x - apex[0]) * right[0] + (y - apex[1]) * right[1]
    wall, cavity = (tags == Label.MYOCARDIUM) & inside, (tags == Label.LV) & inside
    below = along > APICAL
    parts = (wall, wall & below & (across > 0), wall & below & (across < 0), wall & ~below)
    level = float(gray[cavity].mean())
    out = {
        name: float(gray[part].mean()) / max(level, 1.0) if part.any() else float("nan")
        for name, part in zip(RATIOS, parts, strict=True)
    }
    middle = (apex + base) / 2
    width = sum(_run(tags, Label.LV, middle, side * right, mm_per_px) for side in (-1, 1))
    return out | {
        "cavity gray": level,
        "apical wall mm": _run(tags, Label.MYOCARDIUM, apex, -down, mm_per_px),
        "lateral wall amid mm": _run(tags, Label.MYOCARDIUM, middle, right, mm_per_px),
        "septum amid mm": _run(tags, Label.MYOCARDIUM, middle, -right, mm_per_px),
        "length mm": length * mm_per_px,
        "width amid mm": width,
        "area mm2": float((tags == Label.LV).sum()) * mm_per_px**2,
    }


def heart_walls(ed: dict[str, float], es: dict[str, float]) -> dict[str, float]:
    """One heart's row of `frame_walls` at end-diastole and end-systole, and how far length and area come down between
    them."""
    row = {
        f"{name}, {when}": value
        for when, walls in (("ED", ed), ("ES", es))
        for name, value in walls.items()
        if name != "area mm2"
    }
    sizes = ((es[k] / ed[k]) for k in ("length mm", "area mm2"))
    return row | dict(zip(MOTION, sizes, strict=True))
