"""Encoders that bring a condition, an exemplar and a picture in the making into one feature space to be matched in
(MIDM)."""

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.spade import SpadeBlock

Role = Literal["condition", "exemplar", "estimate"]


class DomainEncoder(nn.Module):
    """Features of a latent at its own resolution, from as wide a neighbourhood as its levels reach.

    channels: one a level, each at half the resolution of the one before. condition_channels: of a condition that every
    normalisation adapts to (SPADE); 0 for none.
    """

    def __init__(self, in_channels: int, features: int, channels: tuple[int, ...], condition_channels: int = 0) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_channels, channels[0], 3, 1, 1)
        pairs = list(zip(channels, channels[1:], strict=False))
        self.down = nn.ModuleList(SpadeBlock(c, c, condition_channels) for c in channels[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(c, d, 3, 2, 1) for c, d in pairs)
        self.middle = SpadeBlock(channels[-1], channels[-1], condition_channels)
        self.grow = nn.ModuleList(nn.Conv2d(d, c, 3, 1, 1) for c, d in reversed(pairs))
        self.up = nn.ModuleList(SpadeBlock(2 * c, c, condition_channels) for c in reversed(channels[:-1]))
        self.leave = nn.Conv2d(channels[0], features, 1)

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """latent (B, in_channels, h, w), condition (B, condition_channels, h, w) -> (B, features, h, w)."""
        x = self.enter(latent.contiguous(memory_format=torch.channels_last))  # the faster layout on a CPU
        kept = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            kept.append(block(x, condition))
            x = shrink(kept[-1])
        x = self.middle(x, condition)
        for grow, block in zip(self.grow, self.up, strict=True):
            skip = kept.pop()
            x = block(torch.cat([skip, grow(F.interpolate(x, skip.shape[2:]))], 1), condition)
        return self.leave(x)


class DomainMatcher(ConfiguredModel):
    """F_X of conditions, F_Y of exemplars, F_Y^iter of pictures in the making under a condition, each with its own
    weights.

    latent_channels: of the codec. features: channels of the common space. channels: of the encoders' levels.
    """

    @register_to_config
    def __init__(
        self, latent_channels: int = 3, features: int = 64, channels: tuple[int, ...] = (64, 128, 128)
    ) -> None:
        super().__init__()
        form = (latent_channels, features, tuple(channels))
        self.encoders = nn.ModuleDict(
            {
                "condition": DomainEncoder(*form),
                "exemplar": DomainEncoder(*form),
                "estimate": DomainEncoder(*form, condition_channels=latent_channels),
            }
        )

    def forward(self, role: Role, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features (B, features, h, w) of latents (B, L, h, w), as what their role is.

        "condition": S_X = F_X(D_X). "exemplar": S_Y = F_Y(D_Y). "estimate": F_Y^iter(x0 prediction, D_X), with D_X in
        `condition` (B, L, h, w); MIDM, Eq. 8.
        """
        return self.encoders[role](latent, condition)
