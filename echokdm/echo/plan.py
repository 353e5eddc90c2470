"""What is asked of a clip: a trajectory of key-points, and the source frame that each of its frames is made from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from echokdm.core.errors import ClipError, ConfigError
from echokdm.echo.derive import Derived, simpson
from echokdm.echo.wish import FRAMES_RANGE, Wish
from echokdm.ops.cycle import clip_ejection_fraction, typical_beat, valve_opening
from echokdm.ops.phase import matching_frames
from echokdm.ops.timing import best_beat, repeated_beats, retimed, with_heart_rate
from echokdm.ops.trajectory import asked_beats, trajectory_at, transfer_motion
from echokdm.ops.trajectory import drag as drag_points
from echokdm.ops.wishes import PumpFunction, with_end_diastolic_volume, with_pump_function

STILL = "There is a single frame of this ventricle, and so no motion of its own; give a motion with --driving CLIP2, or --drag."
STILL_FRAMES = 16  # frames over which a drag grows where the source has one frame alone


@dataclass(frozen=True)
class Trajectory:
    """What is asked of the ventricle.

    keypoints: (N, 40, 2) in the model's pixels. fps: of the output. motion_fps: frames a second of the motion's own
    time, by which it is measured, since a slow heart played fast is no other heart. frames: (N,) the source clip's
    frame of the same phase as each. beats: (end-diastole, end-systole) frames by which the ejection fraction is meant,
    asked for, drawn and measured. asked: (N,) volumes wished for. valve_opening: (N,) 0 shut to 1 wide open; 0.5 where
    nothing beats. left_out: beats of the motion for which there were too few frames.
    """

    keypoints: np.ndarray
    fps: float
    motion_fps: float
    frames: np.ndarray
    beats: list[tuple[int, int]]
    asked: np.ndarray
    valve_opening: np.ndarray
    left_out: int = 0

    @property
    def ed(self) -> int:
        """End-diastolic frame of the typical beat."""
        return typical_beat(self.asked, self.beats)[0]

    @property
    def es(self) -> int:
        """End-systolic frame of the same beat."""
        return typical_beat(self.asked, self.beats)[1]


def frame_times(count: int, clip_fps: float, frames: int | None, fps: float | None) -> tuple[np.ndarray, float]:
    """Fractional source frames to draw, and the frame rate to play them at.

    frames alone: that many, evenly over the motion, which keeps its duration. fps alone: the motion sampled at that
    rate. Both: that many, evenly over the motion, played at that rate. Neither: the clip's own.
    """
    if frames is not None:
        at = np.linspace(0, count - 1, frames)
        return at, fps if fps is not None else clip_fps * (frames - 1) / (count - 1)
    if fps is not None and fps != clip_fps and count > 1:
        number = int(math.floor((count - 1) * fps / clip_fps + 1e-6)) + 1
        if number < 2:
            raise ConfigError(f"--fps {fps:g} leaves fewer than two frames of this motion; ask for a higher rate.")
        return np.arange(number) * clip_fps / fps, fps
    return np.arange(count, dtype=float), clip_fps


def with_events(at: np.ndarray, beats: list[tuple[int, int]]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Frame times (N,) with the nearest ones moved onto the beats' end-diastoles and end-systoles, and the beats by
    their new frames.

    N >= 2 per beat. Whatever the times were, those that the ejection fraction hangs on are drawn.
    """
    from scipy.optimize import linear_sum_assignment

    events = np.unique(beats)
    nearest = linear_sum_assignment((events[:, None] - at[None]) ** 2)[1]  # of least squares, so in order of time
    at = at.copy()
    at[nearest] = events
    frame = dict(zip(events.tolist(), nearest.tolist(), strict=True))
    return at, [(frame[ed], frame[es]) for ed, es in beats]


