"""What is asked of a clip: a trajectory of key-points, and the source frame that each of its frames is made from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from echokdm.core.errors import ClipError, ConfigError, GeometryError
from echokdm.derive import Derived, simpson
from echokdm.ops.cycle import clip_ejection_fraction, typical_beat, valve_opening
from echokdm.ops.phase import matching_frames
from echokdm.ops.trajectory import EF_RANGE

STILL = "There is a single frame of this ventricle, and so no motion of its own; give a motion with --driving CLIP2, or --drag."
SIZES = 64, 1024  # px of a square output
STILL_FRAMES = 16  # frames over which a drag grows where the source has one frame alone


@dataclass(frozen=True)
class Trajectory:
    """What is asked of the ventricle.

    keypoints: (N, 40, 2) in the model's pixels. fps: of the output. frames: (N,) the source clip's frame of the same phase as each.
    beats: (end-diastole, end-systole) frames by which the ejection fraction is meant, asked for, drawn and measured. asked: (N,) volumes
    wished for. valve_opening: (N,) 0 shut to 1 wide open; 0.5 where nothing beats. left_out: beats of the motion for which there were
    too few frames.
    """

    keypoints: np.ndarray
    fps: float
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


def check_wish(ef: float | None, frames: int | None, fps: float | None, size: int | None, steps: int, seed: int) -> None:
    """Refuse a wish that no clip could fulfil, before any work. Raises GeometryError (EF) or ConfigError."""
    if ef is not None and not EF_RANGE[0] <= ef <= EF_RANGE[1]:
        raise GeometryError(f"An ejection fraction of {ef:g} % is outside {EF_RANGE[0]:g} to {EF_RANGE[1]:g} %; choose one inside.")
    if frames is not None and not 2 <= frames <= 1000:
        raise ConfigError(f"--frames {frames} is outside 2 to 1000; choose one inside.")
    if fps is not None and not (math.isfinite(fps) and 1 <= fps <= 500):
        raise ConfigError(f"--fps {fps:g} is outside 1 to 500; choose one inside.")
    if size is not None and not SIZES[0] <= size <= SIZES[1]:
        raise ConfigError(f"--size {size} is outside {SIZES[0]} to {SIZES[1]}; choose one inside, or leave it out for the clip's own size.")
    if not 1 <= steps <= 1000:
        raise ConfigError(f"--steps {steps} is outside 1 to 1000; choose one inside.")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed} is outside 0 to 2^63 - 1; choose one inside.")


def frame_times(count: int, clip_fps: float, frames: int | None, fps: float | None) -> tuple[np.ndarray, float]:
    """Fractional source frames to draw, and the frame rate to play them at.

    frames alone: that many, evenly over the motion, which keeps its duration. fps alone: the motion sampled at that rate.
    Both: that many, evenly over the motion, played at that rate. Neither: the clip's own.
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
    """Frame times (N,) with the nearest ones moved onto the beats' end-diastoles and end-systoles, and the beats by their new frames.

    N >= 2 per beat. Whatever the times were, those that the ejection fraction hangs on are drawn.
    """
    from scipy.optimize import linear_sum_assignment

    events = np.unique(beats)
    nearest = linear_sum_assignment((events[:, None] - at[None]) ** 2)[1]  # of least squares, so in order of time
    at = at.copy()
    at[nearest] = events
    frame = dict(zip(events.tolist(), nearest.tolist(), strict=True))
    return at, [(frame[ed], frame[es]) for ed, es in beats]


