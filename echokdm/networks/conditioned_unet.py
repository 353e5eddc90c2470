"""The denoisers of K2F-net and F2I-net: a time-conditional U-Net behind the condition encoder Psi."""

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel


class ConditionEncoder(nn.Sequential):
    """Psi: three 3x3 convolutions that bring spatial conditions from image to latent size (KDM, section 3.2).

    The paper prints three strides of 2, which would give 28 where it says 56; the strides' product is the codec's.
    """

    def __init__(self, in_channels: int, out_channels: int, strides: tuple[int, ...]) -> None:
        width = 2 * out_channels
        channels = (in_channels, width, width, out_channels)
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides):
            layers += [nn.Conv2d(channels[i], channels[i + 1], 3, stride, 1), nn.SiLU()]
        super().__init__(*layers[:-1])


class ConditionedUNet(ConfiguredModel):
    """Denoiser of a latent (B, L, h, w) given conditions as images and, optionally, as latents.

    pixel_channels: channels of the spatial conditions at image size, through Psi. latent_condition_channels: channels
    of conditions that are latents already (0 as in the paper's K2F-net). attention_from: the first resolution level
    with self-attention. The output has L channels: noise, v or x0, as the scheduler's prediction type says.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 3,
        pixel_channels: int = 9,
        latent_condition_channels: int = 0,
        condition_channels: int = 16,
        strides: tuple[int, int, int] = (2, 2, 1),
        block_out_channels: tuple[int, ...] = (64, 96, 128),
        layers_per_block: int = 1,
        attention_from: int = 99,
    ) -> None:
        super().__init__()
        self.psi = ConditionEncoder(pixel_channels, condition_channels, tuple(strides))
        attends = [i >= attention_from for i in range(len(block_out_channels))]
        self.unet = UNet2DModel(
            in_channels=latent_channels + condition_channels + latent_condition_channels,
            out_channels=latent_channels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            norm_num_groups=8,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            attention_head_dim=32,
            add_attention=any(attends),
        )

    def encode_condition(self, pixels: Tensor, latents: Tensor | None = None) -> Tensor:
        """(B, pixel_channels, H, W) and optional latents (B, ., h, w) -> (B, C, h, w), the same for every step."""
        encoded = self.psi(pixels)
        return encoded if latents is None else torch.cat([encoded, latents.to(encoded.dtype)], 1)

    def forward(self, noisy: Tensor, timestep: Tensor | int, condition: Tensor) -> Tensor:
        """noisy (B, L, h, w), timestep (B,) or a number, condition from `encode_condition` -> (B, L, h, w)."""
        seen = torch.cat([noisy.to(condition.dtype), condition], 1)
        # the faster layout on a CPU
        return self.unet(seen.contiguous(memory_format=torch.channels_last), timestep).sample
