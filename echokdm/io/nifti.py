"""Read NIfTI: clips, and masks as they are stored."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from echokdm.core.errors import ClipError, one_sentence
from echokdm.core.files import check_plain
from echokdm.io.raw import DAMAGED, RawFrames, check_size, sane_rate, sane_spacing
from echokdm.io.values import to_unit_range

_HEAD = 540  # bytes of the longer of both headers
_MOST_BEFORE = 2**24  # bytes of header extensions: none that describes a clip is so long
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_METER, _MM, _MICRON: the low three bits of xyzt_units
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # NIFTI_UNITS_SEC, _MSEC, _USEC: the next three


def read_nifti(path: Path, max_frames: int | None) -> RawFrames:
    """NIfTI-1 or -2 with axes (x, y, t), (x, y, 1, t) or (x, y): frames are transposed to (t, y, x), the apex turned
    up.

    mm a pixel from the header; the frame rate from a fourth axis in s, ms or us, else unknown.

    Raises ClipError: damaged, more than one slice, or too large.
    """
    with one_sentence(DAMAGED):
        image = open_nifti(path)
        shape = image.shape
        stored = np.asanyarray(image.dataobj)
        zooms = [float(z) for z in image.header.get_zooms()]
        units = int(image.header["xyzt_units"])
        if stored.dtype.names:  # RGB voxels
            stored = np.stack([stored[name] for name in stored.dtype.names[:3]], -1)
            frames = stored.reshape(shape[0], shape[1], -1, 3).transpose(2, 1, 0, 3)
        else:
            frames = stored.reshape(shape[0], shape[1], -1).transpose(2, 1, 0)
        frames = np.ascontiguousarray(frames[:max_frames])
        if frames.dtype.kind not in "uif":
            raise ClipError("This NIfTI file holds no real numbers: save it as uint8, or as float32 in [0, 1].")
        frames = to_unit_range(frames)
    flipped = _is_apex_down(frames)
    if flipped:
        frames = np.ascontiguousarray(frames[:, ::-1])
    in_mm = _MM.get(units & 0x07, 1.0)
    spacing = sane_spacing((zooms[1] * in_mm, zooms[0] * in_mm))
    step = zooms[3] * _SECONDS.get(units & 0x38, 0.0) if len(shape) == 4 else 0.0
    fps = sane_rate(1 / step) if step > 0 else None
    facts: dict[str, Any] = {"fps_source": "header"} if fps else {}
    if flipped:
        facts["flipped"] = "vertical"
    return RawFrames(frames, fps, spacing, meta=facts)


def open_nifti(path: Path) -> Any:
    """nibabel's image of one plane, packed by gzip or not, under any name. Of what is packed no more is unpacked than
    the header declares.

    Raises ClipError where it has several slices or is too large, and what nibabel raises where it is damaged.
    """
    import nibabel

    with _unpacked(check_plain(path)) as file:
        head = file.read(_HEAD)
        first = 348 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
        kind = nibabel.Nifti1Image if first else nibabel.Nifti2Image
        header = kind.header_class.from_fileobj(io.BytesIO(head), check=False)
        shape, offset = header.get_data_shape(), int(header.get_data_offset())
        if len(shape) < 2 or len(shape) > 4 or (len(shape) == 4 and shape[2] != 1):
            raise ClipError(
                f"This NIfTI file has the shape {shape}, which is none of one plane: its axes must be (x, y, time) or "
                "(x, y, 1, time)."
            )
        check_size(shape[-1] if len(shape) > 2 else 1, shape[1], shape[0], header.get_data_dtype().itemsize)
        if not 0 <= offset <= _MOST_BEFORE:
            raise ClipError(DAMAGED)
        end = offset + int(np.prod(shape, dtype=np.int64)) * header.get_data_dtype().itemsize
        return kind.from_bytes(head + file.read(max(end - len(head), 0)))


def _unpacked(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def _is_apex_down(frames: np.ndarray) -> bool:
    """Whether the picture's upper third is much wider than its lower third: a fan that stands on its apex."""
    shown = frames.max(0)
    shown = shown.max(-1) if shown.ndim == 3 else shown
    rows = (shown > shown.max() * 0.02).sum(1)
    filled = np.flatnonzero(rows > 0)
    if len(filled) < 9:
        return False
    rows = rows[filled[0] : filled[-1] + 1]
    third = len(rows) // 3
    # A fan's lower third holds about twice its upper third; a rectangle's thirds are equal.
    return bool(rows[:third].sum() > 1.3 * rows[-third:].sum())
