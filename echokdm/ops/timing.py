"""Another heart rate, and beats that repeat without a jump: which moment of the source each frame of an output shows.

Systole and diastole are stretched each by its own factor, and moments stay in order, so each frame shows the source in
its own phase and direction of motion. Hospitals often store one beat as a loop, begun anywhere: where the last frame
leads on to the first, time goes on there, and moments beyond the last frame are those of the clip begun anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import ClipError, ConfigError
from echokdm.ops.cycle import closing_end_diastole
from echokdm.ops.trajectory import compose, decompose, trajectory_at
from echokdm.ops.ventricle import simpson_volume

Array = NDArray[np.float64]
Beat = tuple[int, int]
# frames of end-diastole, end-systole and the next end-diastole, each after the one before
WholeBeat = tuple[int, int, int]

RATE_RANGE = (30.0, 200.0)  # beats a minute that may be asked for
BEATS_RANGE = (1, 50)
# s before a repeated beat ends within which it is led into its own beginning, at most half of its diastole; and s of
# the
BLEND_S = 0.15
# source before a loop's end within which the ventricle is led back to where it lay at the loop's beginning
# s, s a beat a minute: left ventricular ejection time .413 - .0017 HR, men (Weissler et al., Circulation
_EJECTION = (0.413, 0.0017)
# 1968;37:149-59). Its share of the beat would fall beyond 121 a minute, systole shortening more than diastole; from
# there it is kept, as in exercise diastole goes on shortening more (Bombardini et al., Cardiovasc Ultrasound
# 2008;6:15).


@dataclass(frozen=True)
class Timing:
    """Which moments of a source of T frames a clip of N frames shows.

    at: (N,) source frames, fractions among them; the nearest is `rint(at) % T`. beats: (end-diastole, end-systole) in
    the N frames, which show those of the source exactly. fps, source_fps: frames a second of the output and of the
    source. heart_rate: beats a minute of the output, on average. repeated: the source's frames of end-diastole between
    which the repeated beat lies; None where nothing is repeated. left: (N,) seconds until that beat ends. pace: source
    frames a second of the output at its ends.
    """

    at: Array
    beats: list[Beat]
    fps: float
    source_fps: float
    heart_rate: float
    repeated: Beat | None = None
    left: Array | None = None
    pace: float = 0.0


def systolic_share(heart_rate: ArrayLike) -> Array:
    """Part of the beat that ejection takes in healthy men at rest at a heart rate (...), beats a minute; see
    `_EJECTION`."""
    rate = np.minimum(np.asarray(heart_rate, dtype=np.float64), _EJECTION[0] / (2 * _EJECTION[1]))
    return (_EJECTION[0] - _EJECTION[1] * rate) * rate / 60


def is_loop(keypoints: ArrayLike) -> bool:
    """Whether the ventricle of key-points (T, 40, 2) has the form in its last frame from which one frame leads on to
    the first.

    Widths and length, not where the ventricle lies, which a probe or a breath may have moved meanwhile, change from the
    last frame to the first by no more than between any two neighbours, and by no more than twice what they change just
    before and after. A clip that begins and ends in diastasis passes too; as a beat it is too long or too short by what
    overlaps or is missing there.
    """
    shape = decompose(np.asarray(keypoints, dtype=np.float64))
    form = np.concatenate([shape.width, shape.length[:, None]], axis=1)
    steps = np.abs(form - np.roll(form, 1, axis=0)).mean(1)
    return bool(len(form) > 2 and steps[0] <= min(steps[1:].max(), steps[1] + steps[-1]))


def whole_beats(keypoints: ArrayLike, beats: Sequence[Beat]) -> list[WholeBeat]:
    """Those of the beats (end-diastole, end-systole) of key-points (T, 40, 2) that are seen up to the next
    end-diastole.

    Where none is, and the clip shows one beat and is a loop, that beat, with frames beyond T for those after the loop's
    end.
    """
    ends = [*(ed for ed, _ in beats[1:]), closing_end_diastole(simpson_volume(keypoints), beats)]
    found = [(ed, es, end) for (ed, es), end in zip(beats, ends, strict=True) if end is not None and ed < es < end]
    if found or len(beats) > 1 or not is_loop(keypoints):
        return found
    (ed, es), count = beats[0], len(np.asarray(keypoints))
    return [(ed, es if ed < es else es + count, ed + count)] if ed != es else []


def heart_rate(keypoints: ArrayLike, beats: Sequence[Beat], fps: float) -> float | None:
    """Beats a minute of key-points (T, 40, 2), the mean over the whole beats; None where the clip shows none."""
    found = whole_beats(keypoints, beats)
    return 60 * fps / float(np.mean([end - ed for ed, _, end in found])) if found else None


def best_beat(keypoints: ArrayLike, beats: Sequence[Beat]) -> WholeBeat:
    """The whole beat of key-points (T, 40, 2) whose end is most like its beginning, by the points' mean distance;
    ClipError without one."""
    points, found = np.asarray(keypoints, dtype=np.float64), _whole(keypoints, beats)

    def change(beat: WholeBeat) -> float:
        x, y = (points[beat[2] % len(points)] - points[beat[0]]).T
        return float(np.hypot(x, y).mean())

    return min(found, key=change)


def with_heart_rate(
    keypoints: ArrayLike, beats: Sequence[Beat], fps: float, rate: float, out_fps: float | None = None
) -> Timing:
    """The whole of a source of key-points (T, 40, 2) at another heart rate, at `out_fps`, its own `fps` by default.

    rate: beats a minute, 30 to 200, on average over the whole beats, which keep their proportions to one another. The
    ratio of systole to diastole changes as `systolic_share` has it.
    Raises ConfigError for a rate out of range or too high for the frame rate, ClipError where no beat is whole.
    """
    whole, count = _whole(keypoints, beats), len(np.asarray(keypoints))
    systole, diastole = _stretched(whole, fps, rate)
    loop = whole[-1][2] >= count
    # a systole?
    begins = {frame: True for frame in (*(ed for ed, _ in beats), whole[-1][2] % count)} | {
        es: False for _, es in beats
    }
    events = sorted({0, count if loop else count - 1, *begins})
    empties = not begins[min(begins)]
    lasting = []
    for start, end in zip(events, events[1:], strict=False):
        empties = begins.get(start, empties)
        lasting.append((end - start) * (systole if empties else diastole))
    clock = np.concatenate([[0.0], np.cumsum(lasting)])
    out_fps = fps if out_fps is None else out_fps
    times = (
        np.arange(int(np.ceil(clock[-1] * out_fps - 1e-6)) if loop else int(np.floor(clock[-1] * out_fps + 1e-6)) + 1)
        / out_fps
    )
    turns = sorted(frame for beat in beats for frame in beat)
    times, frames = _drawn(times, clock[np.searchsorted(events, turns)], out_fps)
    drawn = dict(zip(turns, frames, strict=True))
    source = np.array(events, dtype=np.float64)
    if loop:  # a round before and after, so that the pace is the same where the loop closes
        clock = np.concatenate([clock[:-1] - clock[-1], clock, clock[1:] + clock[-1]])
        source = np.concatenate([source[:-1] - count, source, source[1:] + count])
    at = _moments(clock, source)(np.minimum(times, clock[-1]))
    return Timing(at, [(drawn[ed], drawn[es]) for ed, es in beats], out_fps, fps, rate)


def repeated_beats(
    beat: WholeBeat, fps: float, count: int, rate: float | None = None, out_fps: float | None = None
) -> Timing:
    """`count` times one whole beat of a source, as of `best_beat`; the frame after the last is the first again.

    rate: beats a minute, 30 to 200, the beat's own by default. So that the clip closes after a whole frame it is met to
    within half a frame over all beats; `Timing.heart_rate` is what came out. `retimed` closes the gap between the
    beat's end and its beginning. Raises ConfigError for a count or a rate out of range, or too high for the frame rate.
    """
    low, high = BEATS_RANGE
    if not low <= count <= high:
        raise ConfigError(f"{count} beats are outside {low} to {high}; choose a number inside.")
    ed, es, end = beat
    systole, diastole = (1 / fps, 1 / fps) if rate is None else _stretched([beat], fps, rate)
    out_fps = fps if out_fps is None else out_fps
    asked = (es - ed) * systole + (end - es) * diastole
    frames = max(round(count * asked * out_fps), 1)
    period = frames / out_fps / count
    lasting = (es - ed) * systole * period / asked
    starts = np.arange(count) * period
    times, drawn = _drawn(np.arange(frames) / out_fps, np.stack([starts, starts + lasting], axis=1).ravel(), out_fps)
    within = times - period * np.floor(times / period + 1e-9)
    # A beat before and after, so that the pace is the same at both ends.
    clock = np.concatenate([np.array([0.0, lasting]) + k * period for k in (-1, 0, 1, 2)])
    source = np.concatenate([np.array([ed, es], dtype=np.float64) + k * (end - ed) for k in (-1, 0, 1, 2)])
    moments = _moments(clock, source)
    return Timing(
        np.clip(moments(within), ed, end),
        list(zip(drawn[::2], drawn[1::2], strict=True)),
        out_fps,
        fps,
        60 / period,
        (ed, end),
        period - within,
        float(moments(0.0, 1)),
    )


def retimed(keypoints: ArrayLike, timing: Timing) -> Array:
    """The source's key-points (T, M, 2) at a `Timing` -> (N, M, 2), by a cubic spline along time.

    Where a beat is repeated its last `BLEND_S` seconds, at most half of its diastole, are led into its beginning: a
    cubic in time takes up the difference of place and of velocity between its two ends, so that both are continuous
    from beat to beat. Of a loop that the moments lead across, the last `BLEND_S` seconds are led back to where and how
    the ventricle lay at its beginning; its form stays.
    """
    from scipy.interpolate import CubicSpline

    points, at = np.asarray(keypoints, dtype=np.float64), timing.at
    count, (begin, end) = len(points), timing.repeated or (0, 0)
    if max(at.max(), end) > count - 1:  # a round before and after it, for the spline
        points, at, begin, end = (
            np.concatenate([_led_back(points, timing.source_fps)] * 3),
            at + count,
            begin + count,
            end + count,
        )
    moved = trajectory_at(points, at)
    if timing.repeated is None or timing.left is None:
        return moved
    velocity = CubicSpline(np.arange(len(points)), points)(np.array([begin, end], dtype=np.float64), 1) * timing.pace
    ed, es = timing.beats[0]
    blend = min(BLEND_S, (60 / timing.heart_rate - (es - ed) / timing.fps) / 2)
    s = np.clip(1 - timing.left / blend, 0, 1)[:, None, None]
    return (
        moved
        + (points[begin] - points[end]) * s**2 * (3 - 2 * s)
        + (velocity[0] - velocity[1]) * blend * s**2 * (s - 1)
    )


def _led_back(points: Array, fps: float) -> Array:
    """A loop's key-points (T, 40, 2), at whose end apex and lean come to where one more step leads on to the first
    frame."""
    shape = decompose(points)
    pose = np.concatenate([shape.apex, np.unwrap(shape.angle)[:, None]], axis=1)
    gap = pose[0] - pose[-1] - (pose[1] - pose[0] + pose[-1] - pose[-2]) / 2
    frames = min(BLEND_S * fps, len(points) / 2)
    s = np.clip((np.arange(len(points)) - (len(points) - 1)) / frames + 1, 0, 1)[:, None]
    pose = pose + gap * s**2 * (3 - 2 * s)
    return compose(shape._replace(apex=pose[:, :2], angle=pose[:, 2]))


def _whole(keypoints: ArrayLike, beats: Sequence[Beat]) -> list[WholeBeat]:
    found = whole_beats(keypoints, beats)
    if not found:
        raise ClipError(
            "The clip shows no whole beat, from one end-diastole to the next, so its heart rate isn't known and no beat can be "
            "repeated; give a longer clip."
        )
    return found


def _stretched(whole: Sequence[WholeBeat], fps: float, rate: float) -> tuple[float, float]:
    """Seconds that a source frame of systole and one of diastole last at another rate."""
    low, high = RATE_RANGE
    if not low <= rate <= high:
        raise ConfigError(f"A heart rate of {rate:g} is outside {low:g} to {high:g} beats a minute; choose one inside.")
    systole, diastole = np.mean([(es - ed, end - es) for ed, es, end in whole], axis=0)
    own = 60 * fps / (systole + diastole)
    usual, asked = (share / (1 - share) for share in systolic_share([own, rate]))
    ratio = systole / diastole * asked / usual
    return 60 / rate * ratio / (1 + ratio) / systole, 60 / rate / (1 + ratio) / diastole


def _moments(clock: Array, source: Array) -> Callable[..., Array]:
    """Seconds of the output -> source frames, through all events: monotone, so that no moment is shown twice, and
    smooth."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(clock, source)


def _drawn(times: Array, events: Array, fps: float) -> tuple[Array, list[int]]:
    """Times (N,) s of the output's frames with the nearest ones moved onto the events, which are in order, and the
    events' frames."""
    frames = np.minimum(np.rint(events * fps + 1e-9).astype(int), len(times) - 1)
    if (np.diff(frames) < 1).any():
        raise ConfigError(
            f"At {fps:g} frames a second the beats asked for have no frame each for end-diastole and end-systole; ask for a "
            "lower heart rate or a higher frame rate."
        )
    times = times.copy()
    times[frames] = events
    return times, frames.tolist()
