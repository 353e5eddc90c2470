"""From the numbers that a file stores to brightness in [0, 1]."""

import numpy as np

from echokdm.core.errors import ClipError


def to_unit_range(frames: np.ndarray) -> np.ndarray:
    """uint8 as it is; integers by their own range's next power of two; floats in [0, 1] as they are, else by their
    greatest.

    Raises ClipError where a value is no number, or none that float32 holds.
    """
    if frames.dtype == np.uint8:
        return frames
    with np.errstate(over="ignore"):
        values = frames.astype(np.float32)
    if not np.isfinite(values).all():
        raise ClipError(
            "This clip holds values that are not numbers, or beyond those of 32 bits: save it again as uint8, or as float32 in "
            "[0, 1]."
        )
    np.maximum(values, 0, out=values)
    top = float(values.max())
    if frames.dtype.kind in "ui":
        return values / np.float32(2.0 ** np.ceil(np.log2(max(top, 254.0) + 1)) - 1)
    if top <= 1:
        return values
    return values / np.float32(255.0 if top <= 255 else top)
