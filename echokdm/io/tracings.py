"""Left-ventricular tracings in EchoNet's VolumeTracings form, and masks from NIfTI.

A tracing is (R, 4) rows x1, y1, x2, y2 in pixels of its own clip: row 0 the long axis from the apex to the mid-base,
the further rows chords across it from the apex to the mitral valve (usually 20).
"""

import csv
import io
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from echokdm.core.errors import ClipError, GeometryError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.io.atomic import atomic_file

if TYPE_CHECKING:
    from echokdm.core.types import Clip

HEADER = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")

Tracings = dict[str, dict[int, np.ndarray]]


def _bare(name: str) -> str:
    """A clip's name without `.avi`, which EchoNet's tracings carry and its file list does not."""
    return name[:-4] if name.lower().endswith(".avi") else name


def _parse_row(row: Mapping[str, str | None], where: str) -> tuple[str, int, list[float]]:
    name = (row["FileName"] or "").strip()
    if not name:
        raise GeometryError(f"{where}: FileName is empty.")
    values = []
    for column in HEADER[1:]:
        text = (row[column] or "").strip()
        try:
            value = float(text)
        except ValueError:
            raise GeometryError(f"{where}: {column} is not a number.") from None
        if not math.isfinite(value):
            raise GeometryError(f"{where}: {column} is not finite.")
        values.append(value)
    frame = values.pop()
    if frame < 0 or frame != int(frame):
        raise GeometryError(f"{where}: Frame must be a whole number from 0, not {frame:g}.")
    return _bare(name), int(frame), values


def read_tracings(path: str | os.PathLike[str]) -> Tracings:
    """Tracings by clip name (without `.avi`) and 0-based frame, each (R, 4) float64 with R >= 2, rows in the file's
    order.

    Any number of chords is taken as it stands. Columns may come in any order. Raises GeometryError, with the line, for
    a file that can't be read, a missing column, a cell that is no number, or a frame with an axis but no chord.
    """
    path = check_plain(path, GeometryError)
    file = called("The tracing file", path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise GeometryError(f"{file} does not exist.") from None
    except (OSError, UnicodeDecodeError):
        raise GeometryError(f"{file} is no readable text file; a CSV with {','.join(HEADER)} is needed.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        columns = [column.strip() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        missing = [column for column in HEADER if column not in columns]
        if missing:
            hint = " (a polygon tracing, one point a row, is another form)" if {"X", "Y"} <= set(columns) else ""
            raise GeometryError(f"{file} lacks the column {missing[0]}{hint}; the header must read {','.join(HEADER)}.")
        rows: dict[str, dict[int, list[list[float]]]] = {}
        for row in reader:
            name, frame, values = _parse_row(row, f"{file}, line {reader.line_num}")
            rows.setdefault(name, {}).setdefault(frame, []).append(values)
    except csv.Error:
        raise GeometryError(f"{file} is not a CSV file; a CSV with {','.join(HEADER)} is needed.") from None
    if not rows:
        raise GeometryError(f"{file} holds no tracing.")
    for name, frames in rows.items():
        for frame, lines in frames.items():
            if len(lines) < 2:
                raise GeometryError(
                    f"{file}: frame {frame} has a long axis but no chord; it needs the axis and 20 chords."
                )
        rows[name] = dict(sorted(frames.items()))
    return {name: {frame: np.array(lines) for frame, lines in frames.items()} for name, frames in rows.items()}


def write_tracings(path: str | os.PathLike[str], tracings: Mapping[str, Mapping[int, np.ndarray]]) -> None:
    """Write {clip name: {0-based frame: (R, 4) rows}} with EchoNet's exact header; FileName gets `.avi`, six decimals.

    `read_tracings` gives the same back. Raises GeometryError for rows of another shape or that aren't finite.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, frames in tracings.items():
        for frame, rows in sorted(frames.items()):
            rows = np.asarray(rows, np.float64)
            if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) < 2 or not np.isfinite(rows).all():
                raise GeometryError(
                    f"A tracing needs finite rows of the shape (R, 4) with R from 2, not {rows.shape} (frame {frame})."
                )
            writer.writerows([f"{_bare(name)}.avi", *(f"{value:.6f}" for value in row), int(frame)] for row in rows)
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def read_labels(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> np.ndarray:
    """Labels from NIfTI, (T, H, W) in the file's own type.

    Taken as stored: (x, y), (x, y, T) or (x, y, 1, T), x to the right and y down, as `write_nifti` and ITK write
    pictures. size: (height, width) that the labels must have. Raises GeometryError where the file is no such NIfTI or
    has another size.
    """
    from echokdm.io.nifti import open_nifti

    path = check_plain(path, GeometryError)
    file = called("The mask file", path)
    if not path.exists():
        raise GeometryError(f"{file} does not exist.")
    try:
        with one_sentence(f"{file} is not a readable NIfTI file.", GeometryError):
            array = np.asanyarray(open_nifti(path).dataobj)
    except ClipError as error:  # of several slices, or too large
        raise GeometryError(str(error)) from None
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 4 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 3 or array.dtype.names:
        raise GeometryError(
            f"{file} has the shape {array.shape}; masks need (x, y), (x, y, frames) or (x, y, 1, frames)."
        )
    labels = np.ascontiguousarray(array.transpose(2, 1, 0))
    if size is not None and labels.shape[1:] != tuple(size):
        raise GeometryError(
            f"{file} has masks of {labels.shape[2]} x {labels.shape[1]} pixels, the clip {size[1]} x {size[0]}; "
            "draw them on the clip's own frames."
        )
    return labels


def read_masks(path: str | os.PathLike[str], size: tuple[int, int] | None = None, label: int = 1) -> np.ndarray:
    """Masks from NIfTI, (T, H, W) bool, where `read_labels` gives `label` (1: the LV blood pool).

    Raises GeometryError as `read_labels` does, and where the file holds no `label`.
    """
    masks = read_labels(path, size) == label
    if not masks.any():
        raise GeometryError(f"{called('The mask file', path)} holds no pixel with the label {label}.")
    return masks


def turn_rows(rows: np.ndarray, clip: "Clip") -> np.ndarray:
    """Tracing rows (R, 4) between a clip as read and its file, which `read_clip` may have turned upside down; its own
    inverse."""
    if clip.meta.get("flipped") != "vertical":
        return rows
    turned = rows.copy()
    turned[:, 1::2] = clip.size[0] - 1 - turned[:, 1::2]
    return turned


def turn_masks(masks: np.ndarray, clip: "Clip") -> np.ndarray:
    """`turn_rows` for masks (T, H, W)."""
    return masks[:, ::-1] if clip.meta.get("flipped") == "vertical" else masks
