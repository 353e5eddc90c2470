"""Contextual similarity: how alike two pictures' features are, wherever in the picture they lie (Mechrez et al., ECCV
2018)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-5
_WIDEST = 64  # places a side; every place is compared with every other, so wider maps are averaged down first


def contextual_similarity(first: Tensor, second: Tensor, bandwidth: float = 0.5) -> Tensor:
    """CX (B,) in (0, 1] of feature maps (B, C, h, w) and (B, C, h', w'); Mechrez et al., Eq. 1-4.

    Cosine distances after the second's mean is taken off both; each divided by the least of its row in `first`; exp of
    (1 - distance) / bandwidth, normalised over the row; of these the greatest for each place of `second`, averaged.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float().flatten(2), second.float().flatten(2)
        mean = second.mean(2, keepdim=True)
        x, y = F.normalize(first - mean, dim=1), F.normalize(second - mean, dim=1)
        distance = (1 - x.transpose(1, 2) @ y).clamp_min(0)  # B, h w, h' w'
        relative = distance / (distance.amin(2, keepdim=True) + _EPSILON)
        return ((1 - relative) / bandwidth).softmax(2).amax(1).mean(1)


def contextual_loss(
    first: Sequence[Tensor], second: Sequence[Tensor], weights: Sequence[float] | None = None, bandwidth: float = 0.5
) -> Tensor:
    """-log of the weighted sum over layers of CX (MIDM, Eq. 16), mean over the batch.

    first, second: feature maps a layer, as in `contextual_similarity`, averaged down to at most 64 places a side.
    weights: one a layer; equal ones where None.
    """
    weights = [1.0] * len(first) if weights is None else list(weights)
    total = sum(weights)
    similar = sum(
        (
            w / total * contextual_similarity(_fewer(a), _fewer(b), bandwidth)
            for w, a, b in zip(weights, first, second, strict=True)
        ),
        torch.zeros(()),
    )
    return -torch.log(similar.clamp_min(_EPSILON)).mean()


def _fewer(features: Tensor) -> Tensor:
    height, width = features.shape[2:]
    side = max(height, width)
    if side <= _WIDEST:
        return features
    return F.adaptive_avg_pool2d(features, (max(1, height * _WIDEST // side), max(1, width * _WIDEST // side)))
