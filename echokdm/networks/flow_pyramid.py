"""A convolutional pyramid that says, at several resolutions, where to fetch from, how far to trust it, and what is
hidden."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.ops.flow import resize_flow

GROUPS = 8  # of the group normalisation


class FlowLevel(NamedTuple):
    """flow (B, 2, h, w) backward, px of this level; attention (B, 1, h, w) logits; occlusion (B, 1, h, w) in [0, 1], 1
    where hidden."""

    flow: Tensor
    attention: Tensor
    occlusion: Tensor


def residual_block(channels: int, out_channels: int) -> ResnetBlock2D:
    """Two 3x3 convolutions, group-normalised, around a skip."""
    # None is no embedding of time, which the type does not say.
    return ResnetBlock2D(in_channels=channels, out_channels=out_channels, temb_channels=None, groups=GROUPS)  # type: ignore[arg-type]


class FlowPyramid(ConfiguredModel):
    """F of the multi-source residual-flow method (its Eq. 2): one backbone, an output layer a level.

    in_channels: of everything it sees, at image size. strides: of the levels, from the coarsest to the finest. stem:
    the stride at which the backbone starts, by folding pixels into channels; finer levels are interpolated from it.
    block_out_channels: of the backbone at strides stem, 2 stem, 4 stem...
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 9,
        strides: tuple[int, ...] = (8, 4),
        stem: int = 1,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 256, 256),
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        at = {stem * 2**j: j for j in range(len(widths))}
        if any(s not in at and s >= stem or stem % s and s < stem for s in strides):
            raise ValueError(f"Levels of strides {tuple(strides)} can't be read off a backbone of strides {tuple(at)}.")
        self.enter = nn.Conv2d(in_channels * stem**2, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(
            [nn.Identity()]
            + [
                Downsample2D(a, use_conv=True, out_channels=b, padding=1, name="op")
                for a, b in zip(widths, widths[1:], strict=False)
            ]
        )
        self.encode = nn.ModuleList([residual_block(w, w) for w in widths])
        self.up = nn.ModuleList(
            [Upsample2D(b, use_conv=True, out_channels=a) for a, b in zip(widths, widths[1:], strict=False)]
        )
        self.decode = nn.ModuleList([residual_block(2 * w, w) for w in widths[:-1]])
        self.heads = nn.ModuleList([_head(widths[at.get(s, 0)], max(stem // s, 1)) for s in strides])
        self.reads = [at.get(s, 0) for s in strides]  # which map of the backbone a level's head reads

    def forward(self, seen: Tensor, start: Tensor | None = None) -> list[FlowLevel]:
        """seen (B, in_channels, H, W) -> a level a stride. start (B, 2, H, W) px: flows are what is to be added to
        it."""
        x = self.enter(F.pixel_unshuffle(seen, self.config.stem))
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            x = encode(down(x), None)
            skips.append(x)
        maps = {len(skips) - 1: x}
        for j in reversed(range(len(skips) - 1)):
            x = self.decode[j](torch.cat([self.up[j](x, skips[j].shape[2:]), skips[j]], 1), None)
            maps[j] = x
        levels = []
        for j, head in zip(self.reads, self.heads, strict=True):
            out = head(maps[j])
            flow = out[:, :2]
            if start is not None:
                flow = flow + resize_flow(start, *flow.shape[2:])
            levels.append(FlowLevel(flow, out[:, 2:3], out[:, 3:].sigmoid()))
        return levels


def _head(channels: int, finer: int) -> nn.Sequential:
    """To flow, attention and occlusion, on a map interpolated to `finer` times its size; starts at no flow and little
    hidden."""
    out = nn.Conv2d(channels, 4, 3, 1, 1)
    nn.init.zeros_(out.weight)
    assert out.bias is not None
    with torch.no_grad():
        out.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0]))
    between = nn.Upsample(scale_factor=finer, mode="bilinear", align_corners=True) if finer > 1 else nn.Identity()
    return nn.Sequential(nn.SiLU(), between, out)
