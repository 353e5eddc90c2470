"""A clip and a wish -> a trajectory of key-points -> synthetic frames, measured again: the composition of the parts."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.errors import ClipError, ConfigError, GeometryError
from echokdm.core.types import Clip
from echokdm.derive import Derived, derive_keypoints, load_pipeline, quiet, segment_keypoints, simpson
from echokdm.ops.cycle import clip_ejection_fraction, typical_beat, valve_opening
from echokdm.ops.trajectory import EF_RANGE

MOST_MISSED = 5.0  # points; a cohort's default tolerance, about what two sonographers differ by
STILL = "There is a single frame of this ventricle, and so no motion of its own; give a motion with --driving CLIP2, or --drag."
STILL_FRAMES = 16  # frames over which a drag grows where the source has one frame alone


@dataclass(frozen=True)
class Trajectory:
    """What is asked of the ventricle.

    keypoints: (N, 40, 2) in the model's pixels. fps: of the output. real: (N,) the source clip's frame that stands beside
    each, or None where the motion is not the source's. beats: (end-diastole, end-systole) frames by which the ejection fraction is
    meant, asked for, drawn and measured. asked: (N,) volumes wished for. valve_opening: (N,) 0 shut to 1 wide open; 0.5 where nothing
    beats. left_out: beats of the motion for which there were too few frames.
    """

    keypoints: np.ndarray
    fps: float
    real: np.ndarray | None
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


@dataclass(frozen=True)
class Synthesis:
    """A synthetic clip and all that is known about it.

    clip: (N, 1, 112, 112) synthetic frames, marked synthetic in its meta. flow: (N, 2, 112, 112) backward, pixels.
    warped: (N, 1, 112, 112), the source frame carried by the flow. measured: (N, 40, 2) key-points found again in the output
    by the judge, or None where it found none. options: what a run needs to be repeated. timings: seconds a step.
    """

    source: Derived
    source_frame: int
    trajectory: Trajectory
    clip: Clip
    flow: Tensor
    warped: Tensor
    measured: np.ndarray | None
    options: dict[str, Any]
    weights_sha256: str
    weights_licence: str = "MIT"
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Unit of every volume here: "mL" or "px^3"."""
        return self.source.unit

    @cached_property
    def drawn_volumes(self) -> np.ndarray:
        """(N,) volumes of the key-points given to the model."""
        return simpson(self.trajectory.keypoints, self.clip.spacing_mm)

    @cached_property
    def measured_volumes(self) -> np.ndarray | None:
        """(N,) volumes of the key-points found in the output, or None."""
        return None if self.measured is None else simpson(self.measured, self.clip.spacing_mm)

    def ejection_fractions(self) -> dict[str, float | None]:
        """Percent: of the source, asked for, drawn by the key-points, and measured again on the output.

        All by `ops.cycle.clip_ejection_fraction`; what is asked, drawn and measured by the same beats.
        """
        beats, measured = self.trajectory.beats, self.measured_volumes
        return {
            "source": self.source.ejection_fraction if self.source.moves else None,
            "asked": clip_ejection_fraction(self.trajectory.asked, beats),
            "drawn": clip_ejection_fraction(self.drawn_volumes, beats),
            "measured": None if measured is None else clip_ejection_fraction(measured, beats),
        }

    @property
    def warning(self) -> str:
        """One sentence where the output could not be measured, or misses the wish by more than `MOST_MISSED` points; else ""."""
        fractions = self.ejection_fractions()
        asked, measured = fractions["asked"], fractions["measured"]
        if measured is None:
            return "The segmenter found no ventricle in the synthetic frames, so nothing could be measured again."
        if abs(measured - asked) > MOST_MISSED:
            return (f"The ejection fraction measured again, {measured:.1f} %, misses the {asked:.1f} % asked for by more than "
                    f"{MOST_MISSED:g} points.")
        return ""

    def real_frames(self) -> Tensor | None:
        """(N, 1, 112, 112) the source clip's frames beside the synthetic ones, where they share their motion."""
        return None if self.trajectory.real is None else self.source.model.clip.frames[torch.as_tensor(self.trajectory.real)]


