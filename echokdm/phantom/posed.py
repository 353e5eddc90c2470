"""What the face, body and object phantoms share: pictures, exact flow and visibility from the correspondence of
surfaces.

A phantom says which material point each place of the picture shows (`_surface`) and where a material point goes
(`_project`); all else follows. Scene coordinates run from -1 to 1 across the picture, x right and y down, whatever its
size.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.texture import Atlas

_SAME = 0.03  # scene units: two material points nearer than this are one and the same


@dataclass(frozen=True)
class Surface:
    """Material points: layer (B, M) int64, 0 the background; material (B, D, M) coordinates within the layer."""

    layer: Tensor
    material: Tensor


class Motion:
    """Smooth periodic curves of period 1, one a parameter, each within [-1, 1]; two harmonics, drawn a patient."""

    def __init__(self, draws: PatientDraws, parameters: int) -> None:
        second = draws.uniform(0.0, 0.4, parameters)
        self._weights = torch.stack([1 - second, second], -1)
        self._offsets = draws.uniform(0.0, 2 * math.pi, parameters, 2)

    def __call__(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, parameters)."""
        angle = 2 * math.pi * torch.stack([phases, 2 * phases], -1)[:, :, None] + self._offsets[:, None]
        return (self._weights[:, None] * torch.sin(angle)).sum(-1)


class PosedPhantom(ABC):
    """B identities, each drawn from its own seed; identity b does not depend on the others.

    Every method takes moments either as phases, (B, T) or (B,), which repeat with period 1, or as poses, (B, T, P) or
    (B, P), such as another phantom's `poses(phases)`: so one identity can be shown in the pose of another.
    """

    schema: KeypointSchema
    pose_names: tuple[str, ...]
    _atlas: Atlas
    _marks: Surface  # the key-points as material points (B, N)

    def __init__(self, seeds: Sequence[int], size: int = 64, device: torch.device | str = "cpu") -> None:
        self.seeds, self.size, self.device = [int(s) for s in seeds], size, device
        self._centres = self._to_scene(pixel_grid(size, size, device).flatten(2)).expand(len(self.seeds), -1, -1)
        # Four samples a pixel, against jagged outlines.
        quarters = (pixel_grid(2 * size, 2 * size, device).flatten(2) - 0.5) / 2
        self._samples = self._to_scene(quarters).expand(len(self.seeds), -1, -1)

    @abstractmethod
    def poses(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, P) pose parameters, in the order of `pose_names`; they hold nothing of the
        identity."""

    @abstractmethod
    def _surface(self, pose: Tensor, points: Tensor) -> Surface:
        """pose (B, P), points (B, 2, M) scene -> what is seen there."""

    @abstractmethod
    def _project(self, pose: Tensor, surface: Surface) -> Tensor:
        """pose (B, P) -> (B, 2, M) scene: where these material points are, seen or hidden."""

    def _colour(self, surface: Surface) -> Tensor:
        """(B, 3, M) in [0, 1]: light is painted on, so that a material point keeps its colour as it moves."""
        return self._atlas.colours(surface.layer, surface.material)

    def _to_scene(self, points: Tensor) -> Tensor:
        return (points - (self.size - 1) / 2) * (2 / self.size)

    def _to_px(self, points: Tensor) -> Tensor:
        return points * (self.size / 2) + (self.size - 1) / 2

    def _sequence(self, moments: Tensor) -> Tensor:
        """(B, T) phases or (B, T, P) poses -> poses."""
        return moments if moments.ndim == 3 else self.poses(moments)

    def _single(self, moment: Tensor) -> Tensor:
        """(B,) phases or (B, P) poses -> (B, P) poses."""
        return moment if moment.ndim == 2 else self.poses(moment[:, None])[:, 0]

    def _square(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.size, self.size))

    def _inside(self, points: Tensor) -> Tensor:
        """(B, 2, M) scene -> (B, M) bool: between the centres of the picture's border pixels, where a warp can read."""
        return (points.abs() <= 1 - 1 / self.size + 1e-5).all(1)

    def _shows(self, pose: Tensor, points: Tensor, surface: Surface) -> Tensor:
        """(B, M) bool: the picture of this pose shows, at these points, these material points."""
        seen = self._surface(pose, points)
        near = (seen.material - surface.material).square().sum(1) < _SAME**2
        return (seen.layer == surface.layer) & near & self._inside(points)

    def frames(self, moments: Tensor) -> Tensor:
        """phases (B, T) or poses (B, T, P) -> (B, T, 3, size, size) float32 in [0, 1]."""
        out = []
        for pose in self._sequence(moments).unbind(1):
            fine = self._colour(self._surface(pose, self._samples)).unflatten(-1, (2 * self.size, 2 * self.size))
            out.append(F.avg_pool2d(fine, 2))
        return torch.stack(out, 1).clamp(0, 1)

    def flow(self, target: Tensor, source: Tensor) -> Tensor:
        """Exact backward flow (B, 2, size, size) px, (dx, dy): target(p) shows the material of source(p + flow(p)).

        target, source: phases (B,) or poses (B, P). Where that material is hidden in the source, the flow still leads
        to it.
        """
        seen = self._surface(self._single(target), self._centres)
        moved = self._project(self._single(source), seen) - self._centres
        return self._square(moved * (self.size / 2))

    def visible(self, target: Tensor, source: Tensor) -> Tensor:
        """(B, 1, size, size) bool: what the target shows at a pixel's centre is seen in the source too, so a warp can
        fetch it."""
        source = self._single(source)
        seen = self._surface(self._single(target), self._centres)
        return self._square(self._shows(source, self._project(source, seen), seen))[:, None]

    def layers(self, moments: Tensor) -> Tensor:
        """phases (B, T) or poses (B, T, P) -> (B, T, size, size) uint8: which layer each pixel's centre shows, 0 the
        background."""
        poses = self._sequence(moments).unbind(1)
        return torch.stack(
            [self._square(self._surface(pose, self._centres).layer.to(torch.uint8)) for pose in poses], 1
        )

    def keypoints(self, moments: Tensor) -> Tensor:
        """phases (B, T) or poses (B, T, P) -> (B, T, N, 2) float32 px (x, y), in the order of `schema`."""
        return torch.stack(
            [
                self._to_px(self._project(pose, self._marks)).transpose(1, 2)
                for pose in self._sequence(moments).unbind(1)
            ],
            1,
        )

    def keypoints_visible(self, moments: Tensor) -> Tensor:
        """phases (B, T) or poses (B, T, P) -> (B, T, N) bool: neither hidden nor outside the picture."""
        return torch.stack(
            [
                self._shows(pose, self._project(pose, self._marks), self._marks)
                for pose in self._sequence(moments).unbind(1)
            ],
            1,
        )
