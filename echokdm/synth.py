"""A clip and a wish -> a trajectory of key-points -> the clip's own frames edited, measured again: the composition of the parts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from echokdm.core import defaults
from echokdm.core.errors import ClipError, ConfigError, GeometryError
from echokdm.core.frames import Frames, chosen, each
from echokdm.core.types import Clip
from echokdm.derive import Derived, derive_keypoints, load_pipeline, quiet, segment_keypoints, simpson
from echokdm.edit import Edited, edit_clip
from echokdm.io.frame import ModelClip, to_model_frame
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.strain import end_systolic_strain
from echokdm.ops.walls import septum_is_first
from echokdm.ops.wishes import parse_volume
from echokdm.wish import STILL, Trajectory, Wish, check_model_options, plan

MOST_MISSED = 5.0  # points; a cohort's default tolerance, about what two sonographers differ by


@dataclass(frozen=True)
class Synthesis:
    """A synthetic clip and all that is known about it.

    edited: the frames at the source's size and in the model's frame, and the flow there. from_frame: the source frame that all are made
    from, None where each is made from the source's of the same phase. square: the output's frame where a square was asked for, else None.
    measured: (N, 40, 2) key-points found again in the output by the judge, px of the model's frame, or None where it found none.
    options: what a run needs to be repeated. septal_first: as of `ops.walls.septum_is_first`. timings: seconds a step.
    """

    source: Derived
    from_frame: int | None
    trajectory: Trajectory
    edited: Edited
    square: ModelClip | None
    measured: np.ndarray | None
    options: dict[str, Any]
    weights_sha256: str
    weights_licence: str = "MIT"
    septal_first: bool = True
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def clip(self) -> Clip:
        """The synthetic clip, (N, C, H, W), of the source's size and geometry, or the square asked for; marked synthetic in its meta."""
        return self.edited.clip if self.square is None else self.square.clip

    @cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool: the sector in the synthetic clip's pixels; outside it every frame is black."""
        return np.asarray(self.source.sector.mask) if self.square is None else self.square.sector_mask

    @cached_property
    def keypoints(self) -> np.ndarray:
        """(N, 40, 2) key-points that the frames were drawn by, in the synthetic clip's own pixels."""
        points = np.asarray(self.source.model.to_source(self.trajectory.keypoints), float)
        return points if self.square is None else np.asarray(self.square.to_model(points), float)

    @property
    def unit(self) -> str:
        """Unit of every volume here: "mL" or "px^3"."""
        return self.source.unit

    @cached_property
    def drawn_volumes(self) -> np.ndarray:
        """(N,) volumes of the key-points given to the model."""
        return simpson(self.trajectory.keypoints, self.source.model.clip.spacing_mm)

    @cached_property
    def measured_volumes(self) -> np.ndarray | None:
        """(N,) volumes of the key-points found in the output, or None."""
        return None if self.measured is None else simpson(self.measured, self.source.model.clip.spacing_mm)

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

    def strains(self) -> dict[str, dict[str, float] | None]:
        """Percent at end-systole, global and of each wall (`ops.strain.end_systolic_strain`): of the source, drawn, measured again."""
        beats = self.trajectory.beats
        found: dict[str, dict[str, float] | None] = {"source": None}
        if self.source.moves:
            found["source"] = end_systolic_strain(self.source.keypoints, self.source.beats, self.septal_first)
        for name, points in (("drawn", self.trajectory.keypoints), ("measured", self.measured)):
            found[name] = None if points is None else end_systolic_strain(points, beats, self.septal_first)
        return found

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

    def real_frames(self) -> Frames | None:
        """(N, C, H, W) the source clip's frames of the same phase, in the synthetic clip's geometry and as black outside the sector.

        None where the source does not move.
        """
        if not self.source.moves:
            return None
        frames = chosen(self.source.clip.frames, self.trajectory.frames)
        if self.square is None:
            return each(frames, lambda some: some.mul_(torch.as_tensor(self.mask)))  # a copy already
        return to_model_frame(self.source.clip.with_frames(frames), self.source.sector, self.square.clip.size[0]).clip.frames


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


