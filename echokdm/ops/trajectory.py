"""Trajectories of a ventricle's 40 key-points: another ejection fraction, another heart's motion, dragged points,
another frame rate.

All of it works in coordinates of the ventricle itself: where its apex is, how its axis leans and how long it is, and
for each chord its width and how far its middle lies off the axis. Widths and lengths change by factors, so that no
chord can turn over and no outline cross itself.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.ops.chords import CHORDS, chord_positions
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.ventricle import axis_from_keypoints, self_crossing, simpson_volume

Array = NDArray[np.float64]
Beat = tuple[int, int]  # frames of end-diastole and end-systole

EF_RANGE = (5.0, 80.0)  # percent that may be asked for
_STILL = 5.0  # per cent; a source that ejects less has no motion worth scaling
_OWN_MOTION = 2.0  # up to this factor the source's own motion is scaled; past it the canonical contraction is added
_NARROWEST, _SHORTEST = 0.15, 0.55  # parts of the width and length at end-diastole that a contraction leaves
_LONG, _RADIAL = 0.16, 0.40  # log strains of length and width that make an ejection fraction of about 60 %
_MIN_WIDTH = 0.1  # px


class Shape(NamedTuple):
    """Key-points (T, 40, 2) in coordinates of the ventricle."""

    apex: Array  # (T, 2) px
    angle: Array  # (T,) of apex -> base, radians, atan2(y, x)
    length: Array  # (T,) px
    width: Array  # (T, 20) px, from second to first ends across the axis
    middle: Array  # (T, 20) px off the axis, towards the first ends
    stray: Array  # (T, 40) along the axis off the chord's place, parts of the length: 0 for true chords


def decompose(keypoints: Array, spacing: str = "midpoint") -> Shape:
    """Key-points (T, 40, 2) -> Shape; `compose` brings them back. Raises GeometryError where a ventricle has no
    length."""
    apex, base = axis_from_keypoints(keypoints, spacing)
    axis = base - apex
    length = np.hypot(axis[:, 0], axis[:, 1])
    if not (np.isfinite(keypoints).all() and (length > 1e-6).all()):
        raise GeometryError(
            "The key-points don't bound a ventricle: they are not finite, or its long axis has no length."
        )
    u = axis / length[:, None]
    v = np.stack([-u[:, 1], u[:, 0]], axis=1)
    relative = keypoints - apex[:, None]
    across = (relative * v[:, None]).sum(-1)
    along = (relative * u[:, None]).sum(-1) / length[:, None]
    f = chord_positions(spacing)
    first, second = across[:, :CHORDS], across[:, : CHORDS - 1 : -1]
    return Shape(
        apex,
        np.arctan2(u[:, 1], u[:, 0]),
        length,
        first - second,
        (first + second) / 2,
        along - np.concatenate([f, f[::-1]]),
    )


def compose(shape: Shape, spacing: str = "midpoint") -> Array:
    """Shape -> key-points (T, 40, 2)."""
    u = np.stack([np.cos(shape.angle), np.sin(shape.angle)], axis=1)
    v = np.stack([-u[:, 1], u[:, 0]], axis=1)
    f = chord_positions(spacing)
    across = np.concatenate([shape.middle + shape.width / 2, (shape.middle - shape.width / 2)[:, ::-1]], axis=1)
    along = (np.concatenate([f, f[::-1]]) + shape.stray) * shape.length[:, None]
    return shape.apex[:, None] + along[..., None] * u[:, None] + across[..., None] * v[:, None]


def beat_profile(phase: ArrayLike) -> Array:
    """Part of the stroke volume that has left (...), 0 at end-diastole (phase 0, 1) and 1 at end-systole (phase 0.37),
    at phases (...).

    Ejection, early filling, slow filling and the atrial kick of a resting heart.
    """
    from scipy.interpolate import PchipInterpolator

    knots = [0.0, 0.05, 0.20, 0.32, 0.37, 0.42, 0.56, 0.66, 0.84, 0.96, 1.0]
    values = [0.0, 0.05, 0.68, 0.96, 1.0, 0.97, 0.36, 0.22, 0.17, 0.01, 0.0]
    return PchipInterpolator(knots, values)(np.mod(np.asarray(phase, dtype=np.float64), 1.0))


def _contract(shape: Shape, amount: Array) -> Shape:
    """The canonical contraction by amount (T,), 1 for an EF of about 60 %: walls inwards, base towards the apex, the
    annulus least."""
    f = chord_positions()
    radial = _RADIAL * (1 - 0.4 * np.clip((f - 0.5) / 0.5, 0, 1))
    return shape._replace(
        length=shape.length * np.exp(-_LONG * amount), width=shape.width * np.exp(-radial * amount[:, None])
    )


def _scaled(shape: Shape, reference: Shape, factor: float) -> Shape:
    """`shape`'s change of form from `reference` (T = 1), times a factor: log strains of length and widths, shifts of
    the chords' middles.

    Where the ventricle lies and how it leans stay as in `shape`.
    """

    def power(now: Array, then: Array) -> Array:
        ratio = np.maximum(now, _MIN_WIDTH) / np.maximum(then, _MIN_WIDTH)
        return then * ratio**factor

    return shape._replace(
        length=power(shape.length, reference.length),
        width=power(shape.width, reference.width),
        middle=reference.middle + factor * (shape.middle - reference.middle),
        stray=reference.stray + factor * (shape.stray - reference.stray),
    )


class _Family:
    """Trajectories from stillness (wish 0) over the source's own motion (1) to as strong a contraction as it allows
    (`limit`)."""

    def __init__(
        self, keypoints: ArrayLike, ed_index: int, fps: float | None, spacing: str, beats: Sequence[Beat] | None
    ) -> None:
        points = np.asarray(keypoints, dtype=np.float64)
        if points.ndim != 3:
            raise GeometryError(f"A trajectory of key-points has the shape (frames, 40, 2), not {points.shape}.")
        if not -len(points) <= ed_index < len(points):
            raise GeometryError(f"Frame {ed_index} is not one of the trajectory's {len(points)} frames.")
        self.ed, self.spacing = ed_index % len(points), spacing
        volume = simpson_volume(points, spacing=spacing)
        self.shape = decompose(points, spacing)
        self.reference = Shape(*(part[self.ed : self.ed + 1] for part in self.shape))
        self.own = _OWN_MOTION if _ejects(volume, self.ed, beats) else 0.0
        self.beats = asked_beats(volume, self.ed, fps, beats)
        if self.own:
            self.amount = np.clip((volume[self.ed] - volume) / (volume[self.ed] - volume.min()), 0, 1)
        else:
            self.amount = _resting_beats(len(points), self.ed, fps)
        # A source may be narrower somewhere by itself, as where the mitral plane leans into the last chord; that is not
        # held against it.
        narrowest = np.minimum(_NARROWEST * self.reference.width, 0.5 * self.shape.width.min(0))
        shortest = np.minimum(_SHORTEST * self.reference.length, 0.8 * self.shape.length.min())
        wishes = np.linspace(0, self.own + 4, 121)
        efs: list[float] = []
        for wish in wishes:
            shape = self.at(wish)
            ef = self.ef(shape)
            if (shape.width < narrowest).any() or (shape.length < shortest).any() or (efs and ef < efs[-1]):
                break
            efs.append(ef)
        self.wishes, self.efs = wishes[: len(efs)], np.array(efs)

    def at(self, wish: float) -> Shape:
        moved = _scaled(self.shape, self.reference, min(wish, self.own))
        return _contract(moved, max(wish - self.own, 0.0) * self.amount)

    def ef(self, shape: Shape) -> float:
        volume = simpson_volume(compose(shape, self.spacing), spacing=self.spacing)
        return clip_ejection_fraction(volume, self.beats)


def _family(
    keypoints: ArrayLike, ed_index: int, fps: float | None, spacing: str, beats: Sequence[Beat] | None
) -> _Family:
    """The last families are kept: one clip is asked for many ejection fractions, one after another."""
    points = np.ascontiguousarray(keypoints, dtype=np.float64)
    return _kept_family(points.tobytes(), points.shape, ed_index, fps, spacing, None if beats is None else tuple(beats))


@lru_cache(maxsize=4)
def _kept_family(
    points: bytes,
    shape: tuple[int, ...],
    ed_index: int,
    fps: float | None,
    spacing: str,
    beats: tuple[Beat, ...] | None,
) -> _Family:
    return _Family(np.frombuffer(points).reshape(shape), ed_index, fps, spacing, beats)


def _ejects(volume: Array, ed: int, beats: Sequence[Beat] | None) -> bool:
    return clip_ejection_fraction(volume, beats or [(ed, int(volume.argmin()))]) >= _STILL


def _resting_beats(count: int, ed: int, fps: float | None) -> Array:
    """Contraction (T,) of a resting heart: one beat, or 60 a minute given fps."""
    beats = 1 if fps is None else max(1, round(count / fps))
    return beat_profile((np.arange(count) - ed) * beats / count)


def asked_beats(
    volumes: ArrayLike, ed_index: int, fps: float | None = None, beats: Sequence[Beat] | None = None
) -> list[Beat]:
    """The beats by which `with_ejection_fraction` sets the ejection fraction of a trajectory with these volumes (T,).

    Those given, or `ed_index` and the smallest volume; where the source ejects under 5 %, the first of a resting
    heart's.
    """
    volume = np.asarray(volumes, dtype=np.float64)
    if _ejects(volume, ed_index, beats):
        return list(beats or [(ed_index, int(volume.argmin()))])
    return [(ed_index, int(_resting_beats(len(volume), ed_index, fps).argmax()))]


def ef_limits(
    keypoints: ArrayLike,
    ed_index: int,
    fps: float | None = None,
    spacing: str = "midpoint",
    beats: Sequence[Beat] | None = None,
) -> tuple[float, float]:
    """(lowest, highest) ejection fraction in per cent that `with_ejection_fraction` can give this trajectory (T, 40,
    2)."""
    family = _family(keypoints, ed_index, fps, spacing, beats)
    return EF_RANGE[0], min(EF_RANGE[1], float(family.efs[-1]))


def with_ejection_fraction(
    keypoints: ArrayLike,
    ef_percent: float,
    ed_index: int,
    fps: float | None = None,
    spacing: str = "midpoint",
    beats: Sequence[Beat] | None = None,
) -> Array:
    """The trajectory (T, 40, 2) with another ejection fraction, in per cent: `cycle.clip_ejection_fraction` of its
    volumes, exactly.

    beats: (end-diastole, end-systole) frames by which that is told, see `asked_beats`. Each frame's change of form
    since end-diastole is scaled by one factor found by bisection; frame `ed_index` stays as it is, and so does where
    the ventricle lies and leans. Past twice the source's own motion, and for a source that ejects under 5 %, a
    canonical contraction (walls inwards, base towards the apex) follows the source's volume curve, or one of a resting
    heart: one beat, or 60 a minute given fps.
    Raises GeometryError with the range that can be had where ef_percent is out of it.
    """
    from scipy.optimize import brentq

    family = _family(keypoints, ed_index, fps, spacing, beats)
    low, high = EF_RANGE[0], min(EF_RANGE[1], float(family.efs[-1]))
    if not low <= ef_percent <= high:
        raise GeometryError(
            f"An ejection fraction of {ef_percent:g} % can't be had from this clip; "
            f"ask for one in EF {low:.0f}-{np.floor(high):.0f}."
        )
    above = int(np.searchsorted(family.efs, ef_percent))
    a, b = family.wishes[max(above - 1, 0)], family.wishes[above]
    wish = b if above == 0 else brentq(lambda w: family.ef(family.at(w)) - ef_percent, a, b, xtol=1e-12)
    return compose(family.at(wish), spacing)


def beat_template(keypoints: ArrayLike, ef_percent: float, frames: int, spacing: str = "midpoint") -> Array:
    """One canonical beat (frames, 40, 2) with the ejection fraction asked for, from key-points (40, 2) at end-diastole,
    frame 0."""
    if frames < 3:
        raise GeometryError(f"A beat needs three or more frames, not {frames}.")
    still = np.broadcast_to(np.asarray(keypoints, dtype=np.float64), (frames, 2 * CHORDS, 2))
    return with_ejection_fraction(still, ef_percent, 0, spacing=spacing)


def transfer_motion(
    source: ArrayLike, driving: ArrayLike, driving_ref: ArrayLike | int, spacing: str = "midpoint"
) -> Array:
    """The motion of `driving` (T, 40, 2) since `driving_ref` carried to `source` (40, 2) -> (T, 40, 2).

    driving_ref: key-points (40, 2), or the index of a frame of `driving`; `source` should be in its phase, for instance
    both at end-diastole. Motion is taken in coordinates of each ventricle, its size taken out: strains of widths and
    length, turns, shifts in parts of the length. Where `driving` equals `driving_ref` the result is `source`.
    """
    driving = np.asarray(driving, dtype=np.float64)
    ref_points = (
        driving[driving_ref] if isinstance(driving_ref, int | np.integer) else np.asarray(driving_ref, dtype=np.float64)
    )
    start, motion, ref = (
        decompose(p, spacing) for p in (np.asarray(source, dtype=np.float64)[None], driving, ref_points[None])
    )
    size = start.length / ref.length
    turn = start.angle - ref.angle
    rotation = np.array([[np.cos(turn[0]), -np.sin(turn[0])], [np.sin(turn[0]), np.cos(turn[0])]])
    return compose(
        Shape(
            apex=start.apex + (motion.apex - ref.apex) @ rotation.T * size,
            angle=motion.angle + turn,
            length=motion.length * size,
            width=start.width * np.maximum(motion.width, _MIN_WIDTH) / np.maximum(ref.width, _MIN_WIDTH),
            middle=start.middle + (motion.middle - ref.middle) * size,
            stray=start.stray + motion.stray - ref.stray,
        ),
        spacing,
    )


def drag(keypoints: ArrayLike, moves: Mapping[int, tuple[float, float]], reach: float = 0.08) -> Array:
    """Key-points (N, 2) with some moved by (dx, dy) px exactly, and their neighbours after them, less and less along
    the closed outline.

    reach: sigma of the Gaussian fall-off in parts of the outline's length. Raises GeometryError on an unknown index or
    a crossing outline.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    count = len(points)
    wrong = [i for i in moves if not 0 <= i < count]
    if wrong:
        raise GeometryError(f"There is no key-point {wrong[0]}; they are numbered 0 to {count - 1}.")
    if not moves:
        return points.copy()
    index = np.array(list(moves))
    shift = np.array(list(moves.values()), dtype=np.float64)
    sides = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    at = np.concatenate([[0.0], np.cumsum(sides)[:-1]]) / max(float(sides.sum()), 1e-9)
    apart = np.abs(at[:, None] - at[None, index])
    weight = np.exp(-0.5 * (np.minimum(apart, 1 - apart) / reach) ** 2)
    moved = points + weight @ np.linalg.lstsq(weight[index], shift, rcond=1e-6)[0]
    moved[index] = points[index] + shift
    if self_crossing(moved):
        raise GeometryError(
            "These drags make the outline cross itself; drag less far, or drag the points around along with it."
        )
    return moved


def trajectory_at(keypoints: ArrayLike, at: ArrayLike) -> Array:
    """The trajectory (T, N, 2) at its own frames `at` (M,), fractions among them -> (M, N, 2), by a cubic spline along
    time."""
    from scipy.interpolate import CubicSpline

    points = np.asarray(keypoints, dtype=np.float64)
    return CubicSpline(np.arange(len(points)), points)(np.asarray(at, dtype=np.float64))
