"""Spatial augmentation in which masks, key-points and flows follow the image exactly.

A random transform (MONAI `Randomizable`) only draws parameters; its deterministic twin applies them, so any sample can
be replayed, and MONAI's `Compose` chains them. Samples are dictionaries of tensors; leading dimensions (frames of a
clip) are free.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from monai.transforms import Randomizable, Transform
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid, sample

IMAGES = ("image", "source", "target")
MASKS = ("mask", "label", "sector", "valid")
POINTS = ("keypoints", "source_keypoints", "target_keypoints")
FLOWS = ("flow",)
Sample = dict[str, Tensor]


@dataclass(frozen=True)
class SpatialParameters:
    """What a spatial transform does to the content of an image, in this order: mirror, scale, turn, shift, bend.

    rotation: degrees, clockwise on the screen, about the image centre. scale: > 1 enlarges. shift: (x, y) px.
    flip: mirror left and right. waves: rows (fx, fy, phase, ax, ay), each displaces the sampling position by
    (ax, ay) * sin(2 pi (fx x + fy y) + phase) px, with fx, fy in cycles a pixel; the sum of 2 pi |f| |a| below 1 keeps
    the map one-to-one.
    """

    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    flip: bool = False
    waves: tuple[tuple[float, float, float, float, float], ...] = ()


class Spatial(Transform):
    """Apply `SpatialParameters` to every known key of a sample: images and flows bilinear, masks nearest, points exact.

    Known keys: `IMAGES` (..., H, W), zero outside; `MASKS` (..., H, W) of any dtype; `POINTS` (..., N, 2) px;
    `FLOWS` (..., 2, H, W), backward between two frames that are both transformed. A flip swaps the schema's pairs.
    """

    def __init__(self, parameters: SpatialParameters, schema: KeypointSchema | None = None) -> None:
        self.parameters = parameters
        self.schema = schema

    def _linear(self, like: Tensor) -> Tensor:
        """(2, 2): input offset from the centre -> output offset, without shift and bend."""
        p = self.parameters
        cos, sin = math.cos(math.radians(p.rotation)), math.sin(math.radians(p.rotation))
        mirror = -1.0 if p.flip else 1.0
        return like.new_tensor([[cos * mirror, -sin], [sin * mirror, cos]]) * p.scale

    def _bend(self, points: Tensor) -> Tensor:
        """Displacement (..., 2) of the sampling position at output positions (..., 2)."""
        if not self.parameters.waves:
            return torch.zeros_like(points)
        waves = points.new_tensor(self.parameters.waves)
        phase = 2 * math.pi * (points @ waves[:, :2].T) + waves[:, 2]
        return phase.sin() @ waves[:, 3:]

    def backward(self, points: Tensor, height: int, width: int) -> Tensor:
        """Input positions (..., 2) that output positions (..., 2) show."""
        centre = points.new_tensor([(width - 1) / 2, (height - 1) / 2])
        offset = points - points.new_tensor(self.parameters.shift) - centre
        return offset @ torch.linalg.inv(self._linear(points)).T + centre + self._bend(points)

    def forward(self, points: Tensor, height: int, width: int, iterations: int = 40) -> Tensor:
        """Output positions (..., 2) of input positions (..., 2): the inverse of `backward`, by fixed-point
        iteration."""
        centre = points.new_tensor([(width - 1) / 2, (height - 1) / 2])
        shift = points.new_tensor(self.parameters.shift)
        linear = self._linear(points).T
        moved = (points - centre) @ linear + centre + shift
        if not self.parameters.waves:
            return moved
        for _ in range(iterations):
            updated = (points - self._bend(moved) - centre) @ linear + centre + shift
            converged = bool((updated - moved).abs().max() < 1e-4)
            moved = updated
            if converged:
                break
        return moved

    def __call__(self, data: Mapping[str, Tensor]) -> Sample:
        """A new sample; keys that are not known are passed on."""
        out = dict(data)
        height, width = next(data[k] for k in (*IMAGES, *MASKS, *FLOWS) if k in data).shape[-2:]
        pixels = pixel_grid(height, width)[0].permute(1, 2, 0)
        grid = self.backward(pixels, height, width).permute(2, 0, 1)[None]

        def resample(values: Tensor, mode: str, padding: str = "zeros") -> Tensor:
            flat = values.reshape(1, -1, height, width)
            return sample(flat.float(), grid, padding, mode).reshape(values.shape)

        for key in IMAGES:
            if key in data:
                out[key] = resample(data[key], "bilinear").to(data[key].dtype)
        for key in MASKS:
            if key in data:
                out[key] = resample(data[key], "nearest").to(data[key].dtype)
        for key in POINTS:
            if key in data:
                moved = self.forward(data[key].double(), height, width).to(data[key].dtype)
                out[key] = self.schema.swap(moved) if self.schema is not None and self.parameters.flip else moved
        for key in FLOWS:
            if key in data:
                flow = resample(data[key], "bilinear", "border").movedim(-3, -1)
                source = self.forward(grid[0].permute(1, 2, 0) + flow, height, width)
                out[key] = (source - pixels).movedim(-1, -3)
        return out


class RandSpatial(Randomizable, Transform):
    """Draw `SpatialParameters` within ranges and apply them by `Spatial`; the last drawn are kept in `.parameters`.

    rotation: largest angle, degrees. scale: (least, most), drawn log-uniformly. shift: largest, share of the width.
    strain: largest local stretch by the bend (below 1). flip: probability. size: image width, px, that shift and bend
    refer to.
    """

    def __init__(
        self,
        rotation: float = 25.0,
        scale: tuple[float, float] = (0.8, 1.35),
        shift: float = 0.1,
        strain: float = 0.25,
        flip: float = 0.0,
        size: int = 112,
        schema: KeypointSchema | None = None,
    ) -> None:
        self.rotation, self.scale, self.shift, self.strain = rotation, scale, shift, strain
        self.flip, self.size, self.schema = flip, size, schema
        self.parameters = SpatialParameters()

    def randomize(self, data: object = None) -> None:
        """Draw `.parameters` from the transform's random state."""
        r = self.R
        waves = []
        strain = self.strain * r.uniform() / 4
        for _ in range(4):
            length = self.size * r.uniform(0.45, 1.3)  # px a period: bends of the heart's size, not of a wall's
            direction, turn = r.uniform(0, 2 * math.pi, 2)
            amplitude = strain * length / (2 * math.pi)
            waves.append(
                (
                    math.cos(direction) / length,
                    math.sin(direction) / length,
                    r.uniform(0, 2 * math.pi),
                    amplitude * math.cos(turn),
                    amplitude * math.sin(turn),
                )
            )
        self.parameters = SpatialParameters(
            rotation=r.uniform(-self.rotation, self.rotation),
            scale=math.exp(r.uniform(math.log(self.scale[0]), math.log(self.scale[1]))),
            shift=tuple(r.uniform(-self.shift, self.shift, 2) * self.size),
            flip=bool(r.uniform() < self.flip),
            waves=tuple(waves) if self.strain else (),
        )

    def __call__(self, data: Mapping[str, Tensor]) -> Sample:
        """A new, transformed sample."""
        self.randomize()
        return Spatial(self.parameters, self.schema)(data)
