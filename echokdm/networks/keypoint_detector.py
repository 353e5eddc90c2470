"""Unsupervised key-points: the centres of mass of learned heat maps (F_K of Liu et al., Eq. 1; Jakab et al., NeurIPS
2018)."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.hourglass import Hourglass
from echokdm.ops.resample import rescale_points, shrink
from echokdm.ops.warp import pixel_grid


def soft_argmax(logits: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean position under softmax(logits / temperature): (B, K, h, w) -> (B, K, 2), (x, y) px of that size."""
    weight = (logits.float() / temperature).flatten(2).softmax(-1)
    return weight @ pixel_grid(logits.shape[2], logits.shape[3], logits.device).flatten(2)[0].T


class KeypointDetector(ConfiguredModel):
    """F_K: K key-points of a picture, found on a copy `downscale` times smaller; the schema is `learned(points)`.

    widths: of the hourglass's levels. The picture's size must be divisible by downscale * 2 ** len(widths).
    """

    @register_to_config
    def __init__(
        self,
        points: int = 10,
        downscale: int = 4,
        widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.body = Hourglass(3, tuple(widths))
        self.head = nn.Conv2d(self.body.out_channels, points, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [0, 1] -> (B, K, 2) px (x, y) of the image."""
        size = image.shape[2] // self.config.downscale, image.shape[3] // self.config.downscale
        with torch.autocast(image.device.type, enabled=False):  # a low temperature makes much of small errors
            maps = self.head(self.body(shrink(image.float(), *size) * 2 - 1))
        return rescale_points(soft_argmax(maps, self.config.temperature), size, (image.shape[2], image.shape[3]))
