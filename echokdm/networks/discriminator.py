"""PatchGAN discriminator of the codecs."""

from torch import Tensor, nn


class PatchDiscriminator(nn.Sequential):
    """4x4 convolutions of stride 2, group-normalised: (B, C, H, W) -> (B, 1, H/8, W/8) logits, about 70 px of view a
    patch."""

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(2):
            layers += [
                nn.Conv2d(width << i, width << i + 1, 4, 2, 1),
                nn.GroupNorm(8, width << i + 1),
                nn.LeakyReLU(0.2),
            ]
        super().__init__(*layers, nn.Conv2d(width << 2, 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images` (B, C, H, W), higher where a patch looks real."""
        return super().forward(images)
