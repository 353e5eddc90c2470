"""What every reader gives `read_clip`, and the limits that all of them check before they decode."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from echokdm.core.errors import ClipError
from echokdm.core.frames import LongFrames

MAX_PIXELS = 2**30
"""Frames x rows x columns of a clip: 3,495 frames of 640 x 480. Read frame by frame, long ones are not kept in
memory."""
MAX_FRAME = 2**25
"""Rows x columns of one frame, which is in memory several times over: 5,792 x 5,792."""
MAX_BYTES = 2**30
"""Of what is read at once."""
MAX_INFLATED = 2**28
"""Bytes of a deflated DICOM file, of which pydicom holds several copies."""

_GRAY_TOLERANCE = 24 / 255

# A pixel of a scanner is between 0.03 and 1.5 mm wide and at most a few times as high; a clip has between 5 and 400
# frames a second. What lies far beyond is no measurement, and a picture scaled by it would not fit in memory.
_SPACINGS_MM, _MOST_ASPECT, _RATES = (0.01, 10.0), 10.0, (0.5, 1000.0)

DAMAGED = "This clip is truncated or damaged: copy it again from where it came."


class RawFrames(NamedTuple):
    """frames: (T, H, W) or (T, H, W, 3), uint8 or float32 in [0, 1]. patient: only ever hashed, with the user's
    salt."""

    frames: np.ndarray | LongFrames
    fps: float | None = None
    spacing_mm: tuple[float, float] | None = None
    patient: str = ""
    meta: Mapping[str, Any] = MappingProxyType({})


def check_size(frames: int, rows: int, columns: int, pixel_bytes: int = 0) -> None:
    """Raise ClipError where a clip is empty or too large; called with the declared size, before decoding.

    pixel_bytes: a pixel's, where all frames are read at once.
    """
    if min(frames, rows, columns) < 1:
        raise ClipError(f"This clip is empty: it declares {frames} frames of {rows} x {columns} pixels.")
    if rows * columns > MAX_FRAME:
        raise ClipError(
            f"The frames of this clip have {rows} x {columns} pixels, over the limit of {MAX_FRAME}: cut or shrink them first."
        )
    if frames * rows * columns > MAX_PIXELS or frames * rows * columns * pixel_bytes > MAX_BYTES:
        raise ClipError(
            f"This clip has {frames} or more frames of {rows} x {columns} pixels, over the limit of {MAX_PIXELS} pixels "
            f"or, of its kind, {MAX_BYTES} bytes in all: read fewer frames, or cut or shrink it first."
        )


def sane_spacing(spacing: tuple[float, float]) -> tuple[float, float] | None:
    """(row, column) mm a pixel where a scanner's can be so; else None, unknown."""
    low, high = _SPACINGS_MM
    return spacing if all(low <= mm <= high for mm in spacing) and sane_aspect(spacing[0] / spacing[1]) else None


def sane_aspect(aspect: float) -> float | None:
    """Row over column spacing where a scanner's can be so; else None, unknown."""
    return aspect if 1 / _MOST_ASPECT <= aspect <= _MOST_ASPECT else None


def sane_rate(fps: float) -> float | None:
    """Frames a second where a scanner's can be so; else None, unknown."""
    return fps if math.isfinite(fps) and _RATES[0] <= fps <= _RATES[1] else None


def is_coloured(frame: np.ndarray, full: float) -> bool:
    """Whether any pixel of (H, W, 3), of which `full` is white, has more chroma than compression leaves in a gray
    picture."""
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    greatest = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    return bool((greatest - least).max() > _GRAY_TOLERANCE * full)
