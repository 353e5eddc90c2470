"""Perceptual distance at several sizes of a picture (Liu et al., Eq. 7; Johnson et al., ECCV 2016)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from echokdm.ops.resample import shrink


def pyramid_perceptual(
    features: Callable[[Tensor], Sequence[Tensor]],
    made: Tensor,
    truth: Tensor,
    scales: Sequence[float] = (1, 0.5, 0.25, 0.125),
) -> Tensor:
    """Eq. 7: sum over layers i and sizes j of mean |V_i(made_j) - V_i(truth_j)|; a scalar.

    features: images (B, 3, H, W) in [0, 1] -> a layer each. made, truth (B, 3, H, W) in [0, 1]. scales: of the sizes,
    to the picture's; shrunk without aliasing. No gradient goes to `truth`.
    """
    total = made.new_zeros(())
    for scale in scales:
        size = round(made.shape[2] * scale), round(made.shape[3] * scale)
        with torch.no_grad():
            wanted = features(shrink(truth.detach(), *size))
        for found, want in zip(features(shrink(made, *size)), wanted, strict=True):
            total = total + (found - want).abs().mean()
    return total
