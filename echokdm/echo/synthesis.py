"""A clip and a wish -> a trajectory of key-points -> the clip's own frames edited, measured again: the composition of
the parts."""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from echokdm.core import defaults
from echokdm.core.errors import ClipError, GeometryError
from echokdm.core.frames import Frames, chosen, each
from echokdm.core.types import Clip
from echokdm.echo.bundle import Bundle, HeartPipeline, Progress, Share, load_pipeline, quiet, weights_hash
from echokdm.echo.derive import Derived, derive_keypoints, segment_keypoints, simpson
from echokdm.echo.edit import Edited, edit_clip
from echokdm.echo.plan import STILL, Trajectory, plan
from echokdm.echo.wish import Sampling, Wish
from echokdm.io.frame import ModelClip, to_model_frame
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.strain import end_systolic_strain
from echokdm.ops.walls import septum_is_first

MOST_MISSED = 5.0  # points; a cohort's default tolerance, about what two sonographers differ by


@dataclass(frozen=True)
class Synthesis:
    """A synthetic clip and all that is known about it.

    wish, sampling: as they were asked for; of a still source the sampling names the frame that all are made from.
    driven: the motion is another clip's. edited: the frames at the source's size and in the model's frame, and the flow
    there. square: the output's frame where a square was asked for, else None. measured: (N, 40, 2) key-points found
    again in the output by the judge, px of the model's frame, or None where it found none. bundle_name, weights_sha256,
    weights_licence: of the weights. septal_first: as of `ops.walls.septum_is_first`. timings: seconds a step.
    """

    source: Derived
    wish: Wish
    sampling: Sampling
    driven: bool
    trajectory: Trajectory
    edited: Edited
    square: ModelClip | None
    measured: np.ndarray | None
    bundle_name: str
    weights_sha256: str
    weights_licence: str = "MIT"
    septal_first: bool = True
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """What a run needs to be repeated."""
        return (
            self.wish.record()
            | {"driving": self.driven, "keypoints": self.source.given}
            | self.sampling.record()
            | {"bundle": self.bundle_name}
        )

    @property
    def from_frame(self) -> int | None:
        """The source frame that all are made from, None where each is made from the source's of the same phase."""
        return self.sampling.from_frame

    @property
    def clip(self) -> Clip:
        """The synthetic clip, (N, C, H, W), of the source's size and geometry, or the square asked for; marked
        synthetic in its meta."""
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
        """Percent at end-systole, global and of each wall (`ops.strain.end_systolic_strain`): of the source, drawn,
        measured again."""
        beats = self.trajectory.beats
        found: dict[str, dict[str, float] | None] = {"source": None}
        if self.source.moves:
            found["source"] = end_systolic_strain(self.source.keypoints, self.source.beats, self.septal_first)
        for name, points in (("drawn", self.trajectory.keypoints), ("measured", self.measured)):
            found[name] = None if points is None else end_systolic_strain(points, beats, self.septal_first)
        return found

    @property
    def warning(self) -> str:
        """One sentence where the output could not be measured, or misses the wish by more than `MOST_MISSED` points;
        else ""."""
        fractions = self.ejection_fractions()
        asked, measured = fractions["asked"], fractions["measured"]
        if measured is None:
            return "The segmenter found no ventricle in the synthetic frames, so nothing could be measured again."
        assert asked is not None  # a trajectory asks for one
        if abs(measured - asked) > MOST_MISSED:
            return (
                f"The ejection fraction measured again, {measured:.1f} %, misses the {asked:.1f} % asked for by more than "
                f"{MOST_MISSED:g} points."
            )
        return ""

    def real_frames(self) -> Frames | None:
        """(N, C, H, W) the source clip's frames of the same phase, in the synthetic clip's geometry and as black
        outside the sector.

        None where the source does not move.
        """
        if not self.source.moves:
            return None
        frames = chosen(self.source.clip.frames, self.trajectory.frames)
        if self.square is None:
            return each(frames, lambda some: some.mul_(torch.as_tensor(self.mask)))  # a copy already
        return to_model_frame(
            self.source.clip.with_frames(frames), self.source.sector, self.square.clip.size[0]
        ).clip.frames


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


