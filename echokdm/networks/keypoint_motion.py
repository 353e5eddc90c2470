"""Coefficient maps of key-point displacements, and how far each view is to be trusted (F_C of Liu et al., Eq. 3)."""

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel
from echokdm.networks.hourglass import Hourglass
from echokdm.ops.resample import rescale_points, shrink
from echokdm.ops.warp import pixel_grid, warp


def displacements(source: Tensor, driving: Tensor) -> Tensor:
    """Eq. 2: x_S - x_D of key-points (B, K, 2), behind a zero for the background that stands still -> (B, K + 1, 2)."""
    moved = source - driving
    return torch.cat([torch.zeros_like(moved[:, :1]), moved], 1)


def coarse_motion(coefficients: Tensor, moves: Tensor) -> Tensor:
    """Eq. 3: sum over i of alpha^i Delta^i; (B, K + 1, h, w) and (B, K + 1, 2) px -> flow (B, 2, h, w) px, backward."""
    return torch.einsum("bkhw,bkc->bchw", coefficients, moves)


def gaussian_maps(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """exp(-|p - x|^2 / (2 sigma^2)) of key-points (B, K, 2) px -> (B, K, height, width); sigma in px."""
    offset = pixel_grid(height, width, points.device)[:, None] - points[..., None, None]
    return torch.exp(-offset.square().sum(2) / (2 * sigma**2))


class KeypointMotion(ConfiguredModel):
    """F_C: shown where the key-points are to move, and the source moved by each displacement, it says which holds
    where.

    points: K. downscale: of the flow's size to the picture's. widths: of the hourglass's levels. sigma: of the
    key-points' Gaussians, in half pictures (FOMM: 0.1).
    """

    @register_to_config
    def __init__(
        self,
        points: int = 10,
        downscale: int = 4,
        widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
        sigma: float = 0.1,
    ) -> None:
        super().__init__()
        self.body = Hourglass(4 * (points + 1), tuple(widths))
        self.coefficients = nn.Conv2d(self.body.out_channels, points + 1, 3, padding=1)
        self.confidence = nn.Conv2d(self.body.out_channels, 1, 3, padding=1)

    def forward(self, source: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficient maps (B, K + 1, h, w), which sum to one, and confidence (B, 1, h, w) within e^-10 and e^10.

        Confidences are compared by their ratios (Eq. 6), so they are predicted as logarithms.

        source (B, 3, H, W) in [0, 1]; key-points (B, K, 2) px of the picture.
        """
        full = source.shape[2], source.shape[3]
        size = full[0] // self.config.downscale, full[1] // self.config.downscale
        small = shrink(source, *size)
        begin, end = (rescale_points(p, full, size) for p in (source_keypoints, driving_keypoints))
        sigma = self.config.sigma * (size[1] - 1) / 2
        maps = gaussian_maps(end, *size, sigma) - gaussian_maps(begin, *size, sigma)
        maps = torch.cat([torch.zeros_like(maps[:, :1]), maps], 1)
        moves = displacements(begin, end)
        B, P = moves.shape[:2]
        copies = (small * 2 - 1)[:, None].expand(-1, P, -1, -1, -1).flatten(0, 1)
        moved = warp(copies, moves.reshape(B * P, 2, 1, 1).expand(-1, -1, *size)).view(B, 3 * P, *size)
        seen = self.body(torch.cat([maps, moved], 1))
        return self.coefficients(seen).float().softmax(1), (10 * (self.confidence(seen).float() / 2).tanh()).exp()

    def coarse(
        self, coefficients: Tensor, source_keypoints: Tensor, driving_keypoints: Tensor, full: tuple[int, int]
    ) -> Tensor:
        """T(0), the flow (B, 2, h, w) in px of the coefficients' size; key-points in px of pictures of size `full` (Eq.
        2, 3)."""
        size = coefficients.shape[2], coefficients.shape[3]
        return coarse_motion(
            coefficients, rescale_points(displacements(source_keypoints, driving_keypoints), full, size)
        )
