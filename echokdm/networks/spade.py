"""Spatially-adaptive normalisation and the residual block built on it (Park et al., CVPR 2019)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Spade(nn.Module):
    """Group-normalise, then scale and shift every place by what a condition says there (SPADE, Eq. 1).

    Without a condition (condition_channels 0) it is plain group normalisation with its own scale and shift.
    """

    def __init__(self, channels: int, condition_channels: int = 0, hidden: int = 32, groups: int = 8) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, affine=condition_channels == 0)
        self.shared: nn.Conv2d | None = None
        self.gamma: nn.Conv2d | None = None
        self.beta: nn.Conv2d | None = None
        if condition_channels:
            self.shared = nn.Conv2d(condition_channels, hidden, 3, 1, 1)
            self.gamma, self.beta = (nn.Conv2d(hidden, channels, 3, 1, 1) for _ in range(2))

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """features (B, C, h, w), condition (B, condition_channels, H, W) of any size -> (B, C, h, w)."""
        normal = self.norm(features)
        if self.shared is None or self.gamma is None or self.beta is None or condition is None:
            return normal
        seen = F.relu(self.shared(F.interpolate(condition.to(normal.dtype), features.shape[2:], mode="area")))
        return normal * (1 + self.gamma(seen)) + self.beta(seen)


class SpadeBlock(nn.Module):
    """Two 3x3 convolutions, each behind a `Spade` and a SiLU, around a skip connection."""

    def __init__(self, in_channels: int, out_channels: int, condition_channels: int = 0) -> None:
        super().__init__()
        self.first, self.second = Spade(in_channels, condition_channels), Spade(out_channels, condition_channels)
        self.conv_first = nn.Conv2d(in_channels, out_channels, 3, 1, 1)
        self.conv_second = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w); condition as in `Spade`."""
        hidden = self.conv_first(F.silu(self.first(features, condition)))
        return self.skip(features) + self.conv_second(F.silu(self.second(hidden, condition)))
