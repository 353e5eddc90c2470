"""Regional wall motion: a segment of the ventricle that moves inwards less, not at all, outwards or more than it
does."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.ops.chords import CHORDS
from echokdm.ops.trajectory import Shape, decompose
from echokdm.ops.ventricle import self_crossing
from echokdm.ops.walls import WALLS, by_wall, chord_places, in_order

Array = NDArray[np.float64]

# that may be asked for: below 0 dyskinetic, 0 akinetic, below 1 hypokinetic, above hyperkinetic
FACTOR_RANGE = (-0.5, 1.5)
# of a wall, to either side of a border between segments: from one factor to the next, so that no step is seen in the
# wall
_EDGE = 1 / 8
_NARROWEST = 0.15  # part of a chord's width at end-diastole that is left, as in `ops.trajectory`


def with_wall_motion(
    keypoints: ArrayLike,
    factors: Mapping[str, float],
    ed_index: int,
    septal_first: bool = True,
    spacing: str = "midpoint",
) -> Array:
    """The trajectory (T, 40, 2) with the motion of some segments since end-diastole, frame `ed_index`, times a factor.

    factors: of `walls.WALLS`, -0.5 to 1.5; a segment left out keeps its own motion. septal_first: as of
    `walls.septum_is_first`. Scaled is how far the wall has come towards the long axis, seen from the ventricle, whose
    place, lean and length stay frame by frame; so do the other wall and the segments further on. The factor holds in
    the middle quarter of a segment, with a raised cosine from one to the next. The ejection fraction follows. Raises
    GeometryError for a factor out of range, a name that is no segment's, and, with what can be had, where the walls
    would meet.
    """
    _check(factors)
    points = np.asarray(keypoints, dtype=np.float64)
    shape = decompose(points, spacing)
    out = _from_axis(points, shape)
    factor = _curves(
        by_wall([factors.get(name, 1.0) for name in WALLS], septal_first), chord_places(points[ed_index], spacing)
    )
    added = (factor - 1) * (out - out[ed_index])
    _check_room(shape.width, shape.width[ed_index], added.sum(1), factors)
    across = np.stack([-np.sin(shape.angle), np.cos(shape.angle)], axis=1)[:, None]
    moved = points + np.concatenate([added[:, 0], -added[:, 1, ::-1]], axis=1)[..., None] * across
    if (self_crossing(moved) & ~self_crossing(points)).any():
        raise GeometryError("These wall motions make the outline cross itself; ask for factors nearer 1.")
    return moved


def inward_motion(
    keypoints: ArrayLike,
    beats: Sequence[tuple[int, int]],
    septal_first: bool = True,
    seen_from: ArrayLike | None = None,
    spacing: str = "midpoint",
) -> dict[str, float]:
    """How far each of `walls.WALLS` comes towards the long axis, percent of its distance at end-diastole: what
    `with_wall_motion` scales.

    At end-systole, in the middle half of the segments, the mean over the beats (end-diastole, end-systole) of
    key-points (T, 40, 2). seen_from: (T, 40, 2) whose long axis is meant, their own by default: a wall that was asked
    to move otherwise draws the axis of its ventricle after it, so a result is seen from its source's.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    shape = decompose(points if seen_from is None else np.asarray(seen_from, dtype=np.float64), spacing)
    out, found = _from_axis(points, shape), []
    for ed, es in beats:
        thirds = chord_places(points[ed], spacing)[:, None] * 3 - np.arange(3)[:, None]  # (2, 3, 20), 0 to 1 within
        inner = np.abs(thirds - 0.5) <= 0.25
        full, left = ((inner * out[frame][:, None]).sum(-1) for frame in (ed, es))
        found.append(in_order(100 * (full - left) / full, septal_first))
    return dict(zip(WALLS, np.mean(found, axis=0).tolist(), strict=True))


def _from_axis(points: Array, shape: Shape) -> Array:
    """(T, 2, 20) px from the long axis of `shape` to the chord ends (T, 40, 2) on the first points' side, and on the
    other."""
    across = np.stack([-np.sin(shape.angle), np.cos(shape.angle)], axis=1)[:, None]
    side = ((points - shape.apex[:, None]) * across).sum(-1)
    return np.stack([side[:, :CHORDS], -side[:, : CHORDS - 1 : -1]], axis=1)


def _check(factors: Mapping[str, float]) -> None:
    low, high = FACTOR_RANGE
    for name, factor in factors.items():
        if name not in WALLS:
            raise GeometryError(f"{name!r} is none of this view's walls; choose from {', '.join(WALLS)}.")
        if not low <= factor <= high:
            raise GeometryError(
                f"The wall motion {name}={factor:g} is outside {low:g} (dyskinetic) to {high:g}; choose one inside."
            )


def _curves(factors: Array, places: Array) -> Array:
    """Factors (2, 20) at places (2, 20) along the walls from those (2, 3) of their thirds."""
    curves = factors[:, :1] * np.ones_like(places)
    for border in (1, 2):
        rise = np.clip((places - border / 3) / (2 * _EDGE) + 0.5, 0, 1)
        curves += (factors[:, border] - factors[:, border - 1])[:, None] * (1 - np.cos(np.pi * rise)) / 2
    return curves


def _check_room(width: Array, full: Array, added: Array, factors: Mapping[str, float]) -> None:
    """Raise GeometryError where `added` (T, 20) px leave too little of the chords' widths (T, 20), `full` (20,) at
    end-diastole."""
    least = np.minimum(_NARROWEST * full, 0.5 * width.min(0))
    part = float(np.min((width - least) / np.maximum(-added, 1e-9), where=added < 0, initial=np.inf))
    if part < 1:
        allowed = [
            f"{name}={1 + math.trunc(100 * part * (factor - 1)) / 100:g}"
            for name, factor in factors.items()
            if factor != 1
        ]
        raise GeometryError(
            f"These wall motions would bring the ventricle's walls together; ask for {', '.join(allowed)} or nearer 1."
        )
