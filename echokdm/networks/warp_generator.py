"""A generator in two halves, with a warp between them: pictures to features, features to a picture (F_G of Liu et
al.)."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.hourglass import conv_block


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), as in FOMM's generator."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = max(1, channels // 8)
        self.body = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, value: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return value + self.body(value)


class WarpGenerator(ConfiguredModel):
    """Features at 2 ** downs times smaller than the picture; the decoder takes `inputs` sets of them, side by side.

    width: of the first layer, doubled at each level up to widest. blocks: residual ones in the decoder. copies:
    pictures that the decoder may let through, each pixel by its own mask, as in Articulated Animation (Siarohin et al.,
    CVPR 2021, its "skips").
    """

    @register_to_config
    def __init__(
        self, width: int = 64, widest: int = 512, downs: int = 2, blocks: int = 6, inputs: int = 2, copies: int = 0
    ) -> None:
        super().__init__()
        widths = [min(width << i, widest) for i in range(downs + 1)]
        self.channels = widths[-1]
        self.first = conv_block(3, width, 7)
        self.down = nn.ModuleList(conv_block(i, o, stride=2) for i, o in zip(widths, widths[1:], strict=False))
        self.join = nn.Conv2d(inputs * self.channels, self.channels, 3, padding=1)
        self.middle = nn.Sequential(*(ResidualBlock(self.channels) for _ in range(blocks)))
        self.up = nn.ModuleList(conv_block(i, o) for i, o in zip(reversed(widths), widths[-2::-1], strict=False))
        self.last = nn.Conv2d(width, 3 + (copies + 1 if copies else 0), 7, padding=3)

    def encode(self, image: Tensor) -> Tensor:
        """F_S: image (B, 3, H, W) in [0, 1] -> features (B, C, h, w)."""
        value = self.first(image * 2 - 1)
        for block in self.down:
            value = block(value)
        return value

    def forward(self, features: Tensor, copies: Tensor | None = None) -> Tensor:
        """features (B, inputs * C, h, w) and, where the network has them, copies (B, n, 3, H, W) -> image (B, 3, H, W)
        in [0, 1]."""
        value = self.middle(self.join(features))
        for block in self.up:
            value = block(F.interpolate(value, scale_factor=2, mode="nearest"))
        value = self.last(value).float()
        made = value[:, :3].sigmoid()
        if copies is None:
            return made
        return (value[:, 3:].softmax(1)[:, :, None] * torch.cat([made[:, None], copies], 1)).sum(1)