def synthesize(
    source: Derived | Clip | str | Path,
    wish: Wish = Wish(),
    sampling: Sampling = Sampling(),
    *,
    driving: Derived | Clip | str | Path | None = None,
    bundle: Bundle = defaults.BUNDLE,
    device: str = defaults.DEVICE,
    progress: Progress = quiet,
    made: Share = quiet,
) -> Synthesis:
    """Make a synthetic clip of the same heart by editing an apical 4-chamber clip, frame by frame, at its own size.

    Each frame is the clip's own of the same phase, carried by the flow that the wish asks for, so that without a wish
    the clip comes back. A clip of one frame, or `sampling.from_frame`, is made from that frame alone (Oh et al., KDM,
    the echo task).
    source: a clip, or one whose ventricle is known already: `derive_keypoints` takes outlines from a file, other views
    and clips with print. driving: a clip whose ventricular motion is carried over; no pixel of it is put out. made: as
    of `edit.edit_clip`. Raises ClipError, GeometryError, ConfigError or BundleError, each with one sentence.
    """
    wish.check()
    sampling.check()
    watch = Stopwatch()
    clip = source.clip if isinstance(source, Derived) else source
    if not isinstance(clip, Clip):
        from echokdm.io import read_clip

        progress("Reading the clip")
        clip = read_clip(clip)
        watch.lap("read the clip")
    check_source(clip, wish, sampling, driving is not None)
    pipeline = load_pipeline(bundle, device, progress)
    if isinstance(bundle, str | Path):
        watch.lap("load the bundle")
    if not isinstance(source, Derived):
        source = derive_keypoints(clip, bundle=pipeline, progress=progress)
        watch.lap("find the ventricle")
    if not (driving is None or isinstance(driving, Derived)):
        driving = derive_keypoints(driving, allow_print=True, bundle=pipeline, progress=progress)
        watch.lap("find the driving ventricle")
    if not source.moves and sampling.from_frame is None:
        sampling = replace(sampling, from_frame=source.ed)
    septal_first = septum_first(source, pipeline)
    trajectory = plan(
        source, source.ed if sampling.from_frame is None else sampling.from_frame, wish, driving, septal_first
    )
    watch.lap("plan the motion")

    progress(f"Making {len(trajectory.keypoints)} frames")
    edited = edit_clip(source, trajectory, pipeline, sampling, made)
    square = None if wish.size is None else to_model_frame(edited.clip, source.sector, wish.size)
    watch.lap("make the frames")
    progress("Measuring the output")
    try:
        measured = segment_keypoints(
            pipeline,
            edited.model.clip.frames,
            torch.as_tensor(source.model.sector_mask),
            trajectory.motion_fps,
            made=True,
        ).keypoints
    except GeometryError:
        measured = None  # the report says so
    watch.lap("measure the output")
    return Synthesis(
        source,
        wish,
        sampling,
        driving is not None,
        trajectory,
        edited,
        square,
        measured,
        pipeline.bundle_name,
        weights_hash(pipeline),
        pipeline.licence,
        septal_first,
        watch.seconds,
    )


def check_source(clip: Clip, wish: Wish, sampling: Sampling, driven: bool) -> None:
    """Refuse what can't be made of a clip, before its ventricle is looked for. driven: the motion is another clip's.

    Raises ClipError where nothing would move, ConfigError where there is no such frame.
    """
    from echokdm.io import require_motion

    sampling.check(len(clip))
    if not driven:
        if len(clip) > 1:
            require_motion(clip)
        elif not wish.drag or wish.shaped:
            raise ClipError(STILL)


def septum_first(source: Derived, pipeline: HeartPipeline) -> bool:
    """Whether the septum is the wall of the first 20 key-points, told by where the segmenter sees the right heart at ED
    and ES."""
    picks = [source.ed, source.es] if source.moves else [source.ed]
    right = pipeline.right_heart(source.model.clip.frames[picks], torch.as_tensor(source.model.sector_mask))
    return septum_is_first(source.keypoints[picks], np.asarray(right))
