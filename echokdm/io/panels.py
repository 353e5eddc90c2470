"""Two pictures side by side in one, each with a fan of its own."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from echokdm.core.errors import ClipError
from echokdm.io.fan import Fan
from echokdm.io.fan_fit import find_fan

# Text and rulers are thinner than the opening, and noise is darker.
_LIVELY = 8 / 255
_OPENING = 3
# Of what is alive, on the emptier side; a thumbnail is smaller.
_LEAST_SIDE = 0.2
# Of the fullest columns' life, in the emptiest column between; a fan alone is fullest amid.
_MOST_BETWEEN = 0.3


def find_panels(frames: np.ndarray) -> tuple[int, Fan, Fan] | None:
    """(column, left fan, right fan) where the picture is two, with the column at which the right one begins; else None.

    frames: (T, H, W) gray in [0, 1].
    """
    lively = ndimage.binary_opening(frames.max(0) > _LIVELY, np.ones((_OPENING, _OPENING)))
    count = lively.sum(0).astype(float)
    if not count.any():
        return None
    share = np.cumsum(count) / count.sum()
    amid = np.flatnonzero((share > _LEAST_SIDE) & (share < 1 - _LEAST_SIDE))
    if not len(amid):
        return None
    split = int(amid[count[amid].argmin()])
    if count[split] > _MOST_BETWEEN * min(count[:split].max(initial=0), count[split:].max()):
        return None
    try:
        left, right = (find_fan(part)[0] for part in (frames[:, :, :split], frames[:, :, split:]))
    except ClipError:
        return None
    right = replace(right, apex=(right.apex[0] + split, right.apex[1]))
    # Both halves of one fan have the same apex.
    if right.apex[0] - left.apex[0] < max(left.far, right.far) / 2:
        return None
    ends = float(left.outline()[:, 0].max()), float(right.outline()[:, 0].min())
    return round(sum(ends) / 2) if ends[0] < ends[1] else split, left, right