def plan(source: Derived, source_frame: int, *, ef: float | None = None, driving: Derived | None = None,
         drag: Mapping[int, tuple[float, float]] | None = None, frames: int | None = None, fps: float | None = None) -> Trajectory:
    """The key-points asked for: the source's own motion or the driving clip's, then its EF, then the drag, then time.

    drag: point index -> (dx, dy) in the source clip's own pixels; it moves every frame's outline, and grows from nothing
    where the source is a single frame. Raises GeometryError (beyond what the source allows), ClipError (no motion).
    """
    from echokdm.ops.trajectory import asked_beats, trajectory_at, transfer_motion, with_ejection_fraction
    from echokdm.ops.trajectory import drag as drag_points

    own = source.keypoints
    spacing = source.model.clip.spacing_mm
    if driving is not None:
        if not driving.moves:
            raise ClipError("The driving clip has a single frame and so no motion; choose one with at least a beat.")
        # The source frame is one phase of the source's beat: match it with the driving frame of the same phase.
        reference = matching_frame(source, source_frame, driving)
        points = np.asarray(transfer_motion(own[source_frame], driving.keypoints, reference), float)
        rate = driving.clip.fps
    elif source.moves:
        points, rate = own, source.clip.fps
    elif drag:
        points, rate = np.repeat(own[source_frame:source_frame + 1], frames or STILL_FRAMES, 0), source.clip.fps
    else:
        raise ClipError(STILL)

    moves = source.moves or driving is not None
    volumes = simpson(points, spacing)
    at, out_fps = frame_times(len(points), rate, frames, fps)
    ed, beats = ((driving or source).ed, (driving or source).beats) if moves else (0, [(0, 0)])
    left_out = max(len(beats) - len(at) // 2, 0)
    beats = beats[:len(at) // 2]
    asked = volumes
    if ef is not None:
        if not moves:
            raise ClipError("An ejection fraction needs a motion, and the ventricle is known in one frame; give one with --driving CLIP2.")
        points = np.asarray(with_ejection_fraction(points, ef, ed, fps=rate, beats=beats), float)
        beats = asked_beats(volumes, ed, rate, beats)
        asked = wished_volumes(volumes, simpson(points, spacing), beats, ef)
    if drag:
        offsets = drag_offsets(source, source_frame, drag)
        growth = np.ones(len(points)) if moves else np.linspace(0, 1, len(points))
        points = np.stack([drag_points(p, {i: (g * dx, g * dy) for i, (dx, dy) in offsets.items()})
                           for p, g in zip(points, growth, strict=True)])
        asked = simpson(points, spacing)
    if not moves:
        beats = [(0, int(asked.argmin()))]
    at, drawn_beats = with_events(at, beats)
    valves = valve_opening(simpson(points, spacing)) if moves else np.full(len(points), 0.5)
    asked, valves = (np.interp(at, np.arange(len(points)), curve) for curve in (asked, valves))
    if not np.array_equal(at, np.arange(len(points))):
        points = trajectory_at(points, at)
    return Trajectory(points, out_fps, _source_frames(source, source_frame, driving, at), drawn_beats, asked, valves, left_out)


def _source_frames(source: Derived, source_frame: int, driving: Derived | None, at: np.ndarray) -> np.ndarray:
    """(N,) source frames in the phase of the motion's frames `at` (N,), fractions among them: the nearest; the one where none moves."""
    if not source.moves:
        return np.full(len(at), source_frame)
    if driving is None:
        return np.rint(at).astype(int)
    own, theirs = source.phases, driving.phases
    return matching_frames(own, np.interp(at, np.arange(len(theirs)), theirs), own[source.ed])


def matching_frame(source: Derived, source_frame: int, driving: Derived) -> int:
    """The driving frame in the source frame's phase; end-diastole where the source does not move."""
    if not source.moves:
        return driving.ed
    return int(matching_frames(driving.phases, source.phases[source_frame:source_frame + 1], driving.phases[driving.ed])[0])


def wished_volumes(volumes: np.ndarray, drawn: np.ndarray, beats: list[tuple[int, int]], ef: float) -> np.ndarray:
    """The volume curve (T,) with its falls since the beats' end-diastoles scaled so that the clip's ejection fraction is `ef` percent.

    A curve without a fall worth scaling has its form from the `drawn` one.
    """
    starts = sorted(ed for ed, _ in beats)
    full = np.interp(np.arange(len(volumes)), starts, volumes[starts])
    own = clip_ejection_fraction(volumes, beats)
    return full - (full - volumes) * ef / own if own > 1 else drawn


def drag_offsets(source: Derived, frame: int, drag: Mapping[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Offsets in the source clip's pixels -> in the model's pixels. Raises GeometryError for an index that is no point's."""
    offsets = {}
    for index, (dx, dy) in drag.items():
        if not 0 <= index < source.keypoints.shape[1]:
            raise GeometryError(f"--drag names point {index}, and there are points 0 to {source.keypoints.shape[1] - 1}.")
        if not (math.isfinite(dx) and math.isfinite(dy)):
            raise GeometryError(f"--drag moves point {index} by something that is not a finite number of pixels.")
        start = source.keypoints_source[frame, index]
        moved = np.asarray(source.model.to_model(start + np.array([dx, dy])), float) - np.asarray(source.model.to_model(start), float)
        offsets[index] = (float(moved[0]), float(moved[1]))
    return offsets
