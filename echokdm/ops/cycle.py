"""The heart's cycle in a curve of volumes or areas: end-diastole, end-systole, the valves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.ops.smoothing import smooth_values
from echokdm.ops.ventricle import ejection_fraction

Array = NDArray[np.float64]

_FASTEST_BEAT_S = 0.3  # 200 beats a minute
_SIGMA_S = 0.05  # `smooth_values` before extrema are sought
_PART = 0.5  # a beat's fall in volume, in parts of the largest, below which it is not a beat but noise or a fragment
_PLATEAU = 0.04  # within this part of the fall, the last top before contraction is end-diastole
_TOP = 0.02  # within this part of it, a top is flat, and where it ends does not hang on noise
_OPEN, _WIDE = 0.1, 0.6  # of the fastest inflow: where a valve parts, where it is wide open
_DIASTASIS = 0.35  # how far it stays open between early filling and the atrial kick
_FILLED = 0.85  # of a beat's fall that is filled again by the end-diastole after it


def find_ed_es(volumes: ArrayLike, fps: float) -> list[tuple[int, int]]:
    """(end-diastole, end-systole) frames of each beat of volumes or areas (T,), in order of time.

    A beat is a top and the bottom that follows it; a bottom without its top (the clip starts in mid-systole) or a fall
    that the clip's end cuts short is left out. Where no beat is whole, the one pair is the largest and the smallest
    frame, in whatever order. Frames that are not finite are filled in from their neighbours. Raises GeometryError on
    fewer than two finite values.
    """
    v = np.asarray(volumes, dtype=np.float64).ravel()
    known = np.isfinite(v)
    if known.sum() < 2:
        raise GeometryError(
            "End-diastole and end-systole need at least two frames with a ventricle; give a longer clip."
        )
    v = np.interp(np.arange(len(v)), np.flatnonzero(known), v[known])
    smooth = smooth_values(v, fps, _SIGMA_S)
    swing = float(np.ptp(smooth))
    whole = [(int(smooth.argmax()), int(smooth.argmin()))]
    if swing <= 1e-9 * max(abs(float(smooth.max())), 1e-9):
        return whole
    # Walls of the top value let a bottom be the first or last frame.
    walled = np.concatenate([[-smooth.max()], -smooth, [-smooth.max()]])
    bottoms = _peaks(walled, _PART * swing / 2, max(1, int(_FASTEST_BEAT_S * fps))) - 1
    beats, start = [], 0
    for es in bottoms:
        ed = _end_diastole(smooth, start, int(es))
        if smooth[ed] - smooth[es] >= _PART * swing:
            beats.append((ed, int(es)))
        start = int(es)
    if len(beats) > 1:
        # A clip may begin within a systole or end within one: their falls are short beside the others.
        full = float(np.median([smooth[a] - smooth[b] for a, b in beats]))
        edges = {0: beats[0][0] == 0, len(beats) - 1: beats[-1][1] == len(v) - 1}
        beats = [
            b for i, b in enumerate(beats) if not (edges.get(i, False) and smooth[b[0]] - smooth[b[1]] < 0.85 * full)
        ]
    return beats or whole


def _peaks(v: Array, prominence: float, distance: int) -> NDArray[np.int64]:
    """What `scipy.signal.find_peaks` finds, which takes longer to load than a clip to be measured: it brings SciPy's
    distributions.

    The middles of tops in v (T,), of two nearer than `distance` the higher, that rise by `prominence` above the ground
    on either side before something higher.
    """
    starts = np.concatenate([[0], np.flatnonzero(np.diff(v)) + 1])
    level, stops = v[starts], np.append(starts[1:], len(v)) - 1
    tops = np.flatnonzero((level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])) + 1
    found: list[int] = []
    for top in sorted(((starts[tops] + stops[tops]) // 2).tolist(), key=lambda t: (v[t], t), reverse=True):
        if all(abs(top - other) >= distance for other in found):
            found.append(top)

    def rise(top: int) -> float:
        sides = v[top::-1], v[top:]
        return float(v[top] - max(side[: int((side > v[top]).argmax()) or len(side)].min() for side in sides))

    return np.array(sorted(top for top in found if rise(top) >= prominence), dtype=np.int64)


def complete_beats(volumes: ArrayLike, fps: float) -> list[tuple[int, int]]:
    """(end-diastole, end-systole) frames of the beats by which a clip of volumes (T,) is judged, in order of time;
    never empty.

    Those of `find_ed_es` whose end-systole the clip goes on after; where there is none, the `extremes`.
    """
    v = np.asarray(volumes, dtype=np.float64)
    if len(v) < 2:
        return [(0, 0)]
    return [beat for beat in find_ed_es(v, fps) if beat[0] < beat[1] < len(v) - 1] or [extremes(v)]


def extremes(volumes: ArrayLike) -> tuple[int, int]:
    """(end-diastole, end-systole) of volumes (T,) that show no complete beat: the largest frame, and the smallest after
    it.

    Where the clip ends while it still falls, and the smallest after it is its last frame, the smallest of all: a
    filling fills what was ejected.
    """
    v = np.asarray(volumes, dtype=np.float64)
    ed = int(v.argmax())
    after = ed + int(v[ed:].argmin())
    return ed, after if after < len(v) - 1 else int(v.argmin())


def typical_beat(volumes: ArrayLike, beats: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The beat whose ejection fraction is nearest the clip's: the one to show or to trace where there is room for
    one."""
    v, clip = np.asarray(volumes, dtype=np.float64), clip_ejection_fraction(volumes, beats)
    return min(beats, key=lambda beat: abs(clip_ejection_fraction(v, [beat]) - clip))


