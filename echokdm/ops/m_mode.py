"""M-mode of a clip: one line of it over time."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from echokdm.core.errors import GeometryError
from echokdm.core.frames import Frames
from echokdm.core.types import luma
from echokdm.ops.ventricle import axis_from_keypoints
from echokdm.ops.warp import sample

Line = tuple[tuple[float, float], tuple[float, float]]  # (x, y) px of either end


def line_across(keypoints: ArrayLike, mask: NDArray[np.bool_], height: float = 0.5) -> Line:
    """A line at right angles to the ventricle's axis, `height` of it below the apex, as far as the sector goes to
    either side.

    keypoints (40, 2) px, mask (H, W) the sector; x rises from the first end to the second.
    """
    apex, base = (np.asarray(end, float) for end in axis_from_keypoints(np.asarray(keypoints, float)[None]))
    apex, base = apex.reshape(2), base.reshape(2)
    middle, axis = apex + height * (base - apex), base - apex
    across = np.array([axis[1], -axis[0]]) / max(float(np.hypot(*axis)), 1e-9)
    across = across if across[0] >= 0 else -across
    steps = np.arange(0.0, float(np.hypot(*mask.shape)), 1.0)
    ends = []
    for direction in (-across, across):
        x, y = np.rint(middle + steps[:, None] * direction).astype(int).T
        here = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        here[here] = mask[y[here], x[here]]
        last = int(np.argmin(here)) if not here.all() else len(here)
        at_x, at_y = middle + max(last - 1, 0) * direction
        ends.append((float(at_x), float(at_y)))
    return ends[0], ends[1]


def m_mode(frames: Frames, line: Line) -> NDArray[np.float32]:
    """Brightness (L, T) in [0, 1] along a line of frames (T, C, H, W), one sample a pixel's length, one column a frame.

    Raises GeometryError where the line leaves the picture.
    """
    (x0, y0), (x1, y1) = line
    height, width = frames.shape[2:]
    if not all(-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5 for x, y in line):
        raise GeometryError(
            f"The line of the M-mode leaves the picture of {width} x {height} pixels; give both ends inside."
        )
    count = max(int(np.ceil(np.hypot(x1 - x0, y1 - y0))) + 1, 2)
    points = torch.stack([torch.linspace(x0, x1, count), torch.linspace(y0, y1, count)])[None, :, :, None]
    # at once: columns kept one by one would leave the frames' memory in pieces
    picture = np.empty((count, len(frames)), np.float32)
    for column, frame in zip(picture.T, frames, strict=True):
        column[:] = sample(luma(frame[None]), points)[0, 0, :, 0].numpy()
    return picture
