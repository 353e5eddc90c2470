"""Clip -> sector -> the model's frame -> left ventricle -> 40 key-points, volumes, beats: the first half of a
synthesis."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from echokdm.core import defaults
from echokdm.core.errors import GeometryError, ViewError
from echokdm.core.frames import Frames
from echokdm.core.types import Clip
from echokdm.echo.bundle import Bundle, HeartPipeline, Progress, load_pipeline, quiet
from echokdm.echo.outlines import fill_frames, given_keypoints
from echokdm.ops.segmentation import LEAST_FOUND

if TYPE_CHECKING:
    from torch import Tensor

    from echokdm.io.frame import ModelClip
    from echokdm.io.sector import Sector
    from echokdm.ops.native import NativeFrame


@dataclass(frozen=True)
class Derived:
    """What a clip's left ventricle does.

    clip: as read. sector: where the echo is. model: the clip in the frame that the bundle draws. keypoints: (T, 40, 2)
    in that frame's pixels, the segmenter's made steady by `ops.smoothing`. found: (T,) where the ventricle was found or
    given rather than interpolated. given: the key-points came from a file, not from the segmenter. doubt: why this may
    be no apical 4-chamber view, or "". confidence: (T,) how sure each outline is, see `ops.confidence`, 0 where it was
    interpolated; None where the outlines were given or the bundle can't tell. searched: the sector was searched for
    print and holds none, see `deid.gate.search_print`.
    """

    clip: Clip
    sector: "Sector"
    model: "ModelClip"
    keypoints: np.ndarray
    found: np.ndarray
    given: bool
    doubt: str = ""
    confidence: np.ndarray | None = None
    searched: bool = False

    @cached_property
    def keypoints_source(self) -> np.ndarray:
        """(T, 40, 2) in the source clip's own pixels."""
        return np.asarray(self.model.to_source(self.keypoints), float)

    @cached_property
    def native(self) -> "NativeFrame":
        """What carries the clip's own pixels by flows of the model's frame."""
        from echokdm.ops.native import NativeFrame

        return NativeFrame(np.asarray(self.sector.mask), self.model.origin, self.model.step)

    @cached_property
    def volumes(self) -> np.ndarray:
        """(T,) single-plane Simpson volumes, in `unit`."""
        return simpson(self.keypoints, self.model.clip.spacing_mm)

    @property
    def unit(self) -> str:
        """ "mL" where the pixel spacing is known, else "px^3" of the model's frame."""
        return "px^3" if self.model.clip.spacing_mm is None else "mL"

    @cached_property
    def beats(self) -> list[tuple[int, int]]:
        """(end-diastolic frame, end-systolic frame) of each beat; the extremes where no beat is whole or few frames are
        traced."""
        from echokdm.ops.cycle import complete_beats, extremes

        if self.found.all() or not self.given:
            return complete_beats(self.volumes, self.clip.fps)
        frames = np.flatnonzero(self.found)  # traced by hand in some frames: those count, not what lies between
        ed, es = extremes(self.volumes[frames])
        return [(int(frames[ed]), int(frames[es]))]

    @cached_property
    def turns(self) -> list[tuple[float, float]]:
        """The beats in fractions of a frame, see `ops.cycle.turning_points`; whole frames where few are traced."""
        from echokdm.ops.cycle import turning_points

        return turning_points(self.volumes, self.beats) if self.found.all() or not self.given else list(self.beats)

    @cached_property
    def phases(self) -> np.ndarray:
        """(T,) where in a beat each frame lies, see `ops.phase.beat_phases`."""
        from echokdm.ops.phase import beat_phases

        return beat_phases(self.volumes, self.beats)

    @property
    def moves(self) -> bool:
        """Whether the ventricle is known in more than one frame."""
        return int(self.found.sum()) > 1

    @property
    def ed(self) -> int:
        """End-diastolic frame of the typical beat; the frame with the ventricle where it is known in one alone."""
        return self._typical[0] if self.moves else int(self.found.argmax())

    @property
    def es(self) -> int:
        """End-systolic frame of the same beat."""
        return self._typical[1]

    @property
    def _typical(self) -> tuple[int, int]:
        from echokdm.ops.cycle import typical_beat

        return typical_beat(self.volumes, self.beats)

    @property
    def ejection_fraction(self) -> float:
        """Percent, mean over the beats: `ops.cycle.clip_ejection_fraction`."""
        from echokdm.ops.cycle import clip_ejection_fraction

        return clip_ejection_fraction(self.volumes, self.turns)

    @property
    def clip_confidence(self) -> float | None:
        """The mean over frames: the share of them whose outline is to be expected good."""
        return None if self.confidence is None else float(self.confidence.mean())

    @property
    def flagged(self) -> list[int] | None:
        """The frames whose outline is to be looked at, `ops.confidence.flagged_frames`."""
        from echokdm.ops.confidence import flagged_frames

        return None if self.confidence is None else flagged_frames(self.confidence)

    def with_outlines(self, path: str | Path) -> "Derived":
        """The same clip with the outlines of a file, as `derive_keypoints` takes them. Raises GeometryError for those
        that can't be."""
        points, known = given_keypoints(path, self.clip, self.sector)
        return replace(
            self,
            keypoints=np.asarray(self.model.to_model(points), float),
            found=known,
            given=True,
            doubt="",
            confidence=None,
        )

    @property
    def sureness(self) -> str:
        """One sentence on how sure the outlines are; "" where that is not known."""
        from echokdm.ops.confidence import told

        return "" if self.confidence is None else told(self.confidence)