class Stopwatch:
    """Seconds a step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap under `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def check_wish(ef: float | None, frames: int | None, fps: float | None, steps: int, seed: int) -> None:
    """Refuse a wish that no clip could fulfil, before any work. Raises GeometryError (EF) or ConfigError."""
    if ef is not None and not EF_RANGE[0] <= ef <= EF_RANGE[1]:
        raise GeometryError(f"An ejection fraction of {ef:g} % is outside {EF_RANGE[0]:g} to {EF_RANGE[1]:g} %; choose one inside.")
    if frames is not None and not 2 <= frames <= 1000:
        raise ConfigError(f"--frames {frames} is outside 2 to 1000; choose one inside.")
    if fps is not None and not (math.isfinite(fps) and 1 <= fps <= 500):
        raise ConfigError(f"--fps {fps:g} is outside 1 to 500; choose one inside.")
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
    real = np.rint(at).astype(int) if driving is None and source.moves else None
    return Trajectory(points, out_fps, real, drawn_beats, asked, valves, left_out)


def matching_frame(source: Derived, source_frame: int, driving: Derived) -> int:
    """The driving frame in the source frame's phase, judged by the volume's place between end-diastole and end-systole."""
    if not source.moves:
        return driving.ed
    v, w = source.volumes, driving.volumes
    emptied = (v[source.ed] - v[source_frame]) / max(v[source.ed] - v[source.es], 1e-9)
    ed, es = driving.beats[0]
    shares = (w[ed] - w) / max(w[ed] - w[es], 1e-9)
    return int(np.abs(shares - np.clip(emptied, 0, 1)).argmin())


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


def weights_hash(pipeline: Any) -> str:
    """SHA-256 over every weight of a pipeline's components, by name, so it depends on nothing but the weights."""
    import hashlib

    digest = hashlib.sha256()
    for name, module in sorted(pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, value in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}{tuple(value.shape)}{value.dtype}".encode())
                digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def synthesize(clip: Clip | str | Path, *, ef: float | None = None, driving: Clip | str | Path | None = None,
               keypoints: str | Path | None = None, any_view: bool = False, drag: Mapping[int, tuple[float, float]] | None = None,
               source_frame: int | None = None, frames: int | None = None, fps: float | None = None, steps: int = defaults.STEPS,
               strength: float = defaults.STRENGTH, without: str | None = None, seed: int = defaults.SEED,
               bundle: str | Path = defaults.BUNDLE, device: str = defaults.DEVICE, pipeline: Any = None,
               progress: Callable[[str], None] = quiet) -> Synthesis:
    """Make a synthetic clip of the same heart from one frame of an apical 4-chamber clip.

    Without a wish the clip's own motion is made again from its end-diastolic frame (Oh et al., KDM, the echo task).
    ef: percent, 5 to 80. driving: a clip whose ventricular motion is carried over. keypoints: a file of outlines in the
    clip's own pixels instead of the segmenter's. any_view: see `derive_keypoints`. drag: point index -> (dx, dy) in
    the clip's own pixels. source_frame: default the end-diastolic one. frames, fps: see `frame_times`. steps, strength,
    without: see KDMPipeline.
    Raises ClipError, GeometryError, ConfigError or BundleError, each with one sentence.
    """
    from echokdm.io import require_motion

    check_wish(ef, frames, fps, steps, seed)
    watch = Stopwatch()
    if not isinstance(clip, Clip):
        from echokdm.io import read_clip

        progress("Reading the clip")
        clip = read_clip(clip)
        watch.lap("read the clip")
    if source_frame is not None and not 0 <= source_frame < len(clip):
        raise ConfigError(f"--source-frame {source_frame} is not in the clip, which has frames 0 to {len(clip) - 1}.")
    if driving is None:
        if len(clip) > 1:
            require_motion(clip)
        elif not drag or ef is not None:
            raise ClipError(STILL)
    if pipeline is None:
        pipeline = load_pipeline(bundle, device, progress)
        watch.lap("load the bundle")
    source = derive_keypoints(clip, keypoints=keypoints, any_view=any_view, pipeline=pipeline, progress=progress)
    drive = None if driving is None else derive_keypoints(driving, any_view=any_view, pipeline=pipeline, progress=progress)
    start = source.ed if source_frame is None else source_frame
    trajectory = plan(source, start, ef=ef, driving=drive, drag=drag, frames=frames, fps=fps)
    watch.lap("find the ventricle")

    progress(f"Synthesising {len(trajectory.keypoints)} frames")
    model, sector = source.model, torch.as_tensor(source.model.sector_mask)
    output = pipeline(model.clip.frames[start:start + 1], torch.as_tensor(source.keypoints[start], dtype=torch.float32),
                      torch.as_tensor(trajectory.keypoints, dtype=torch.float32), sector=sector,
                      valve_opening=torch.as_tensor(trajectory.valve_opening), steps=steps, strength=strength, seed=seed, without=without)
    watch.lap("synthesise")
    made = Clip(output.frames.cpu(), trajectory.fps, model.clip.spacing_mm, view=clip.view, meta={"synthetic": True})
    progress("Measuring the output")
    try:
        measured = segment_keypoints(pipeline, made.frames, sector, made.fps, made=True).keypoints
    except GeometryError:
        measured = None  # the report says so
    watch.lap("measure the output")
    options = {"ef": ef, "driving": driving is not None, "keypoints": keypoints is not None,
               "drag": {str(i): list(d) for i, d in (drag or {}).items()}, "source_frame": start, "frames": frames, "fps": fps,
               "steps": steps, "strength": strength, "without": without, "seed": seed,
               "bundle": Path(bundle).name}
    return Synthesis(source, start, trajectory, made, output.flow.cpu(), output.warped.cpu(), measured, options,
                     weights_hash(pipeline), getattr(pipeline, "licence", "MIT"), watch.seconds)
