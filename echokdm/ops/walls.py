"""The six walls of an apical 4-chamber view: their names, where each lies on the outline of 40 key-points, and which
side is the septum.

A wall runs from the apex to its mitral hinge: a rounded cap, the 20 chord ends of its side, and straight on to the
mitral plane. Its segments are thirds of that line at end-diastole (EACVI/ASE: segments of equal length at end-diastole;
Voigt et al., Eur Heart J Cardiovasc Imaging 2015;16:1-11; the septum of this view is the inferoseptal, the lateral wall
the anterolateral one).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import ConfigError
from echokdm.ops.chords import CHORDS
from echokdm.ops.ventricle import axis_from_keypoints

Array = NDArray[np.float64]

WALLS = ("basal-septal", "mid-septal", "apical-septal", "apical-lateral", "mid-lateral", "basal-lateral")
"""The segments in order along the endocardium, from the septal hinge over the apex to the lateral one."""

_CAP = np.array([0.0, 0.5, 0.75, 0.9])  # of the first chord's half: points of the cap, a parabola, before it


def parse_walls(texts: Sequence[str]) -> dict[str, float]:
    """`SEGMENT=FACTOR` texts, such as "apical-septal=0" -> {segment: factor}; their range is checked by
    `wall_motion.with_wall_motion`.

    Raises ConfigError for another form, a segment that is none of `WALLS` (it lists them), or one named twice.
    """
    factors: dict[str, float] = {}
    for text in texts:
        name, _, number = (part.strip() for part in text.lower().partition("="))
        if name not in WALLS:
            raise ConfigError(f"{name!r} is none of this view's walls; choose from {', '.join(WALLS)}.")
        if name in factors:
            raise ConfigError(f"The wall {name} is named twice; give it one factor.")
        try:
            factors[name] = float(number)
        except ValueError:
            factors[name] = math.nan
        if not math.isfinite(factors[name]):
            raise ConfigError(f"A wall's motion is given as SEGMENT=FACTOR, such as {name}=0 (akinetic), not {text!r}.")
    return factors


def septum_is_first(keypoints: ArrayLike, right_heart: ArrayLike) -> bool:
    """Whether the septum is the wall of the first 20 key-points (T, 40, 2), on the image's left of an upright
    ventricle.

    right_heart: (T, H, W) bool or weights, where the segmenter sees right ventricle and atrium (`apical_view.RV`,
    `RA`): the septum lies between them and the left ventricle. True, as in the usual display, where none is seen.
    """
    points, weight = np.asarray(keypoints, dtype=np.float64), np.asarray(right_heart, dtype=np.float64)
    apex, base = axis_from_keypoints(points)
    u = (base - apex) / np.hypot(*(base - apex).T)[:, None]
    y, x = np.mgrid[: weight.shape[1], : weight.shape[2]]
    towards_first = (y - apex[:, 1, None, None]) * u[:, 0, None, None] - (x - apex[:, 0, None, None]) * u[
        :, 1, None, None
    ]
    return bool((weight * np.sign(towards_first)).sum() >= 0)


def wall_lines(keypoints: ArrayLike, spacing: str = "midpoint") -> Array:
    """Both walls' lines (T, 2, 25, 2), px, of key-points (T, 40, 2): of the first points' side, then the other's, apex
    to mitral hinge."""
    points = np.asarray(keypoints, dtype=np.float64)
    apex, base = axis_from_keypoints(points, spacing)
    u = ((base - apex) / np.hypot(*(base - apex).T)[:, None])[:, None, None]
    ends = np.stack([points[:, :CHORDS], points[:, : CHORDS - 1 : -1]], axis=1)
    middle = ends[:, :, :1].mean(1, keepdims=True)
    # The tip is above the first chord's middle: how the base shifts to a side says nothing of it.
    tip = middle - np.maximum(((middle - apex[:, None, None]) * u).sum(-1, keepdims=True), 0) * u
    part = _CAP[:, None]
    cap = tip + part**2 * (middle - tip) + part * (ends[:, :, :1] - middle)
    last = ends[:, :, -1:]
    hinge = last + np.maximum(((base[:, None, None] - last) * u).sum(-1, keepdims=True), 0) * u
    return np.concatenate([cap, ends, hinge], axis=2)


def along_walls(lines: ArrayLike) -> Array:
    """(T, 2, 25) px: how far each point of the walls' lines (T, 2, 25, 2) lies from the apex along its wall."""
    sides = np.diff(np.asarray(lines, dtype=np.float64), axis=2)
    return np.concatenate(
        [np.zeros((*sides.shape[:2], 1)), np.cumsum(np.hypot(sides[..., 0], sides[..., 1]), axis=2)], axis=2
    )


def chord_places(keypoints: ArrayLike, spacing: str = "midpoint") -> Array:
    """(2, 20): where the ends of the chords lie on either wall of key-points (40, 2), 0 at the apex to 1 at the mitral
    hinge."""
    along = along_walls(wall_lines(np.asarray(keypoints)[None], spacing))[0]
    return along[:, len(_CAP) : len(_CAP) + CHORDS] / along[:, -1:]


def by_wall(values: Sequence[float] | Array, septal_first: bool) -> Array:
    """(..., 6) values in the order of `WALLS` -> (..., 2, 3): of the first points' side, then the other's, each apical
    to basal."""
    six = np.asarray(values, dtype=np.float64)
    septal, lateral = six[..., 2::-1], six[..., 3:]
    return np.stack([septal, lateral] if septal_first else [lateral, septal], axis=-2)


def in_order(values: ArrayLike, septal_first: bool) -> Array:
    """The inverse of `by_wall`: (..., 2, 3) -> (..., 6) in the order of `WALLS`."""
    walls = np.asarray(values, dtype=np.float64)
    septal, lateral = (walls[..., 0, :], walls[..., 1, :]) if septal_first else (walls[..., 1, :], walls[..., 0, :])
    return np.concatenate([septal[..., ::-1], lateral], axis=-1)
