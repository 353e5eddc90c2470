"""The left-ventricle segmenter: a small MONAI U-Net that saves as a diffusers component."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from monai.networks.nets import BasicUNet
from torch import Tensor

CLASSES = ("background", "LV", "myocardium", "LA", "RV", "RA")
LV, MYOCARDIUM, LA = 1, 2, 3


class Segmenter(ModelMixin, ConfigMixin):
    """Cardiac chambers in one apical-4-chamber frame.

    The brightness inside the sector is standardised per frame, so gain and display window matter little, and norms are
    per instance, so a frame's result does not depend on its batch. It sees the clip's mean and spread in time beside the
    frame, which show walls that a single frame hides. Falk et al. 2019 (MONAI's BasicUNet).

    features: MONAI's six widths, fine to coarse and last. classes: `CLASSES` or its beginning.
    """

    @register_to_config
    def __init__(self, classes: int = 6, features: tuple[int, ...] = (16, 24, 48, 64, 96, 16)) -> None:
        super().__init__()
        self.unet = BasicUNet(2, 4, classes, features=tuple(features), norm=("instance", {"affine": True}),
                              act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}), upsample="nontrainable")

    def forward(self, image: Tensor, sector: Tensor, context: Tensor | None = None) -> Tensor:
        """Class logits (B, classes, H, W) of frames (B, 1, H, W) in [0, 1]; sector (B, 1, H, W), true inside.

        context: (B, 2, H, W), mean and standard deviation in time of each frame's clip; None for a frame by itself.
        """
        inside = sector.to(image.dtype)
        count = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
        mean = (image * inside).sum((1, 2, 3), keepdim=True) / count
        spread = (((image - mean) * inside).square().sum((1, 2, 3), keepdim=True) / count).sqrt().clamp(min=1e-3)
        average, deviation = (image, torch.zeros_like(image)) if context is None else (context[:, :1], context[:, 1:])
        seen = torch.cat([image - mean, average - mean, deviation], 1) / spread * inside
        return self.unet(torch.cat([seen, inside], 1))