def plan(
    source: Derived, source_frame: int, wish: Wish = Wish(), driving: Derived | None = None, septal_first: bool = True
) -> Trajectory:
    """The key-points asked for: the source's own motion or the driving clip's, then size, pump function and walls, the
    drag, then time.

    source_frame: by which a driving clip's motion is carried over. septal_first: as of `ops.walls.septum_is_first`.
    Raises GeometryError (beyond what the source allows), ClipError (no motion, no whole beat), ConfigError (of the
    timing).
    """
    points, rate = _motion(source, source_frame, wish, driving)
    moves, spacing = source.moves or driving is not None, source.model.clip.spacing_mm
    ed, beats = ((driving or source).ed, (driving or source).beats) if moves else (0, [(0, 0)])
    at, out_fps = frame_times(len(points), rate, wish.frames, wish.fps)
    whole, left_out, timed = None, 0, wish.beats is not None or wish.heart_rate is not None
    if not timed:
        left_out, beats = max(len(beats) - len(at) // 2, 0), beats[: len(at) // 2]
    if wish.beats is not None:
        whole = best_beat(points, beats)
        ed, beats = whole[0], [(whole[0], whole[1] % len(points))]
    as_it_beats = points
    if wish.volume is not None:
        points = with_end_diastolic_volume(points, beats, *wish.volume, spacing)
    asked = simpson(points, spacing)
    if wish.ef is not None or wish.gls is not None or wish.walls:
        meant = asked_beats(asked, ed, rate, beats) if wish.ef is not None else beats
        points = np.asarray(
            with_pump_function(
                points, ed, meant, PumpFunction(wish.ef, wish.gls, wish.walls), septal_first=septal_first, fps=rate
            ),
            float,
        )
        drawn, beats = simpson(points, spacing), meant
        asked = drawn if wish.ef is None else wished_volumes(asked, drawn, beats, wish.ef)
    if wish.drag:
        offsets = drag_offsets(source, source_frame, wish.drag)
        growth = np.ones(len(points)) if moves else np.linspace(0, 1, len(points))
        points = np.stack(
            [
                drag_points(p, {i: (g * dx, g * dy) for i, (dx, dy) in offsets.items()})
                for p, g in zip(points, growth, strict=True)
            ]
        )
        asked = simpson(points, spacing)
    if not moves:
        beats = [(0, int(asked.argmin()))]
    valves = valve_opening(simpson(points, spacing)) if moves else np.full(len(points), 0.5)
    if timed:
        if whole is not None and wish.beats is not None:
            timing = repeated_beats(whole, rate, wish.beats, wish.heart_rate, wish.fps)
        else:
            assert wish.heart_rate is not None  # the wish that is left
            timing = with_heart_rate(as_it_beats, beats, rate, wish.heart_rate, wish.fps)
        if len(timing.at) > FRAMES_RANGE[1]:
            raise ConfigError(
                f"These beats take {len(timing.at)} frames, and {FRAMES_RANGE[1]} are the most; ask for fewer beats or a "
                "lower --fps."
            )
        pace = float(np.median(np.abs(np.diff(timing.at))))
        points, at, beats, out_fps = retimed(points, timing), timing.at % len(points), timing.beats, timing.fps
    else:
        pace = float(np.median(np.diff(at)))
        at, beats = with_events(at, beats)
        if not np.array_equal(at, np.arange(len(points))):
            points = trajectory_at(points, at)
    round_and_round = np.arange(len(asked) + 1)  # a loop's last frame leads on to its first
    asked, valves = (np.interp(at, round_and_round, [*curve, curve[0]]) for curve in (asked, valves))
    return Trajectory(
        points, out_fps, rate / pace, _source_frames(source, source_frame, driving, at), beats, asked, valves, left_out
    )


def _motion(source: Derived, source_frame: int, wish: Wish, driving: Derived | None) -> tuple[np.ndarray, float]:
    """Key-points (T, 40, 2) before anything is asked of them, and frames a second. Raises ClipError where nothing
    moves."""
    own = source.keypoints
    if driving is not None:
        if not driving.moves:
            raise ClipError("The driving clip has a single frame and so no motion; choose one with at least a beat.")
        # The source frame is one phase of the source's beat: match it with the driving frame of the same phase.
        reference = matching_frame(source, source_frame, driving)
        return np.asarray(transfer_motion(own[source_frame], driving.keypoints, reference), float), driving.clip.fps
    if source.moves:
        return own, source.clip.fps
    if wish.shaped:
        raise ClipError(
            "What is asked needs a motion, and the ventricle is known in one frame; give one with --driving CLIP2."
        )
    if wish.drag:
        return np.repeat(own[source_frame : source_frame + 1], wish.frames or STILL_FRAMES, 0), source.clip.fps
    raise ClipError(STILL)


def _source_frames(source: Derived, source_frame: int, driving: Derived | None, at: np.ndarray) -> np.ndarray:
    """(N,) source frames in the phase of the motion's frames `at` (N,), fractions among them: the nearest; the one
    where none moves."""
    if not source.moves:
        return np.full(len(at), source_frame)
    if driving is None:
        return np.rint(at).astype(int) % len(source.keypoints)
    own, theirs = source.phases, driving.phases
    return matching_frames(own, np.interp(at, np.arange(len(theirs)), theirs), own[source.ed])


def matching_frame(source: Derived, source_frame: int, driving: Derived) -> int:
    """The driving frame in the source frame's phase; end-diastole where the source does not move."""
    if not source.moves:
        return driving.ed
    return int(
        matching_frames(driving.phases, source.phases[source_frame : source_frame + 1], driving.phases[driving.ed])[0]
    )


def wished_volumes(volumes: np.ndarray, drawn: np.ndarray, beats: list[tuple[int, int]], ef: float) -> np.ndarray:
    """The volume curve (T,) with its falls since the beats' end-diastoles scaled so that the clip's ejection fraction
    is `ef` percent.

    A curve without a fall worth scaling has its form from the `drawn` one.
    """
    starts = sorted(ed for ed, _ in beats)
    full = np.interp(np.arange(len(volumes)), starts, volumes[starts])
    own = clip_ejection_fraction(volumes, beats)
    return full - (full - volumes) * ef / own if own > 1 else drawn


def drag_offsets(
    source: Derived, frame: int, drag: Mapping[int, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    """Offsets in the source clip's pixels -> in the model's pixels."""
    offsets = {}
    for index, (dx, dy) in drag.items():
        start = source.keypoints_source[frame, index]
        moved = np.asarray(source.model.to_model(start + np.array([dx, dy])), float) - np.asarray(
            source.model.to_model(start), float
        )
        offsets[index] = (float(moved[0]), float(moved[1]))
    return offsets
