"""An opened clip: what an edit asks of it, and the pictures of that."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from echokdm.core import defaults
from echokdm.core.errors import GeometryError
from echokdm.echo.bundle import HeartPipeline, Mover, Progress, Share, quiet
from echokdm.echo.derive import Derived, derive_keypoints, simpson
from echokdm.echo.edit import edit_clip
from echokdm.echo.outlines import write_outlines
from echokdm.echo.plan import Trajectory, plan
from echokdm.echo.synthesis import Synthesis, septum_first, synthesize
from echokdm.ops.correction import follow_corrections
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.m_mode import Line, line_across, m_mode
from echokdm.ops.strain import longitudinal_strain
from echokdm.ops.trajectory import drag
from echokdm.report.command import repeatable
from echokdm.studio.edits import Change, Edit, Move, Wishes
from echokdm.studio.outline_warp import OutlineWarp

OUTLINES = "source-outlines.csv"  # as an export names the file that the command takes with --keypoints
_FINEST = 2  # digits of a pixel that a drag is told with


@dataclass(frozen=True)
class Settings:
    """How clips are opened and made: the options of `synth`, and the bundle's loaded weights."""

    pipeline: HeartPipeline
    bundle: str = defaults.BUNDLE
    device: str = defaults.DEVICE
    any_view: bool = False
    allow_print: bool = False


@dataclass(frozen=True)
class Outlined:
    """A clip with the outlines that an edit gives it, and the side that is its septum, as of
    `ops.walls.septum_is_first`."""

    heart: Derived
    septal_first: bool


class Heart:
    """A clip that was opened, with the ventricle as it was found or given.

    demo: it is the clip that pydicom ships. Frames, where nothing else is said, are those of the result; points are
    pixels of the clip.
    """

    def __init__(self, found: Derived, settings: Settings, demo: bool = False) -> None:
        self.found, self.settings, self.demo = found, settings, demo
        self._as_found = Outlined(found, septum_first(found, settings.pipeline))

    def write_outlines(self, edit: Edit, file: Path) -> None:
        """The source's outlines as `--keypoints` takes them: as found, or put right in some frames, which the others
        follow.

        Of outlines from a file the frames that it traced, and those that were put right, alone.
        """
        found = self.found
        corrected = {
            frame: np.asarray(found.model.to_model(np.array(points)), float) for frame, points in edit.outlines.items()
        }
        points = np.asarray(found.model.to_source(follow_corrections(found.keypoints, corrected, found.phases)), float)
        known = [t for t in range(len(points)) if not found.given or found.found[t] or t in corrected]
        write_outlines(file, {t: points[t] for t in known}, found.clip)

    def outlined(self, edit: Edit, like: Outlined | None = None) -> Outlined:
        """The clip with the edit's outlines, by way of a file as `synth` takes them. Raises GeometryError.

        like: take the septum's side from here instead of looking for it, which a preview has no time for.
        """
        if not edit.outlines and not self.found.given:
            return self._as_found
        with TemporaryDirectory() as folder:
            self.write_outlines(edit, Path(folder) / OUTLINES)
            heart = self.found.with_outlines(Path(folder) / OUTLINES)
        return Outlined(heart, septum_first(heart, self.settings.pipeline) if like is None else like.septal_first)

    def changed(self, edit: Edit, source: Outlined, change: Change) -> Edit:
        """The edit after one step. Raises GeometryError or ConfigError where it can't be."""
        if change.clear is not None:
            return Edit() if change.clear == "all" else edit.model_copy(update={change.clear: {}})
        if change.move is not None:
            edit = self._moved(edit, source, change.move)
        if change.wishes is not None:
            edit = _wished(edit, change.wishes)
            if edit.m_mode is not None:
                m_mode(self.found.clip.frames[:1], _line(edit.m_mode))  # refuses a line that leaves the picture
        edit.wish()
        return edit

    def _moved(self, edit: Edit, source: Outlined, move: Move) -> Edit:
        to, heart = np.array(move.to), source.heart
        if move.picture == "result":
            still = self.trajectory(edit.model_copy(update={"drag": {}}), source)
            start = heart.model.to_source(frame_of(still, move.frame, still.keypoints)[move.point])
            return edit.model_copy(update={"drag": edit.drag | {move.point: _pair(np.asarray(to - start))}})
        trajectory = self.trajectory(edit, source)
        frame = int(frame_of(trajectory, move.frame, trajectory.frames))
        own = source.heart.keypoints_source[frame]
        moved = drag(own, {move.point: tuple(to - own[move.point])})
        return edit.model_copy(update={"outlines": edit.outlines | {frame: [_pair(point, 3) for point in moved]}})

    def trajectory(self, edit: Edit, source: Outlined) -> Trajectory:
        """What the edit asks of the ventricle, as `synth` plans it. Raises GeometryError or ConfigError."""
        return plan(source.heart, source.heart.ed, edit.wish(), septal_first=source.septal_first)

    def frame(self, source: Outlined, trajectory: Trajectory, frame: int, mover: Mover | None = None) -> np.ndarray:
        """Frame (C, H, W) of the result alone: as `synth` makes it but for the last digits, or by another mover."""
        rows = np.array([frame])
        alone = replace(
            trajectory,
            keypoints=trajectory.keypoints[rows],
            frames=trajectory.frames[rows],
            valve_opening=trajectory.valve_opening[rows],
        )
        return np.asarray(
            edit_clip(source.heart, alone, mover or partial(self.settings.pipeline, chunk=1)).clip.frames[0]
        )

    def preview(self, source: Outlined, trajectory: Trajectory, frame: int) -> np.ndarray:
        """Frame (C, H, W) of the result at once: the outline's motion without a network."""
        return self.frame(source, trajectory, frame, OutlineWarp())

    def make(self, edit: Edit, source: Outlined, made: Share = quiet) -> Synthesis:
        """The result, by the same call as `synth`. made: as of `echo.edit.edit_clip`."""
        return synthesize(source.heart, edit.wish(), bundle=self.settings.pipeline, made=made)

    def command(self, edit: Edit, keypoints: str | None) -> str:
        """The command that makes the same files. keypoints: how it names the file of outlines, None where it takes
        none."""
        settings, clip = self.settings, None if self.demo else "CLIP"
        walls = [f"{wall}={factor:g}" for wall, factor in edit.walls.items()]
        drags = [f"{i}:{dx:g},{dy:g}" for i, (dx, dy) in edit.drag.items()]
        line = None if edit.m_mode is None else ",".join(f"{end:g}" for end in edit.m_mode)
        return repeatable(
            "synth",
            clip=clip,
            demo=self.demo,
            ef=edit.ef,
            edv=edit.wish().edv,
            gls=edit.gls,
            wall=walls or None,
            heart_rate=edit.heart_rate,
            keypoints=keypoints,
            any_view=settings.any_view,
            allow_print=settings.allow_print,
            drag=drags or None,
            m_mode=line,
            steps=defaults.STEPS,
            seed=defaults.SEED,
            bundle=settings.bundle,
            device=settings.device,
        )

    def line(self, edit: Edit, source: Outlined, trajectory: Trajectory) -> Line:
        """The M-mode's line in the clip's pixels: the edit's own, or as the report draws it."""
        if edit.m_mode is not None:
            return _line(edit.m_mode)
        return line_across(
            source.heart.model.to_source(trajectory.keypoints[trajectory.ed]), np.asarray(source.heart.sector.mask)
        )

    def curves(self, source: Outlined, trajectory: Trajectory) -> dict[str, Any]:
        """Volumes and global longitudinal strain (%) of each of the result's frames, source and asked for, and both
        ejection fractions."""
        heart, frames, first = source.heart, trajectory.frames, source.septal_first
        drawn = simpson(trajectory.keypoints, heart.model.clip.spacing_mm)
        strains = (
            longitudinal_strain(heart.keypoints, heart.ed, first).whole[frames],
            longitudinal_strain(trajectory.keypoints, trajectory.ed, first).whole,
        )
        return {
            "unit": heart.unit,
            "volume": {"source": _short(heart.volumes[frames]), "drawn": _short(drawn)},
            "strain": {"source": _short(strains[0]), "drawn": _short(strains[1])},
            "ef": {
                "source": round(heart.ejection_fraction, 1),
                "asked": round(clip_ejection_fraction(trajectory.asked, trajectory.beats), 1),
                "drawn": round(clip_ejection_fraction(drawn, trajectory.beats), 1),
            },
        }


