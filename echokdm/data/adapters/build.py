"""From files and numbers to a checked `Sequence`. torch is loaded here alone, when something is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echokdm.core.errors import ClipError, GeometryError, one_sentence
from echokdm.core.files import check_plain
from echokdm.data.adapters.problems import COLUMNS, PAIR

if TYPE_CHECKING:
    from echokdm.core.types import Clip, KeypointSchema, Sequence
    from echokdm.data.adapters import Row

Array = np.ndarray


def labels_of(row: "Row") -> dict[str, Any]:
    """A row's labels: its columns but the base ones, a pair's names and the adapter's own."""
    return {key: row[key] for key in row.keys() if key not in (*COLUMNS, *PAIR) and not key.startswith("_")}


def sequence(
    clip: "Clip",
    labels: Mapping[str, Any],
    points: Array | None = None,
    visible: Array | None = None,
    schema: "KeypointSchema | str" = "",
) -> "Sequence":
    """A Sequence from a clip and its key-points (T, N, 2) with visibility (T, N).

    Labels gain "fps" and "spacing_mm" where the file tells them. Raises GeometryError where most points of a frame lie
    outside the picture: the landmarks of another image.
    """
    import torch

    from echokdm.core.schemas import schema as named
    from echokdm.core.types import Sequence

    facts: dict[str, Any] = {} if clip.meta.get("fps_assumed") else {"fps": clip.fps}
    if clip.spacing_mm is not None:
        facts["spacing_mm"] = clip.spacing_mm
    if points is None:
        return Sequence(clip.frames[:], labels={**facts, **labels})
    points = np.asarray(points, np.float32)
    visible = np.ones(points.shape[:2], bool) if visible is None else np.asarray(visible, bool)
    if len(points) != len(clip):
        raise GeometryError(f"The key-points tell of {len(points)} frames, the clip has {len(clip)}.")
    _check_inside(points, visible, clip.size)
    points = np.where(visible[..., None], points, np.float32(0))
    schema = named(schema) if isinstance(schema, str) else schema
    return Sequence(clip.frames[:], torch.from_numpy(points), torch.from_numpy(visible), schema, {**facts, **labels})


def _check_inside(points: Array, visible: Array, size: tuple[int, int]) -> None:
    height, width = size
    with np.errstate(invalid="ignore"):
        inside = ((points >= -0.5) & (points <= np.array([width, height]) - 0.5)).all(-1)
    wrong = (visible & ~inside).sum(1) > visible.sum(1) / 2
    if wrong.any():
        raise GeometryError(
            f"Most key-points of frame {int(wrong.argmax())} lie outside its {width} x {height} pixels: they belong to "
            "another image."
        )


def at_frames(given: Mapping[int, Array], frames: int, count: int) -> tuple[Array, Array]:
    """Key-points (N, 2) of some frames -> (T, N, 2), zero elsewhere, and (T, N) visible. Raises GeometryError for a
    frame beyond."""
    points, visible = np.zeros((frames, count, 2), np.float32), np.zeros((frames, count), bool)
    for frame, values in given.items():
        if not 0 <= frame < frames:
            raise GeometryError(f"A tracing names frame {frame}, but the clip has the frames 0 to {frames - 1}.")
        points[frame], visible[frame] = values, True
    return points, visible


def read_frames(path: str) -> "Clip":
    """The clip or picture at `path`, all its frames in memory. Raises ClipError."""
    from echokdm.io.read import read_clip

    clip = read_clip(path)
    return clip.with_frames(clip.frames[:])


def read_stack(paths: list[str]) -> "Clip":
    """Pictures of one size as one clip; gray ones become coloured where any is. Raises ClipError."""
    import torch

    clips = [read_frames(path) for path in paths]
    if len({clip.size for clip in clips}) > 1:
        raise ClipError("The pictures of one sequence differ in size: scale them to one size first.")
    channels = max(clip.frames.shape[1] for clip in clips)
    frames = torch.cat([clip.frames[:].expand(-1, channels, -1, -1) for clip in clips])
    return clips[0].with_frames(frames)


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises GeometryError where it is none."""
    with one_sentence(
        "A JSON file of this sequence is missing or damaged: copy it again from where it came.", GeometryError
    ):
        return json.loads(check_plain(path, GeometryError).read_bytes())
