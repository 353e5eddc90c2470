"""What was made of a square of a picture, at the picture's own size: its own pixels carried by the enlarged flow."""

import torch
from torch import Tensor

from echokdm.data.frames import Square
from echokdm.ops.native import NativeFrame


class Photo:
    """A picture (3, H, W) in [0, 1] and the square of it that a model sees, `size` px a side.

    What lies outside the square stays as it is.
    """

    def __init__(self, picture: Tensor, square: Square, size: int) -> None:
        import numpy as np

        self.picture = picture
        step = (1 / square.ratio[0], 1 / square.ratio[1])
        left, top = (square.corner[i] - square.offset[i] * step[i] for i in range(2))
        ends = round(left + size * step[0]), round(top + size * step[1])
        self._rows = slice(max(0, round(top)), max(1, min(ends[1], picture.shape[1])))
        self._columns = slice(max(0, round(left)), max(1, min(ends[0], picture.shape[2])))
        self._part = picture[:, self._rows, self._columns]
        origin = left - 0.5 - self._columns.start, top - 0.5 - self._rows.start
        self._native = NativeFrame(np.ones(self._part.shape[1:], bool), origin, step)

    def carry(self, flow: Tensor, made: Tensor, hidden: Tensor) -> Tensor:
        """A frame (3, H, W): the picture carried by a flow (2, S, S) px of the model's, and where `hidden` (1, S, S) in [0, 1] says that it
        has nothing to carry, what the model drew, `made` (3, S, S).
        """
        moved = self._native.carry(self._part, flow)
        if bool(hidden.any()):
            share = self._native.enlarge(hidden).clamp(0, 1)
            moved = moved + share * (self._native.enlarge(made).clamp(0, 1) - moved)
        frame = self.picture.clone()
        frame[:, self._rows, self._columns] = moved
        return frame