def open_heart(
    path: Path, settings: Settings, keypoints: Path | None = None, demo: bool = False, progress: Progress = quiet
) -> Heart:
    """Read a clip and find its ventricle, through the gates of `synth`. Raises what `derive_keypoints` does, ClipError
    for a still."""
    from echokdm.io import read_clip, require_motion

    progress("Reading the clip")
    clip = read_clip(path)
    require_motion(clip)
    found = derive_keypoints(
        clip,
        keypoints=keypoints,
        any_view=settings.any_view,
        allow_print=settings.allow_print,
        bundle=settings.pipeline,
        progress=progress,
    )
    if not found.moves:
        raise GeometryError(
            "The file of outlines has one frame alone, and so no motion: give two or more, or leave --keypoints out."
        )
    return Heart(found, settings, demo)


def frame_of(trajectory: Trajectory, frame: int, values: np.ndarray) -> Any:
    """What values, one of each of a result's frames, hold for a frame. Raises GeometryError where there is none."""
    if frame >= len(trajectory.frames):
        raise GeometryError(f"There is no frame {frame}; the result has frames 0 to {len(trajectory.frames) - 1}.")
    return values[frame]


def _line(ends: tuple[float, float, float, float]) -> Line:
    return ends[:2], ends[2:]


def _wished(edit: Edit, wishes: Wishes) -> Edit:
    asked = wishes.model_dump(exclude_unset=True)
    if "walls" in asked:
        walls = {} if asked["walls"] is None else edit.walls | asked["walls"]
        asked["walls"] = {wall: factor for wall, factor in walls.items() if factor != 1}
    return edit.model_copy(update=asked)


def _pair(point: np.ndarray, digits: int = _FINEST) -> tuple[float, float]:
    x, y = (round(float(value), digits) + 0.0 for value in point)  # no -0
    return x, y


def _short(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
