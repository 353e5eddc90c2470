"""Losses on a network's features: their values, and their Gram matrices (Johnson, Alahi and Fei-Fei, ECCV 2016)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, C): products of channels, summed over places and divided by C h w."""
    _, c, h, w = features.shape
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def feature_distance(made: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean |made - truth|, features (B, C, h, w); a scalar (residual-flow method, Eq. 9)."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(made, truth, strict=True)]).sum()


def style_distance(made: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the mean |difference| of the Gram matrices, features (B, C, h, w); a scalar (Eq. 10)."""
    return torch.stack([(gram(a) - gram(b)).abs().mean() for a, b in zip(made, truth, strict=True)]).sum()
