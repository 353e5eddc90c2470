"""The refinement network R: an encoder of the source, its features warped by a flow, a decoder ("Pose transfer using a
single spatial transformation", section 3.2 and appendix A)."""

from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import warp


class _Residual(nn.Module):
    """Fig. 3: x + conv(relu(bn(conv(relu(bn(x)))))) of 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *[
                layer
                for _ in range(2)
                for layer in (nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1))
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, h, w) -> the same shape."""
        return x + self.body(x)


class RefinementNet(ConfiguredModel):
    """R, without skip connections and without any guide but the flow: all that the decoder reads has been warped.

    channels: outputs of the encoder's convolutions, each followed by a down-sampling by 2. blocks: residual blocks.
    residual: the decoder's output is added to the source image warped by the same flow, False in the paper; it starts
    from nothing, so that what the flow alone does well is kept from the first step on.
    """

    @register_to_config
    def __init__(self, channels: tuple[int, ...] = (128, 256), blocks: int = 6, residual: bool = False) -> None:
        super().__init__()
        widths = [3, *channels]
        self.encoder = nn.Sequential(
            *[
                layer
                for a, b in zip(widths, widths[1:], strict=False)
                for layer in (nn.Conv2d(a, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU(), nn.AvgPool2d(2))
            ]
        )
        downwards = [*reversed(channels), max(channels[0] // 2, 8)]
        ups = [
            layer
            for a, b in zip(downwards, downwards[1:], strict=False)
            for layer in (
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(a, b, 3, 1, 1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            )
        ]
        last = nn.Conv2d(downwards[-1], 3, 7, 1, 3)
        if residual:
            for values in last.parameters():
                nn.init.zeros_(values)
        self.decoder = nn.Sequential(*[_Residual(channels[-1]) for _ in range(blocks)], *ups, last)

    def forward(self, source: Tensor, flow: Tensor) -> Tensor:
        """y_o = D_ref(T(E_ref(I_s), f)): source (B, 3, H, W) in [0, 1], flow (B, 2, H, W) px -> (B, 3, H, W) in about
        [0, 1]."""
        features = self.encoder(source * 2 - 1).float()
        moved = warp(features, resize_flow(flow.float(), *features.shape[2:]))
        made = self.decoder(moved).float()
        return warp(source, flow.float()) + made if self.config.residual else made.sigmoid()