class FoundKeypoints(NamedTuple):
    """keypoints (T, 40, 2) px; found (T,) where a ventricle was seen; confidence (T,), None where it is not known."""

    keypoints: np.ndarray
    found: np.ndarray
    confidence: np.ndarray | None


def simpson(keypoints: np.ndarray, spacing_mm: tuple[float, float] | None) -> np.ndarray:
    """Volumes (T,) of key-points (T, 40, 2); in mL with a spacing, else px^3."""
    from echokdm.ops.ventricle import simpson_volume

    return np.asarray(simpson_volume(keypoints, spacing_mm=spacing_mm), float)


def segment_keypoints(
    pipeline: HeartPipeline, frames: Frames, sector: "Tensor", fps: float, made: bool = False, any_view: bool = False
) -> FoundKeypoints:
    """Key-points by the bundle's segmenter, smoothed in time.

    frames: (T, 1, S, S) in [0, 1], fps of them a second. sector: (S, S) bool. made: the frames are synthetic, so that
    the bundle's judge measures them, see `KDMPipeline.segment`. any_view: the view is not judged. Frames without a
    ventricle are interpolated from their neighbours. Raises GeometryError where it was found in fewer than
    `LEAST_FOUND` of the frames, or nothing that was found looks like a left ventricle, ViewError where it is seen from
    elsewhere than an apical 4-chamber view.
    """
    from echokdm.ops.ventricle import axis_from_keypoints, keypoints_from_mask

    seen, sure = pipeline.segment(frames, sector, fps, made, any_view)
    masks = np.asarray(seen)
    keypoints = np.full((len(masks), 40, 2), np.nan)
    axis = None
    for t, mask in enumerate(masks):
        if mask.any():
            keypoints[t] = keypoints_from_mask(mask, previous_axis=axis)
            axis = np.stack(axis_from_keypoints(keypoints[t]))
    found = np.isfinite(keypoints).all((1, 2))
    if found.mean() < LEAST_FOUND:
        where = f"in {int(found.sum())} of {len(found)} frames" if found.any() else "in any frame"
        raise GeometryError(
            f"A left ventricle could not be found {where}: is this an apical 4-chamber view? If it is, pass its outline with "
            "--keypoints FILE (a CSV in EchoNet VolumeTracings form or a NIfTI of masks, in the clip's own pixels)."
        )
    scale = frames.shape[-1] / masks.shape[-1]
    points = (smooth(fill_frames(keypoints, found), fps) + 0.5) * scale - 0.5
    return FoundKeypoints(points, found, None if sure is None else np.asarray(sure, float))


def smooth(keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Key-points (T, 40, 2) steady in time and along the walls, as chords at right angles to the axis; the volumes of
    the former alone."""
    from echokdm.ops.smoothing import shared_motion, smooth_keypoints
    from echokdm.ops.ventricle import keypoints_from_tracing, simpson_volume, tracing_from_keypoints, with_volumes

    steady = smooth_keypoints(keypoints, fps)
    laid = np.stack([keypoints_from_tracing(tracing_from_keypoints(points)) for points in shared_motion(steady)])
    return with_volumes(laid, simpson_volume(steady))


def derive_keypoints(
    clip: "Clip | str | Path",
    *,
    keypoints: str | Path | None = None,
    any_view: bool = False,
    allow_print: bool = False,
    bundle: Bundle = defaults.BUNDLE,
    device: str = defaults.DEVICE,
    progress: Progress = quiet,
) -> Derived:
    """Find the left ventricle in every frame of an apical 4-chamber clip and describe it by 40 key-points.

    clip: a file or a Clip. keypoints: a file with outlines in the clip's own pixels, which replaces the segmenter;
    frames that it lacks are interpolated. any_view: work on other views too, with a warning, which `Derived.doubt`
    holds. allow_print: don't search the sector for print; nothing made of the clip then claims to be clean of it.
    bundle: of which the segmenter is taken; one that is not loaded yet is loaded where it is needed.
    Raises ClipError (not a usable clip), PrintError (what may be print lies over its sector), GeometryError (no
    ventricle found, bad key-points), ViewError (another view), BundleError.
    """
    import warnings

    import torch

    from echokdm.deid.gate import search_print
    from echokdm.io.frame import to_model_frame
    from echokdm.io.sector import find_sector
    from echokdm.methods.bundle import frame_size

    if not isinstance(clip, Clip):
        from echokdm.io import read_clip

        progress("Reading the clip")
        clip = read_clip(clip)
    sector = find_sector(clip)
    progress("Looking at the sector")
    searched = search_print(clip, sector, allow_print)
    if keypoints is not None:
        model = to_model_frame(clip, sector, frame_size(bundle) if isinstance(bundle, str | Path) else bundle.size)
        none = np.full((len(clip), 40, 2), np.nan), np.zeros(len(clip), bool)
        return Derived(clip, sector, model, *none, True, searched=searched).with_outlines(keypoints)
    pipeline = load_pipeline(bundle, device, progress)
    model = to_model_frame(clip, sector, pipeline.size)
    progress("Finding the left ventricle")
    seen, doubt = (pipeline, model.clip.frames, torch.as_tensor(model.sector_mask), clip.fps), ""
    try:
        points, found, sure = segment_keypoints(*seen)
    except ViewError as error:
        if not any_view:
            raise
        doubt = error.finding
        warnings.warn(doubt, stacklevel=2)
        progress(f"Warning: {doubt.rstrip('.')}")
        points, found, sure = segment_keypoints(*seen, any_view=True)
    return Derived(clip, sector, model, points, found, False, doubt, sure, searched)
