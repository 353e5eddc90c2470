"""Outlines that are given in a file, as key-points of every frame."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echokdm.core.errors import GeometryError
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.core.types import Clip
from echokdm.io.tracings import turn_masks, turn_rows, write_tracings
from echokdm.ops.chords import CHORDS

if TYPE_CHECKING:
    from echokdm.io.sector import Sector


def fill_frames(keypoints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Key-points (T, N, 2) with the frames that are not `known` (T,) interpolated linearly in time, the ends held."""
    t = np.arange(len(keypoints))
    flat = keypoints.reshape(len(keypoints), -1).copy()
    for column in flat.T:
        column[~known] = np.interp(t[~known], t[known], column[known])
    return flat.reshape(keypoints.shape)


def write_outlines(path: str | Path, keypoints: Mapping[int, np.ndarray], clip: Clip) -> None:
    """Write key-points by frame, (40, 2) each in the clip's own pixels, as the CSV that `given_keypoints` takes for the
    same file."""
    from echokdm.ops.ventricle import tracing_from_keypoints

    write_tracings(
        path, {"clip": {t: turn_rows(tracing_from_keypoints(points), clip) for t, points in keypoints.items()}}
    )


def given_keypoints(path: str | Path, clip: Clip, sector: "Sector") -> tuple[np.ndarray, np.ndarray]:
    """Key-points (T, 40, 2) in the clip's own pixels from a file of outlines, and the frames (T,) that the file holds.

    path: EchoNet VolumeTracings CSV of one clip, or NIfTI masks, told apart by content. Frames between those given are
    interpolated, those outside held. Raises GeometryError: fewer than 20 chords, crossing, outside the sector, no such
    frame.
    """
    from scipy.ndimage import binary_dilation

    from echokdm.ops.ventricle import check_keypoints

    path = Path(path)
    given = _from_masks(path, clip) if _is_nifti(path) else _from_tracings(path, clip)
    # An outline drawn on the sector's edge is inside it.
    reach = max(1, round(0.015 * clip.size[0]))
    inside = binary_dilation(np.asarray(sector.mask, bool), iterations=reach)
    keypoints, known = np.full((len(clip), 40, 2), np.nan), np.zeros(len(clip), bool)
    for frame, points in given.items():
        keypoints[frame], known[frame] = check_keypoints(points, inside), True
    return fill_frames(keypoints, known), known


def _is_nifti(path: Path) -> bool:
    """By content: gzip, or NIfTI's own magic at byte 344."""
    try:
        with check_plain(path, GeometryError).open("rb") as file:
            head = file.read(348)
    except OSError:
        return False  # the reader of tracings says what is wrong
    return head[:2] == b"\x1f\x8b" or head[344:348] in (b"n+1\0", b"ni1\0")


def _from_masks(path: Path, clip: Clip) -> dict[int, np.ndarray]:
    from echokdm.io.tracings import read_masks
    from echokdm.ops.ventricle import keypoints_from_mask

    masks = turn_masks(read_masks(path, size=clip.size), clip)
    if len(masks) != len(clip):
        raise GeometryError(
            f"{called('The mask file', path)} holds {len(masks)} frames, and the clip has {len(clip)}; leave "
            "frames empty, not out."
        )
    return {t: np.asarray(keypoints_from_mask(mask), float) for t, mask in enumerate(masks) if mask.any()}


def _from_tracings(path: Path, clip: Clip) -> dict[int, np.ndarray]:
    from echokdm.io.tracings import read_tracings
    from echokdm.ops.ventricle import keypoints_from_tracing, outline_of_tracing, self_crossing

    clips = read_tracings(path)
    file = called("The tracing file", path)
    if len(clips) > 1:
        raise GeometryError(f"{file} holds tracings of {len(clips)} clips; keep this clip's rows alone.")
    given = {}
    for frame, rows in next(iter(clips.values())).items():
        if frame >= len(clip):
            raise GeometryError(f"{file} traces frame {frame}, and the clip has frames 0 to {len(clip) - 1}.")
        if len(rows) <= CHORDS:
            raise GeometryError(
                f"{file} has {len(rows) - 1} chords in frame {frame}; 40 key-points need a long axis and "
                f"{CHORDS} chords."
            )
        if self_crossing(outline_of_tracing(rows)):
            raise GeometryError(
                f"{file}: the outline of frame {frame} crosses itself; order its chords from the apex to the base."
            )
        given[frame] = np.asarray(keypoints_from_tracing(turn_rows(rows, clip)), float)
    return given
