"""From the model's small frame to a clip's own pixels: flows enlarged, frames carried by them at full size."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from echokdm.ops.warp import pixel_grid, sample


class NativeFrame:
    """The part of a clip's own picture that its sector fills, and where its pixels lie in the model's frame.

    mask: (H, W) bool, the sector. origin, step: (x, y) of the model's frame in the clip's pixels, as
    `io.frame.ModelClip` has them.
    """

    def __init__(self, mask: np.ndarray, origin: tuple[float, float], step: tuple[float, float]) -> None:
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        self.box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        self.inside = torch.from_numpy(np.ascontiguousarray(mask[self.box]))
        self.step = torch.tensor(step).view(1, 2, 1, 1)
        corner = torch.tensor([self.box[1].start, self.box[0].start]).view(1, 2, 1, 1)
        self._grid = pixel_grid(*self.inside.shape)
        self._places = (self._grid + corner - torch.tensor(origin).view(1, 2, 1, 1)) / self.step - 0.5

    @cached_property
    def _nearest(self) -> Tensor:
        """(h, w) index of the nearest pixel inside, so that a warp never drags the black outside in."""
        from scipy.ndimage import distance_transform_edt

        rows, columns = distance_transform_edt(~self.inside.numpy(), return_distances=False, return_indices=True)
        return torch.from_numpy(rows.astype(np.int64) * self.inside.shape[1] + columns)

    def enlarge(self, field: Tensor, mode: str = "bicubic") -> Tensor:
        """A field (C, S, S) of the model's frame at the clip's pixels -> (C, h, w) of the box, values as they are,
        smooth.

        mode: "bilinear" where it breaks, beside which a bicubic one swings.
        """
        return sample(field[None], self._places, mode=mode)[0]

    def carry(self, frame: Tensor, flow: Tensor, finer: Tensor | None = None) -> Tensor:
        """Warp a frame (C, H, W) in [0, 1] by the model's backward flow (2, S, S) px -> (C, H, W), black outside the
        sector.

        Bicubic on the clip's own pixels; where the flow is zero each pixel stays what it is. finer: the frame as of
        `doubled`, which is then sampled: bicubic weights alone would take a quarter of a photo's finest detail; the
        flow is then finer than a model's, and may break.
        """
        native = self.enlarge(flow, "bicubic" if finer is None else "bilinear")[None] * self.step
        whole = frame[:, self.box[0], self.box[1]]
        filled = whole.flatten(1)[:, self._nearest.flatten()].view_as(whole)
        if finer is None:
            moved = sample(filled[None], self._grid + native, mode="bicubic")[0]
        else:
            moved = sample(finer[None], 2 * (self._grid + native), mode="bicubic")[0]
        moved = torch.where((native[0] == 0).all(0), filled, moved)  # rounding would touch what nothing moves
        return self._placed(moved, frame)

    def add(self, frame: Tensor, change: Tensor) -> Tensor:
        """A frame (C, H, W) with a change of brightness (1, S, S), known in the model's frame, added inside the
        sector."""
        return self._placed(frame[:, self.box[0], self.box[1]] + self.enlarge(change), frame)

    def _placed(self, part: Tensor, frame: Tensor) -> Tensor:
        out = torch.zeros_like(frame)
        out[:, self.box[0], self.box[1]] = part.clamp(0, 1) * self.inside
        return out
