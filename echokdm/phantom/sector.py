"""The scan sector of each patient: virtual apex, angles, depths, and where it lies in a square image.

Millimetres: x to the right, y down, the middle of the probe's face at (0, 0). A beam at angle theta runs along
(sin theta, cos theta) from the virtual apex, which lies `face_radius` behind the face.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from echokdm.ops.warp import pixel_grid
from echokdm.phantom.draws import PatientDraws

ROWS, LINES = 256, 144  # the polar grid, range by beam
MARGIN = 8  # rows and lines beyond each edge, where scatterers outside still echo into the sector


class SectorGeometry:
    """B sectors. Attributes are tensors (B,): apex_y, face_radius, depth, left, right (rad, left < 0), cut (half-width
    limit, mm).

    base_mm: (B,) depth of the heart's mitral plane; the depth shown is drawn so that the plane lies at 56 to 92 % of
    it, in some at its end, where atria are cut off and the ventricle fills the fan (CAMUS: 55 to 87 % in nine of ten).
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", base_mm: Tensor | None = None) -> None:
        d = PatientDraws(seeds, stream=11, device=device)
        depth = d.uniform(110, 190)
        if base_mm is not None:
            share = d.uniform(0.56, 0.84) + d.chance(0.25) * d.uniform(0.0, 0.2)
            depth = (base_mm.to(depth) / share.clamp(max=0.98)).clamp(80, 215)
        self.depth = depth
        convex = d.chance(0.15)
        self.face_radius = d.log_uniform(0.5, 9.0) * (1 - convex) + d.uniform(9.0, 22.0) * convex
        half = torch.deg2rad(d.uniform(29, 47))
        tilt = torch.deg2rad(d.normal() * 1.2).clamp(-0.05, 0.05)
        asymmetry = torch.deg2rad(d.normal() * 0.8)
        self.left = -half + tilt - asymmetry
        self.right = half + tilt + asymmetry
        radius = self.face_radius + depth
        widest = radius * torch.sin(half)
        self.cut = torch.where(d.chance(0.12) > 0, widest * d.uniform(0.72, 0.95), widest * 2)
        self.apex_y = -self.face_radius
        # place in the image: mostly as `echokdm.io.frame` crops clips, at the top and centred from left to right; else
        # anywhere
        loose = d.chance(0.35)
        low, high = self._bounds()
        extent = (high - low).amax(1)
        self.image_mm = extent * (1.04 + loose * d.uniform(-0.04, 0.16))
        anywhere = (low + high - self.image_mm[:, None]) / 2 + d.uniform(-0.5, 0.5, 2) * (
            self.image_mm[:, None] - (high - low)
        )
        usual = torch.stack([(low + high)[:, 0] / 2 - self.image_mm / 2, low[:, 1] - 0.02 * extent], 1)
        self.origin = torch.where(loose[:, None] > 0, anywhere, usual)  # the image's top-left corner, mm

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Bounding box (B, 2), (B, 2) in mm."""
        t = torch.linspace(0, 1, 181, device=self.left.device)
        theta = self.left[:, None] + (self.right - self.left)[:, None] * t
        points = []
        for r in (self.face_radius, self.face_radius + self.depth):
            x = (r[:, None] * torch.sin(theta)).clamp(min=-self.cut[:, None], max=self.cut[:, None])
            points.append(torch.stack([x, self.apex_y[:, None] + r[:, None] * torch.cos(theta)], -1))
        boundary = torch.cat(points, 1)
        return boundary.amin(1), boundary.amax(1)

    def mm_per_px(self, size: int) -> Tensor:
        """(B,) millimetres a pixel of a size x size image."""
        return self.image_mm / size

    def to_px(self, points: Tensor, size: int) -> Tensor:
        """(B, N, 2) mm -> pixels, pixel centres at integers."""
        return (points - self.origin[:, None]) / self.mm_per_px(size)[:, None, None] - 0.5

    def to_mm(self, points: Tensor, size: int) -> Tensor:
        """(B, N, 2) pixels -> mm."""
        return (points + 0.5) * self.mm_per_px(size)[:, None, None] + self.origin[:, None]

    def pixels_mm(self, size: int) -> Tensor:
        """(B, size * size, 2) the pixel centres in mm, row by row."""
        grid = pixel_grid(size, size, self.left.device).flatten(2).transpose(1, 2)
        return self.to_mm(grid.expand(self.left.shape[0], -1, -1), size)

    def polar(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 2) mm -> radius from the virtual apex (mm) and beam angle (rad), each (B, N)."""
        y = points[..., 1] - self.apex_y[:, None]
        x = points[..., 0]
        return torch.sqrt(x * x + y * y), torch.atan2(x, y)

    def cartesian(self, radius: Tensor, angle: Tensor) -> Tensor:
        """The inverse of `polar`: (B, N), (B, N) -> (B, N, 2) mm."""
        return torch.stack([radius * torch.sin(angle), self.apex_y[:, None] + radius * torch.cos(angle)], -1)

    def contains(self, points: Tensor) -> Tensor:
        """(B, N, 2) mm -> (B, N) bool, True inside the sector."""
        r, a = self.polar(points)
        near = self.face_radius[:, None]
        return (
            (r >= near)
            & (r <= near + self.depth[:, None])
            & (a >= self.left[:, None])
            & (a <= self.right[:, None])
            & (points[..., 0].abs() <= self.cut[:, None])
        )

    def edge_distance(self, points: Tensor) -> Tensor:
        """(B, N, 2) mm -> (B, N) distance in mm from the sides and the far edge, negative beyond them. The probe's face
        does not count."""
        x, y = points[..., 0], points[..., 1] - self.apex_y[:, None]
        left, right = self.left[:, None], self.right[:, None]
        from_left = x * torch.cos(left) - y * torch.sin(left)
        from_right = y * torch.sin(right) - x * torch.cos(right)
        from_far = (self.face_radius + self.depth)[:, None] - torch.sqrt(x * x + y * y)
        return torch.minimum(torch.minimum(from_left, from_right), torch.minimum(from_far, self.cut[:, None] - x.abs()))