def synthesize(clip: Clip | str | Path, *, ef: float | None = None, edv: str | float | None = None, gls: float | None = None,
               walls: Mapping[str, float] | None = None, heart_rate: float | None = None, beats: int | None = None,
               driving: Clip | str | Path | None = None, keypoints: str | Path | None = None, any_view: bool = False,
               allow_print: bool = False, drag: Mapping[int, tuple[float, float]] | None = None, from_frame: int | None = None,
               frames: int | None = None, fps: float | None = None, size: int | None = None, steps: int = defaults.STEPS,
               strength: float = defaults.STRENGTH, without: str | None = None, seed: int = defaults.SEED,
               bundle: str | Path = defaults.BUNDLE, device: str = defaults.DEVICE, pipeline: Any = None,
               progress: Callable[[str], None] = quiet) -> Synthesis:
    """Make a synthetic clip of the same heart by editing an apical 4-chamber clip, frame by frame, at its own size.

    Each frame is the clip's own of the same phase, carried by the flow that the wish asks for, so that without a wish the clip comes back.
    A clip of one frame, or `from_frame`, is made from that frame alone (Oh et al., KDM, the echo task).
    ef, gls: percent, 5 to 80 and -30 to 0. edv: in the clip's unit of volume, or such as "80%" of its own. walls: such as
    {"apical-septal": 0}, see `ops.wall_motion.with_wall_motion`. heart_rate: beats a minute. beats: so many times one beat, looped.
    driving: a clip whose ventricular motion is carried over. keypoints: a file of outlines in the
    clip's own pixels instead of the segmenter's. any_view, allow_print: see `derive_keypoints`. drag: point index -> (dx, dy) in
    the clip's own pixels. frames, fps: see `frame_times`. size: px, a square around the sector instead of the clip's own picture. steps,
    strength, without: of frames made from one, see KDMPipeline.
    Raises ClipError, GeometryError, ConfigError or BundleError, each with one sentence.
    """
    from echokdm.io import require_motion

    volume = None if edv is None else parse_volume(str(edv))
    wish = Wish(ef, volume, gls, dict(walls or {}), dict(drag or {}), heart_rate, beats, frames, fps)
    wish.check()
    check_model_options(size, steps, seed)
    if without is not None and from_frame is None:
        raise ConfigError("--without leaves out a network of the one-frame mode; name the frame with --from-frame N too.")
    watch = Stopwatch()
    if not isinstance(clip, Clip):
        from echokdm.io import read_clip

        progress("Reading the clip")
        clip = read_clip(clip)
        watch.lap("read the clip")
    if from_frame is not None and not 0 <= from_frame < len(clip):
        raise ConfigError(f"--from-frame {from_frame} is not in the clip, which has frames 0 to {len(clip) - 1}.")
    if driving is None:
        if len(clip) > 1:
            require_motion(clip)
        elif not drag or wish.shaped:
            raise ClipError(STILL)
    if pipeline is None:
        pipeline = load_pipeline(bundle, device, progress)
        watch.lap("load the bundle")
    source = derive_keypoints(clip, keypoints=keypoints, any_view=any_view, allow_print=allow_print, pipeline=pipeline, progress=progress)
    # No pixel of the driving clip is put out.
    drive = None if driving is None else derive_keypoints(driving, any_view=any_view, allow_print=True, pipeline=pipeline,
                                                          progress=progress)
    if not source.moves:
        from_frame = source.ed if from_frame is None else from_frame
    septal_first = _septal_first(source, pipeline)
    trajectory = plan(source, source.ed if from_frame is None else from_frame, wish, drive, septal_first)
    watch.lap("find the ventricle")

    progress(f"Making {len(trajectory.keypoints)} frames")
    edited = edit_clip(source, trajectory, pipeline, from_frame=from_frame, steps=steps, strength=strength, seed=seed, without=without)
    square = None if size is None else to_model_frame(edited.clip, source.sector, size)
    watch.lap("make the frames")
    progress("Measuring the output")
    try:
        measured = segment_keypoints(pipeline, edited.model.clip.frames, torch.as_tensor(source.model.sector_mask),
                                     trajectory.motion_fps, made=True).keypoints
    except GeometryError:
        measured = None  # the report says so
    watch.lap("measure the output")
    options = {"ef": ef, "edv": None if edv is None else str(edv), "gls": gls, "walls": wish.walls, "heart_rate": heart_rate,
               "beats": beats, "driving": driving is not None, "keypoints": keypoints is not None,
               "drag": {str(i): list(d) for i, d in wish.drag.items()}, "from_frame": from_frame, "frames": frames, "fps": fps,
               "size": size, "steps": steps, "strength": strength, "without": without, "seed": seed,
               "bundle": Path(bundle).name}
    return Synthesis(source, from_frame, trajectory, edited, square, measured, options,
                     weights_hash(pipeline), getattr(pipeline, "licence", "MIT"), septal_first, watch.seconds)


def _septal_first(source: Derived, pipeline: Any) -> bool:
    """Whether the septum is the wall of the first 20 key-points, told by where the segmenter sees the right heart at ED and ES."""
    picks = [source.ed, source.es] if source.moves else [source.ed]
    right = pipeline.right_heart(source.model.clip.frames[picks], torch.as_tensor(source.model.sector_mask))
    return septum_is_first(source.keypoints[picks], np.asarray(right))
