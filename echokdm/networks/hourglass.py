"""The encoder-decoder with skips that predicts fields from pictures (Newell et al., ECCV 2016; sizes as in FOMM)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, group normalisation, ReLU. Norms are per sample, so no batch changes a result."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2),
        nn.GroupNorm(max(1, out_channels // 8), out_channels),
        nn.ReLU(),
    )


class Hourglass(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W); H and W divisible by 2 ** len(widths).

    widths: of the encoder's levels, each half the size of the one before. out_channels: in_channels + widths[0], since
    the input is joined to what the decoder gives.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(conv_block(i, o) for i, o in zip(inputs, widths, strict=True))
        outputs = (widths[0], *widths[:-1])
        above = [widths[-1], *(outputs[i] + widths[i - 1] for i in range(len(widths) - 1, 0, -1))]
        self.up = nn.ModuleList(conv_block(i, o) for i, o in zip(above, reversed(outputs), strict=True))
        self.out_channels = in_channels + widths[0]

    def forward(self, image: Tensor) -> Tensor:
        """The input beside features of all scales."""
        skips = [image]
        for block in self.down:
            skips.append(F.avg_pool2d(block(skips[-1]), 2))
        value = skips.pop()
        for block in self.up:
            value = torch.cat([block(F.interpolate(value, scale_factor=2, mode="nearest")), skips.pop()], 1)
        return value
