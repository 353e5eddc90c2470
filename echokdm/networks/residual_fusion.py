"""Fusing K misaligned sources into one picture: residual flow, occlusion matting, attention (residual-flow method, Eq.
3-6)."""

from typing import NamedTuple

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.flow_pyramid import FlowLevel, residual_block
from echokdm.ops.warp import warp


class Fused(NamedTuple):
    """image (B, C, H, W); of each level, coarse to fine, refined flows (B, K, 2, h, w) px and attentions (B, K, 1, h,
    w), sum 1 over K."""

    image: Tensor
    flows: list[Tensor]
    attentions: list[Tensor]


class RFBlock(nn.Module):
    """One residual-fusing block without its decoder: K branches of shared weights at one resolution.

    channels: of the source and the target features. residual, attention, occlusion: off, for the paper's ablations
    (Table 4).
    """

    def __init__(self, channels: int, residual: bool = True, attention: bool = True, occlusion: bool = True) -> None:
        super().__init__()
        self.residual, self.attention, self.occlusion = residual, attention, occlusion
        self.predictor: nn.Sequential | None = None
        if self.residual:
            last = nn.Conv2d(channels, 2, 3, 1, 1)
            for values in last.parameters():
                nn.init.zeros_(values)
            self.predictor = nn.Sequential(nn.Conv2d(2 * channels, channels, 3, 1, 1), nn.SiLU(), last)

    def residual_flow(self, target: Tensor, source: Tensor, flow: Tensor) -> Tensor:
        """Eq. 3 and 4: r = R(f_t, W(f, w)). target, source (B, C, h, w), flow (B, 2, h, w) px -> (B, 2, h, w) px."""
        assert self.predictor is not None  # asked of a block with residual flow alone
        return self.predictor(torch.cat([target, warp(source, flow)], 1))

    def refine(self, target: Tensor, source: Tensor, flow: Tensor, residual: bool = True) -> tuple[Tensor, Tensor]:
        """Eq. 5: W(f, w + r) (B, C, h, w), and w + r; r is 0 where the block has no residual flow, or it is not
        wanted."""
        if residual and self.predictor is not None:
            flow = flow + self.residual_flow(target, source, flow)
        return warp(source, flow), flow

    def weights(self, logits: Tensor) -> Tensor:
        """(B, K, 1, h, w) attentions: a softmax over the K sources at each place; all alike where the block has no
        attention."""
        return (logits if self.attention else torch.zeros_like(logits)).softmax(1)

    def fuse(self, target: Tensor, refined: Tensor, attention: Tensor, occlusion: Tensor) -> Tensor:
        """Eq. 6 before D: sum over k of a_k (f_k (1 - m_k) + f_t m_k).

        target (B, C, h, w); refined (B, K, C, h, w); attention, that sums to 1, and occlusion (B, K, 1, h, w) -> (B, C,
        h, w).
        """
        if self.occlusion:
            refined = refined * (1 - occlusion) + target[:, None] * occlusion
        return (attention * refined).sum(1)

    def forward(
        self, target: Tensor, sources: Tensor, level: FlowLevel, residual: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """target (B, C, h, w), sources (B, K, C, h, w), level of the B K sources -> fused, refined flows,
        attentions."""
        batch, count = sources.shape[:2]
        repeated = target[:, None].expand_as(sources).flatten(0, 1)
        # half precision can't hold a place
        refined, flow = self.refine(repeated, sources.flatten(0, 1).float(), level.flow, residual)
        refined, flow, logits, occlusion = (
            v.unflatten(0, (batch, count)) for v in (refined, flow, level.attention, level.occlusion)
        )
        attention = self.weights(logits)
        return self.fuse(target, refined, attention, occlusion), flow, attention


class ResidualFusion(ConfiguredModel):
    """Features of K sources, fused level by level into the target's picture; any K >= 1, in any order.

    image_channels, structure_channels: of a source and of the target's structure. strides: of the levels, coarsest
    first, each half the last. block_out_channels: of features at strides 1, 2, 4... residual, attention, occlusion: see
    `RFBlock`. At the start of training the finest level passes the fused picture on as it is, where that level is of
    stride 1.
    """

    @register_to_config
    def __init__(
        self,
        image_channels: int = 3,
        structure_channels: int = 3,
        strides: tuple[int, ...] = (8, 4),
        block_out_channels: tuple[int, ...] = (64, 128, 256, 256),
        residual: bool = True,
        attention: bool = True,
        occlusion: bool = True,
    ) -> None:
        super().__init__()
        strides, widths = tuple(strides), tuple(block_out_channels)
        if strides[0] != 2 ** (len(widths) - 1) or any(a != 2 * b for a, b in zip(strides, strides[1:], strict=False)):
            raise ValueError(
                f"Levels of strides {strides} need as many widths as halvings, and each stride half the one before."
            )
        self.source = _Encoder(image_channels, widths)
        self.structure = _Encoder(structure_channels, widths)
        at = [len(widths) - 1 - i for i in range(len(strides))]  # which map of the encoders a level uses
        self.reads = at
        self.blocks = nn.ModuleList([RFBlock(widths[j], residual, attention, occlusion) for j in at])
        self.decoders = nn.ModuleList([_Decoder(widths[j], widths[j - 1]) for j in at[:-1]])
        self.last = residual_block(widths[at[-1]], widths[at[-1]])
        for values in self.last.conv2.parameters():
            nn.init.zeros_(values)
        self.rest = nn.ModuleList([_Decoder(widths[j], widths[j - 1]) for j in range(at[-1], 0, -1)])
        self.leave = nn.Conv2d(widths[0], image_channels, 3, 1, 1)
        with torch.no_grad():
            assert self.leave.bias is not None and self.source.enter.bias is not None
            nn.init.dirac_(self.leave.weight)
            self.leave.bias.zero_()
            nn.init.dirac_(self.source.enter.weight[:image_channels])
            self.source.enter.bias[:image_channels] = 0

    def forward(self, sources: Tensor, structure: Tensor, levels: list[FlowLevel], residual: bool = True) -> Fused:
        """sources (B, K, C, H, W) in [-1, 1], the target's structure (B, S, H, W), levels of the B K sources by
        `FlowPyramid`.

        residual: whether blocks that have a residual flow use it.
        """
        batch, count = sources.shape[:2]
        features = self.source(sources.flatten(0, 1))
        target = self.structure(structure)[-1]
        flows, attentions = [], []
        for i, (j, block) in enumerate(zip(self.reads, self.blocks, strict=True)):
            fused, flow, attention = block(target, features[j].unflatten(0, (batch, count)), levels[i], residual)
            flows.append(flow)
            attentions.append(attention)
            target = self.decoders[i](fused) if i < len(self.decoders) else self.last(fused, None)
        for decoder in self.rest:
            target = decoder(target)
        return Fused(self.leave(target), flows, attentions)


class _Encoder(nn.Module):
    """A linear layer at full size, then half the size and a residual block a level: features at strides 1, 2, 4..."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(
            [
                Downsample2D(a, use_conv=True, out_channels=b, padding=1, name="op")
                for a, b in zip(widths, widths[1:], strict=False)
            ]
        )
        self.blocks = nn.ModuleList([residual_block(w, w) for w in widths[1:]])

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, channels, H, W) -> (B, widths[i], H / 2^i, W / 2^i) each, fine to coarse."""
        features = [self.enter(image)]
        for down, block in zip(self.down, self.blocks, strict=True):
            features.append(block(down(features[-1]), None))
        return features


class _Decoder(nn.Module):
    """D of Eq. 6: a residual block, then twice the size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = residual_block(channels, channels)
        self.up = Upsample2D(channels, use_conv=True, out_channels=out_channels)

    def forward(self, fused: Tensor) -> Tensor:
        """fused (B, channels, h, w) -> (B, out_channels, 2h, 2w)."""
        return self.up(self.block(fused, None))