def clip_ejection_fraction(volumes: ArrayLike, beats: Sequence[tuple[float, float]]) -> float:
    """A clip's ejection fraction, percent, as every command and table gives it: the mean of (EDV - ESV) / EDV over its
    beats.

    volumes: (T,), of any unit. beats: end-diastole and end-systole, in frames: of a clip, the `turning_points` of its
    `complete_beats`; a clip that was drawn or measured again is judged at the whole frames that were asked of it.
    Raises GeometryError where an end-diastolic volume is not above zero.
    """
    ed, es = volumes_at(volumes, beats).T
    return float(ejection_fraction(ed, es).mean())


def turning_points(volumes: ArrayLike, beats: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """The beats (end-diastole, end-systole) of volumes (T,) in fractions of a frame: where the curve turns between the
    frames.

    That is the top or bottom of the parabola through a frame and its two neighbours, without which few frames a second
    miss both. Two frames, and a clip's first and last, stay as they are, and so does a frame that is no top or bottom,
    as where a plateau ends.
    """
    v = np.asarray(volumes, dtype=np.float64)

    def turn(frame: int) -> float:
        if not 0 < frame < len(v) - 1:
            return float(frame)
        before, after = v[frame - 1] - v[frame], v[frame + 1] - v[frame]
        return frame + (before - after) / (2 * (before + after)) if before * after > 0 else float(frame)

    return [(turn(ed), turn(es)) for ed, es in beats]


def volumes_at(volumes: ArrayLike, times: ArrayLike) -> Array:
    """The curve of volumes (T,) at any times (...), in frames, by the parabola through the nearest frame and its two
    neighbours.

    At a whole frame it is that frame's volume.
    """
    v, t = np.asarray(volumes, dtype=np.float64), np.asarray(times, dtype=np.float64)
    frame = np.rint(t).astype(int)
    before, after = (v[np.clip(frame + step, 0, len(v) - 1)] - v[frame] for step in (-1, 1))
    off = t - frame
    return v[frame] + off * (after - before) / 2 + off**2 * (after + before) / 2


def _end_diastole(smooth: Array, start: int, es: int) -> int:
    """The last top of smooth[start:es + 1]: after a plateau of slow filling the top that contraction starts from, and
    its last frame."""
    part = smooth[start : es + 1]
    high = np.flatnonzero(part >= part.max() - _PLATEAU * (part.max() - part[-1]))
    gaps = np.flatnonzero(np.diff(high) > 1)
    run = high[gaps[-1] + 1 :] if len(gaps) else high
    top = part[run].max()
    return start + int(run[part[run] >= top - _TOP * (top - part[-1])][-1])


def closing_end_diastole(volumes: ArrayLike, beats: Sequence[tuple[int, int]]) -> int | None:
    """The end-diastole that ends the last of `beats`: the top after its end-systole. None where the clip (T,) ends
    before it.

    `find_ed_es` names no such frame, as no systole that could be measured follows it.
    """
    v, (ed, es) = np.asarray(volumes, dtype=np.float64), beats[-1]
    if es < ed or es + 2 >= len(v):
        return None
    top = _end_diastole(v, es, len(v) - 1)
    filled = v[top] - v[es] >= _FILLED * (v[ed] - v[es])
    return top if filled and top + 1 < len(v) else None


def valve_opening(volumes: ArrayLike) -> Array:
    """How far the valves into the ventricles are open in each frame (T,), 0 shut to 1 wide open, from the volumes (T,)
    of a clip.

    They open with the inflow, half close between early filling and the atrial kick, and are shut while the ventricle
    ejects: the M of a mitral M-mode. 0.5 throughout where nothing fills.
    """
    v = np.asarray(volumes, dtype=np.float64)
    inflow = np.gradient(v).clip(min=0) if len(v) > 1 else np.zeros(len(v))
    if inflow.max(initial=0) <= 1e-9 * max(np.abs(v).max(initial=0), 1e-9):
        return np.full(len(v), 0.5)
    opening = ((inflow / inflow.max() - _OPEN) / (_WIDE - _OPEN)).clip(0, 1)
    flows = np.flatnonzero(opening > 0)
    for last, following in zip(flows, flows[1:], strict=False):
        # nothing was ejected between: one diastole
        if following > last + 1 and v[last] - v[last:following].min() < _OPEN * np.ptp(v):
            opening[last : following + 1] = np.maximum(opening[last : following + 1], _DIASTASIS)
    return opening
