"""A detector of key-points in pictures: one heat map a point, its centre of mass the place."""

import torch
from diffusers.configuration_utils import register_to_config
from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor

from echokdm.networks.configured import ConfiguredModel
from echokdm.ops.warp import pixel_grid


class LandmarkNet(ConfiguredModel):
    """MONAI's BasicUNet to `points` heat maps; coordinates by soft-argmax (Nibali et al. 2018, "DSNT").

    Norms are per instance, so a picture's points do not depend on its batch. features: MONAI's six widths, fine to
    coarse and last.
    """

    @register_to_config
    def __init__(
        self, points: int = 68, channels: int = 3, features: tuple[int, ...] = (24, 32, 48, 64, 96, 32)
    ) -> None:
        super().__init__()
        self.unet = BasicUNet(
            2,
            channels,
            points,
            features=tuple(features),
            norm=("instance", {"affine": True}),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            upsample="nontrainable",
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (B, C, H, W) in [0, 1], sides multiples of 16 -> points (B, N, 2) px (x, y), heat maps (B, N, H, W)
        that sum to 1."""
        maps = self.unet(images * 2 - 1).float()
        heat = maps.flatten(2).softmax(-1)
        places = pixel_grid(images.shape[2], images.shape[3], images.device)[0].flatten(1).T
        return heat @ places, heat.view_as(maps)

    @torch.no_grad()
    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images (T, C, H, W) in [0, 1] -> points (T, N, 2) px and how unsure they are (T,), on the CPU.

        Unsure: the median heat map's standard deviation as a share of the picture's side. One picture at a time, so
        that no batch changes a byte.
        """
        points, unsure = [], []
        for image in images:
            found, heat = self(image[None].to(self.device))
            points.append(found)
            unsure.append(spread(found, heat).median() / image.shape[-1])
        return torch.cat(points).cpu(), torch.stack(unsure).cpu()


def spread(points: Tensor, heat: Tensor) -> Tensor:
    """Standard deviation in px, a coordinate, of heat maps (B, N, H, W) about their points (B, N, 2) -> (B, N)."""
    away = (pixel_grid(heat.shape[2], heat.shape[3], heat.device)[:, None] - points[..., None, None]).square().sum(2)
    return ((heat * away).sum((2, 3)) / 2 + 1e-6).sqrt()
