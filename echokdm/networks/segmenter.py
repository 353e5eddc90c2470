"""The networks that find chambers in a frame: the segmenter, and a second one of another form that judges what is
made."""

import torch
from diffusers.configuration_utils import register_to_config
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.unet import UNet
from torch import Tensor

from echokdm.io.frame import resize_inside
from echokdm.networks.configured import ConfiguredModel

CLASSES = ("background", "LV", "myocardium", "LA", "RV", "RA")
# px a side of the largest frame that these networks are taught on and asked about, whatever size a bundle draws
FINDS_AT = 112


def standardised(image: Tensor, sector: Tensor) -> Tensor:
    """Frames (B, 1, H, W) in [0, 1] and their sectors (B, 1, H, W) -> (B, 2, H, W): brightness of mean 0 and spread 1
    inside, and inside.

    So that gain and display window matter little, and a frame's result depends on no other frame.
    """
    inside = sector.to(image.dtype)
    count = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (image * inside).sum((1, 2, 3), keepdim=True) / count
    spread = (((image - mean) * inside).square().sum((1, 2, 3), keepdim=True) / count).sqrt().clamp(min=1e-3)
    return torch.cat([(image - mean) / spread * inside, inside], 1)


def as_seen(image: Tensor, sector: Tensor, size: int = FINDS_AT) -> tuple[Tensor, Tensor]:
    """Square frames (B, 1, S, S) in [0, 1] and their sectors (1 or B, 1, S, S), made smaller to `size` px where they
    are larger."""
    if image.shape[-1] <= size:
        return image, sector
    small, share = resize_inside(image * sector, sector.to(image.dtype), size)
    inside = share > 0.5
    return small * inside, inside.to(sector.dtype)


class Segmenter(ConfiguredModel):
    """Cardiac chambers in one apical-4-chamber frame (Falk et al. 2019; MONAI's BasicUNet). Norms are per instance.

    features: MONAI's six widths, fine to coarse and last. classes: `CLASSES` or its beginning.
    """

    @register_to_config
    def __init__(self, classes: int = 6, features: tuple[int, ...] = (16, 24, 48, 64, 96, 16)) -> None:
        super().__init__()
        self.unet = BasicUNet(
            2,
            2,
            classes,
            features=tuple(features),
            norm=("instance", {"affine": True}),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            upsample="nontrainable",
        )

    def forward(self, image: Tensor, sector: Tensor) -> Tensor:
        """Class logits (B, classes, H, W) of frames (B, 1, H, W) in [0, 1]; sector (B, 1, H, W), true inside."""
        return self.unet(standardised(image, sector))


class Judge(ConfiguredModel):
    """The same task by a residual U-Net (Kerfoot et al. 2018; MONAI's UNet), taught on other hearts and asked by no
    loss.

    channels: of its levels, fine to coarse, each half the size of the one before. classes: `CLASSES` or its beginning.
    """

    @register_to_config
    def __init__(self, classes: int = 6, channels: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        self.unet = UNet(
            2,
            2,
            classes,
            tuple(channels),
            strides=(2,) * (len(channels) - 1),
            num_res_units=2,
            norm=("instance", {"affine": True}),
            act="PRELU",
        )

    def forward(self, image: Tensor, sector: Tensor) -> Tensor:
        """As `Segmenter.forward`. Height and width are multiples of 2 ** (levels - 1)."""
        return self.unet(standardised(image, sector))
