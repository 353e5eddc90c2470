"""A solid object seen from several sides: textured ellipsoids grown together, turned before a fixed camera without
perspective.

Rays meet ellipsoids in closed form, and the nearest wins, so parts hide one another and a turn shows what no other view
has.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.schemas import learned
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.posed import Motion, PosedPhantom, Surface
from echokdm.phantom.texture import Atlas, backdrop, cloth, colour, fractal, tile_grid

_PARTS = 4
_TILE = 96
_SQUARE = ((-1.0, -1.0), (1.0, 1.0))
# Key-points lie where rays from the middle of the object, in these directions (azimuth, elevation in degrees), leave
# it.
_DIRECTIONS = ((0, 20), (45, -25), (90, 20), (135, -25), (180, 20), (225, -25), (270, 20), (315, -25))


class ViewsPhantom(PosedPhantom):
    """Objects drawn from their seeds; key-points: 8 fixed places on the surface, `learned-8`.

    Pose: azimuth and elevation of the camera in radians, shift x and y in scene units (half a picture). Layer 0 is a
    backdrop that stays; layer k is ellipsoid k, whose material coordinates are the unit sphere's.
    """

    schema = learned(8)
    pose_names = ("azimuth", "elevation", "x", "y")

    def __init__(self, seeds: Sequence[int], size: int = 64, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds, size, device)
        draws = PatientDraws(seeds, 31, device)
        self._motion = Motion(PatientDraws(seeds, 32, device), len(self.pose_names))
        # A large part in the middle and smaller ones half sunk in its sides: centres and half-axes (B, parts, 3).
        turn = draws.uniform(-0.6, 0.6, _PARTS - 1) + torch.arange(_PARTS - 1, device=device) * (
            2 * math.pi / (_PARTS - 1)
        )
        rise, out = draws.uniform(-0.3, 0.3, _PARTS - 1), draws.uniform(0.36, 0.48, _PARTS - 1)
        around = torch.stack([out * turn.sin(), rise, out * turn.cos()], -1)
        self._middle = torch.cat([torch.zeros_like(around[:, :1]), around], 1)
        self._axes = torch.cat([draws.uniform(0.36, 0.52, 1, 3), draws.uniform(0.16, 0.3, _PARTS - 1, 3)], 1)
        self._atlas = self._paint(PatientDraws(seeds, 33, device))
        self._marks = self._outermost()

    def poses(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, 4) in the order of `pose_names`; the azimuth makes a full turn in a period."""
        wave = self._motion(phases)
        azimuth = 2 * math.pi * phases + 0.3 * wave[..., 0]
        return torch.stack([azimuth, 0.3 * wave[..., 1], 0.08 * wave[..., 2], 0.05 * wave[..., 3]], -1)

    def _rotation(self, pose: Tensor) -> Tensor:
        """(B, 3, 3) from the object's axes to the camera's: x right, y down, z away from the camera."""
        azimuth, elevation = pose[:, 0], pose[:, 1]
        ca, sa, ce, se, zero = azimuth.cos(), azimuth.sin(), elevation.cos(), elevation.sin(), torch.zeros_like(azimuth)
        return torch.stack([ca, zero, sa, se * sa, ce, -se * ca, -ce * sa, se, ce * ca], 1).view(-1, 3, 3)

    def _ray(self, part: int, start: Tensor, along: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where rays start + t along, (B, 3, M) in the object's axes, meet a part: hit (B, M) bool, the near t, the far
        t."""
        axes = self._axes[:, part, :, None]
        a, b = along / axes, (start - self._middle[:, part, :, None]) / axes
        aa, ab, bb = a.square().sum(1), (a * b).sum(1), b.square().sum(1)
        inside = ab.square() - aa * (bb - 1)
        root = inside.clamp_min(0).sqrt()
        return inside > 0, (-ab - root) / aa, (-ab + root) / aa

    def _sphere(self, part: int, points: Tensor) -> Tensor:
        """(B, 3, M) places on a part in the object's axes -> the unit sphere's."""
        return (points - self._middle[:, part, :, None]) / self._axes[:, part, :, None]

    def _surface(self, pose: Tensor, points: Tensor) -> Surface:
        back = self._rotation(pose).transpose(1, 2)
        plane = points - pose[:, 2:4, None]
        start = back[:, :, 0, None] * plane[:, None, 0] + back[:, :, 1, None] * plane[:, None, 1]
        along = back[:, :, 2, None].expand_as(start)
        nearest = torch.full_like(points[:, 0], float("inf"))
        layer = torch.zeros_like(nearest, dtype=torch.long)
        material = torch.cat([points, torch.zeros_like(points[:, :1])], 1)
        for part in range(_PARTS):
            hit, near, _ = self._ray(part, start, along)
            first = hit & (near < nearest)
            nearest, layer = torch.where(first, near, nearest), torch.where(first, part + 1, layer)
            material = torch.where(first[:, None], self._sphere(part, start + near[:, None] * along), material)
        return Surface(layer, material)

    def _project(self, pose: Tensor, surface: Surface) -> Tensor:
        part = (surface.layer - 1).clamp_min(0)[:, None].expand(-1, 3, -1)
        place = surface.material * self._axes.transpose(1, 2).gather(2, part) + self._middle.transpose(1, 2).gather(
            2, part
        )
        turn = self._rotation(pose)
        seen = torch.stack([(turn[:, i, :, None] * place).sum(1) for i in range(2)], 1) + pose[:, 2:4, None]
        return torch.where((surface.layer == 0)[:, None], surface.material[:, :2], seen)

    def _colour(self, surface: Surface) -> Tensor:
        x, y, z = surface.material.unbind(1)
        longitude, latitude = torch.atan2(x, z) / math.pi, torch.asin(y.clamp(-1, 1)) * (2 / math.pi)
        texel = torch.where(
            (surface.layer > 0)[:, None], torch.stack([longitude, latitude], 1), surface.material[:, :2]
        )
        return self._atlas.colours(surface.layer, texel)

    def _outermost(self) -> Surface:
        """The key-points: for each direction from the object's middle the last part that the ray leaves."""
        azimuth, elevation = torch.deg2rad(torch.tensor(_DIRECTIONS, device=self.device, dtype=torch.float32)).unbind(1)
        along = torch.stack([elevation.cos() * azimuth.sin(), elevation.sin(), elevation.cos() * azimuth.cos()])
        along = along[None].expand(len(self.seeds), -1, -1)
        best, layer, material = torch.zeros_like(along[:, 0]), torch.zeros_like(along[:, 0], dtype=torch.long), along
        for part in range(_PARTS):
            hit, _, far = self._ray(part, torch.zeros_like(along), along)
            last = hit & (far > best)
            best, layer = torch.where(last, far, best), torch.where(last, part + 1, layer)
            material = torch.where(last[:, None], self._sphere(part, far[:, None] * along), material)
        return Surface(layer, material)

    def _paint(self, draws: PatientDraws) -> Atlas:
        """One tile a part, longitude by latitude, backdrop first. A lamp stands still with the object while the camera
        goes round."""
        tiles = [backdrop(draws, _TILE)]
        longitude, latitude = tile_grid(_TILE, _SQUARE, self.device)
        x, y = torch.sin(math.pi * longitude), torch.sin(math.pi / 2 * latitude)
        across = torch.cos(math.pi / 2 * latitude)
        sphere = torch.stack([across * x, y.expand_as(x * y), across * torch.cos(math.pi * longitude)], 1)[:, :, 0]
        side = draws.uniform(0, 2 * math.pi, 1)
        lamp = F.normalize(torch.stack([side.cos(), -torch.ones_like(side), side.sin()], 1), dim=1)[..., None]
        for part in range(_PARTS):
            blotches = torch.sigmoid(6 * fractal(draws, 1, _TILE, 5, 2))
            image = cloth(draws, _TILE)
            # the gradient of (x / a)^2, x / a on the sphere
            normal = F.normalize(sphere / self._axes[:, part, :, None, None], dim=1)
            light = 0.6 + 0.5 * (normal * lamp).sum(1, keepdim=True).clamp_min(0)
            tiles.append(((image + (colour(draws) - image) * 0.7 * blotches) * light).clamp(0, 1))
        return Atlas(tiles, [_SQUARE] * len(tiles))
