"""Self-appearance flow: where in its own features a picture finds what the motion left missing (F_A of Liu et al.,
section 3.2)."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.hourglass import Hourglass


class AppearanceFlow(ConfiguredModel):
    """F_A: features moved to the driving pose -> T_App, a flow within them; zero at first, so that F_App = F_SD.

    channels: of the features. widths: of the hourglass's levels.
    """

    @register_to_config
    def __init__(self, channels: int = 256, widths: tuple[int, ...] = (64, 128, 256)) -> None:
        super().__init__()
        self.body = Hourglass(channels, tuple(widths))
        self.head = nn.Conv2d(self.body.out_channels, 2, 3, padding=1)
        for values in self.head.parameters():
            nn.init.zeros_(values)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> flow (B, 2, h, w) px, backward."""
        unit = (
            torch.tensor([features.shape[3] - 1.0, features.shape[2] - 1.0], device=features.device).view(1, 2, 1, 1)
            / 20
        )
        # in twentieths of a picture, so that it does not start in leaps
        return self.head(self.body(features)).float() * unit
