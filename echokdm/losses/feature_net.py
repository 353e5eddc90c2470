"""The perceptual feature net that comes with the package: taught on simulators alone, without a label or a
photograph."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from echokdm.core.errors import BundleError
from echokdm.core.weights import load_network

SHIPPED = Path(__file__).resolve().parents[1] / "bundles" / "perceptual" / "features"
STRIDES = (2, 4, 8, 16, 16)  # of the five stages, SqueezeNet's


class FeatureNet(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both have a config_name, and ModelMixin's counts
    """Five stages of convolutions, halved between the first four by an average that does not alias, and a weight a
    channel.

    A picture moved by a pixel gives nearly the same features, one of another texture does not: see
    `methods.perceptual`.

    widths: channels of each stage. scales: what each stage's activations are multiplied by where they serve as features
    themselves. compared: the first so many stages make the distance.
    """

    @register_to_config
    def __init__(
        self,
        widths: tuple[int, ...] = (32, 48, 96, 128, 128),
        scales: tuple[float, ...] = (1.0,) * 5,
        compared: int = 5,
    ) -> None:
        super().__init__()
        before = (3, *widths[:-1])
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2), nn.ReLU())])
        for wide_in, wide in zip(before[1:], widths[1:], strict=True):
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(wide_in, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU()
                )
            )
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(wide)) for wide in widths])

    def forward(self, images: Tensor, stages: int = 5) -> list[Tensor]:
        """images (B, 3, H, W) in [0, 1] -> activations (B, C, h, w) of the first `stages`, at the strides STRIDES."""
        value, reached = ((images - 0.3) / 0.25).contiguous(memory_format=torch.channels_last), []
        for i, stage in enumerate(self.stages[:stages]):
            if i and STRIDES[i] > STRIDES[i - 1]:
                value = F.avg_pool2d(value, 3, 2, 1, count_include_pad=False)
            value = stage(value)
            reached.append(value)
        return reached

    def activations(self, images: Tensor, stages: int) -> list[Tensor]:
        """As `forward`, brought to the size of SqueezeNet's, which the weights of losses here are for."""
        return [value * scale for value, scale in zip(self(images, stages), self.config["scales"], strict=False)]

    def differences(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Weighted squared differences of the unit-length features, (B, 1, h, w) a stage (the form of LPIPS, Zhang et
        al. 2018, Eq. 1)."""
        maps = (unit_length(value).chunk(2) for value in self(torch.cat([first, second]), self.config["compared"]))
        return [weighted_difference(a, b, weight) for (a, b), weight in zip(maps, self.weights, strict=False)]


def unit_length(features: Tensor) -> Tensor:
    """Features (B, C, h, w) divided by their length over channels; what is all but zero stays so."""
    return features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()


def weighted_difference(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Sum over channels of |weight| x squared difference: features (..., C, h, w), weight (C,) -> (..., 1, h, w)."""
    return ((first - second).square() * weight.abs().view(-1, 1, 1)).sum(-3, keepdim=True)


def load_shipped() -> tuple[FeatureNet, str]:
    """The net that comes with the package, in float32, and a line that names it by its weights' hash. Raises
    BundleError."""
    try:
        net = load_network(FeatureNet, SHIPPED)
        digest = hashlib.sha256((SHIPPED / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()[:12]
    except (OSError, BundleError):
        raise BundleError("The package's own feature net is missing or damaged: install echokdm again.") from None
    return net, f"the package's own feature net (sha256 {digest})"
