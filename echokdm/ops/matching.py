"""Global matching of two feature maps: correlation, soft warp, and the confidence of a match by its cycle.

Correlations are (B, M, N): every position u of the first map (M = h * w, row by row) against every v of the second.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import pixel_grid, sample

Size = tuple[int, int]  # (height, width)


def correlation(first: Tensor, second: Tensor, centred: bool = False) -> Tensor:
    """Cosine of the features at every pair of positions (MIDM, Eq. 5): (B, C, h, w), (B, C, h', w') -> (B, h w, h' w')
    float32.

    centred: the mean over channels is taken off first. In full precision whatever the context: a low temperature
    enlarges errors.
    """
    with torch.autocast(first.device.type, enabled=False):
        units = []
        for features in (first.float(), second.float()):
            if centred:
                features = features - features.mean(1, keepdim=True)
            units.append(F.normalize(features.flatten(2), dim=1))
        return units[0].transpose(1, 2) @ units[1]


def soft_warp(scores: Tensor, values: Tensor, temperature: float, size: Size) -> Tensor:
    """Values fetched by softmax over the second map's positions (MIDM, Eq. 6).

    scores: a correlation (B, M, N). values (B, L, h', w') with h' w' = N. size: (h, w) with h w = M. Returns (B, L, h,
    w) float32.
    """
    with torch.autocast(scores.device.type, enabled=False):
        weights = (scores / temperature).softmax(2)
        return (weights @ values.float().flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, size)


def matched_positions(scores: Tensor, temperature: float, size: Size, other: Size) -> Tensor:
    """psi: where in the second map each position of the first is matched to, the mean under the softmax of Eq. 6.

    scores (B, h w, h' w'); size (h, w), other (h', w'). Returns (B, 2, h, w), (x, y) in pixels of the second map.
    """
    grid = pixel_grid(*other, device=scores.device).expand(len(scores), -1, -1, -1)
    return soft_warp(scores, grid, temperature, size)


def cycle_distance(scores: Tensor, temperature: float, size: Size, other: Size) -> Tensor:
    """|u - psi_back(psi(u))|^2, (B, 1, h, w), in units of which the map's side is 2 (from -1 to 1); MIDM, Eq. 10.

    Arguments as in `matched_positions`; psi_back is of the same correlation, read the other way.
    """
    there = matched_positions(scores, temperature, size, other)
    back = matched_positions(scores.transpose(1, 2), temperature, other, size)
    unit = scores.new_tensor([2 / max(size[1] - 1, 1), 2 / max(size[0] - 1, 1)]).view(1, 2, 1, 1)
    return ((pixel_grid(*size, device=scores.device) - sample(back, there)) * unit).square().sum(1, keepdim=True)


def cycle_confidence(
    scores: Tensor, temperature: float, size: Size, other: Size, threshold: float, pool: int = 1
) -> Tensor:
    """1 where a match leads back to where it came from within `threshold` of `cycle_distance`, else 0: (B, 1, h, w);
    MIDM, Eq. 10.

    pool: side, odd, of the window over which distances are averaged first; 1 as in the paper.
    """
    distance = cycle_distance(scores, temperature, size, other)
    if pool > 1:
        distance = F.avg_pool2d(distance, pool, 1, pool // 2, count_include_pad=False)
    return (distance < threshold).to(scores.dtype)
