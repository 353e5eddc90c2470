"""PWC-lite: the optical flow network of ARFlow (Liu et al. 2020, a light PWC-Net), KDM's OF-net (paper, section 3.1).

Every convolution that halves the resolution has kernel 3, stride 2, padding 1, so pixel i of level l lies at pixel 2^l
i of the image. Flows are carried from level to level on exactly that grid: no half-pixel drift, and any image size
works unpadded.
"""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.core.precision import fast_arithmetic
from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.correlation import local_correlation
from echokdm.ops.warp import warp

SLOPE = 0.1  # of the leaky rectifiers


def upsample_flow(flow: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Flow (B, 2, h, w) on a grid of every `factor`-th pixel -> (B, 2, *size) px of the finer grid, whose values are
    `factor` larger.

    Fine pixel p reads coarse position p / factor; `size` must not exceed factor * (h, w).
    """
    h, w = flow.shape[2:]
    padded = F.pad(flow * factor, (0, 1, 0, 1), mode="replicate")
    fine = F.interpolate(padded, (factor * h + 1, factor * w + 1), mode="bilinear", align_corners=True)
    return fine[:, :, : size[0], : size[1]]


def _conv(c_in: int, c_out: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, dilation, dilation), nn.LeakyReLU(SLOPE, inplace=True))


def _to_directions(features: Tensor) -> Tensor:
    """Features freed of each channel's mean over the image and brought to length sqrt(C): their correlation is a
    cosine.

    Rectified features share a large positive mean, which hides the peak: with untrained weights on speckle the cost's
    maximum is at the true displacement in 1 % of the pixels; after this, in 97 to 100 %.
    """
    values = features.float()
    values = values - values.mean((2, 3), keepdim=True)
    return (F.normalize(values, dim=1) * values.shape[1] ** 0.5).to(features.dtype)


class _Estimator(nn.Module):
    """Flow decoder: each layer sees the two before it."""

    def __init__(self, c_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c, d, e = widths
        ins = (c_in, a, a + b, b + c, c + d)
        self.layers = nn.ModuleList(_conv(i, o) for i, o in zip(ins, (a, b, c, d, e), strict=True))
        self.predict = nn.Conv2d(d + e, 2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = self.layers[0](x)
        now = self.layers[1](before)
        for layer in self.layers[2:]:
            before, now = now, layer(torch.cat([before, now], 1))
        return now, self.predict(torch.cat([before, now], 1))


class PWCLite(ConfiguredModel):
    """Dense backward flow between two images; 2.24 M parameters as published (`in_channels=3`, defaults else).

    in_channels: 1 for gray images. pyramid: channels of levels 1/2, 1/4, ... radius: of the cost volume. features:
    channels to which each level's features are brought before decoding. estimator, context: channels of the two nets
    shared by all levels. output_level: the finest decoded level, 1/2^output_level; flows are brought up from there.
    normalized_cost: correlate centred features by their cosine, so that learning starts from a cost volume that already
    tells displacements.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        pyramid: tuple[int, ...] = (16, 32, 64, 96, 128, 192),
        radius: int = 4,
        features: int = 32,
        estimator: tuple[int, ...] = (128, 128, 96, 64, 32),
        context: tuple[int, ...] = (128, 128, 128, 96, 64, 32),
        output_level: int = 2,
        normalized_cost: bool = False,
    ) -> None:
        super().__init__()
        channels = (in_channels, *pyramid)
        self.pyramid_blocks = nn.ModuleList(
            nn.Sequential(_conv(i, o, stride=2), _conv(o, o)) for i, o in zip(channels[:-1], channels[1:], strict=True)
        )
        self.to_features = nn.ModuleList(nn.Conv2d(c, features, 1) for c in pyramid[output_level - 1 :])
        self.decoder = _Estimator((2 * radius + 1) ** 2 + features + 2, tuple(estimator))
        ins = (estimator[-1] + 2, *context[:-1])
        dilations = (1, 2, 4, 8, 16, 1)
        last = nn.Conv2d(context[-1], 2, 3, padding=1)
        self.refiner = nn.Sequential(
            *(_conv(i, o, dilation=d) for i, o, d in zip(ins, context, dilations, strict=True)), last
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for head in (self.decoder.predict, last):
            # the first flows are near zero, where photometric losses can start from
            nn.init.normal_(head.weight, std=1e-3)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Image (B, in_channels, H, W) in [0, 1] -> features of the decoded levels, coarsest first."""
        levels = []
        for block in self.pyramid_blocks:
            image = block(image)
            levels.append(image)
        return levels[self.config.output_level - 1 :][::-1]

    def decode(self, target: list[Tensor], source: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Features of two images -> flows, finest first, in px of their own grids: every 1st, 2nd, 4th ... pixel of
        `size`."""
        flows: list[Tensor] = []
        flow = torch.zeros_like(target[0][:, :2], dtype=torch.float32)
        for level, (a, b) in enumerate(zip(target, source, strict=True)):
            if level:
                flow = upsample_flow(flow, 2, (a.shape[2], a.shape[3]))
                b = warp(b.float(), flow).to(b.dtype)
            first, second = (_to_directions(a), _to_directions(b)) if self.config.normalized_cost else (a, b)
            cost = F.leaky_relu(local_correlation(first, second, self.config.radius), SLOPE)
            a = self.to_features[len(target) - 1 - level](a)
            feature, residual = self.decoder(torch.cat([cost, a, flow.to(cost.dtype)], 1))
            flow = flow + residual.float()
            flow = flow + self.refiner(torch.cat([feature, flow.to(feature.dtype)], 1)).float()
            flows.append(flow)
        up = 2**self.config.output_level
        strides = [2**i for i in range(len(flows))]
        return [
            upsample_flow(f, up, (-(-size[0] // s), -(-size[1] // s)))
            for f, s in zip(flows[::-1], strides, strict=True)
        ]

    def forward(self, target: Tensor, source: Tensor, both_ways: bool = False) -> list[Tensor]:
        """Images (B, C, H, W) in [0, 1] -> flows finest first; the first is (B, 2, H, W): target(p) ~ source(p +
        flow(p)).

        The others belong to every 2nd, 4th ... pixel, in px of those grids. both_ways: flows (2B, 2, H, W), those of
        (target, source) followed by those of (source, target); each image is encoded once.
        """
        n = target.shape[0]
        features = self.encode(torch.cat([target, source]))
        if both_ways:
            first, second = features, [torch.cat([f[n:], f[:n]]) for f in features]
        else:
            first, second = [f[:n] for f in features], [f[n:] for f in features]
        return self.decode(first, second, (target.shape[2], target.shape[3]))

    @torch.no_grad()
    def flow(self, target: Tensor, source: Tensor) -> Tensor:
        """The finest flow alone, (B, 2, H, W) px, float32, without gradients."""
        with fast_arithmetic(target.device):
            return self(target, source)[0].float()
