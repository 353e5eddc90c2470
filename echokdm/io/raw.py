"""What every reader gives `read_clip`, and the limit that all of them check before they decode."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from echokdm.core.errors import ClipError

MAX_PIXELS = 2**28
"""Frames x rows x columns read at once: 340 frames of 1024 x 768, 1 GiB as gray float32."""

_GRAY_TOLERANCE = 24 / 255

DAMAGED = "This clip is truncated or damaged: copy it again from where it came."


class RawFrames(NamedTuple):
    """frames: (T, H, W) or (T, H, W, 3), uint8 or float32 in [0, 1]. patient: only ever hashed, with the user's salt."""

    frames: np.ndarray
    fps: float | None = None
    spacing_mm: tuple[float, float] | None = None
    patient: str = ""
    meta: Mapping[str, Any] = MappingProxyType({})


def check_size(frames: int, rows: int, columns: int) -> None:
    """Raise ClipError where a clip is empty or too large to read at once; called with the declared size, before decoding."""
    if min(frames, rows, columns) < 1:
        raise ClipError(f"This clip is empty: it declares {frames} frames of {rows} x {columns} pixels.")
    if frames * rows * columns > MAX_PIXELS:
        raise ClipError(f"This clip has {frames} or more frames of {rows} x {columns} pixels, over the limit of {MAX_PIXELS} pixels "
                        "in all: read fewer frames, or cut or shrink it first.")


def is_coloured(frame: np.ndarray, full: float) -> bool:
    """Whether any pixel of (H, W, 3), of which `full` is white, has more chroma than compression leaves in a gray picture."""
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    greatest = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    return bool((greatest - least).max() > _GRAY_TOLERANCE * full)
