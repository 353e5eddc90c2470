"""Local cost volume: how well each position of one feature map matches its neighbourhood in another (PWC-Net, section
3)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def local_correlation(first: Tensor, second: Tensor, radius: int = 4) -> Tensor:
    """Channel mean of products of `first` at p and `second` at p + d, for every d within `radius` -> (B, (2r+1)^2, H,
    W).

    first, second: (B, C, H, W). Channel (dy + r) * (2r + 1) + dx + r holds displacement (dx, dy); outside `second`
    counts as 0. One batched matrix product over row bands instead of (2r+1)^2 shifted products: two to ten times faster
    on a CPU.
    """
    B, C, H, W = first.shape
    side, wide = 2 * radius + 1, W + 2 * radius
    padded = F.pad(second, (radius, radius, radius, radius))
    bands = padded.unfold(2, side, 1)  # B, C, H, wide, side: the rows of `second` that each row of `first` can meet
    bands = bands.permute(0, 2, 1, 4, 3).reshape(B * H, C, side * wide)
    rows = first.permute(0, 2, 3, 1).reshape(B * H, W, C) / C
    # B*H, W, side*wide: every column against every column; column x needs x .. x + 2r
    products = torch.bmm(rows, bands)
    strides = (H * W * side * wide, wide, 1, W * side * wide, side * wide + 1)
    return products.as_strided((B, side, side, H, W), strides).reshape(B, side * side, H, W)
