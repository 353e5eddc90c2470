"""Brightness augmentation for ultrasound: what differs between scanners, settings and patients without moving anything.

As in `transforms`, a random transform draws parameters and its deterministic twin applies them. All frames of a sample
get the same change; only speckle and noise are drawn anew for each key.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers import gaussian_1d, separable_filtering
from monai.transforms import Randomizable, Transform
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.data.transforms import IMAGES, Sample
from echokdm.ops.warp import pixel_grid


@dataclass(frozen=True)
class IntensityParameters:
    """What an intensity transform does, in this order; the defaults change nothing.

    resolution: frames are shrunk by this factor (lateral, axial) and enlarged again. blur: (lateral, axial) sigma, px.
    sharpen: amount of unsharp masking. haze: rows of a coarse grid of gray added by 1-(1-x)(1-h). speckle:
    (log-amplitude, lateral and axial correlation sigma px), on tissue and haze alike. gain: rows of a coarse grid of
    log gains, top to bottom. shadows: rows (direction in [-1, 1] across the sector, width likewise, start as a share of
    the depth, log attenuation). gamma: exponent. window: gray values displayed as 0 and 1. noise: standard deviation of
    white gray noise. seed: of speckle and noise.
    """

    resolution: tuple[float, float] = (1.0, 1.0)
    blur: tuple[float, float] = (0.0, 0.0)
    sharpen: float = 0.0
    haze: tuple[tuple[float, ...], ...] = ()
    speckle: tuple[float, float, float] = (0.0, 1.0, 1.0)
    gain: tuple[tuple[float, ...], ...] = ()
    shadows: tuple[tuple[float, float, float, float], ...] = ()
    gamma: float = 1.0
    window: tuple[float, float] = (0.0, 1.0)
    noise: float = 0.0
    seed: int = 0


def _blur(image: Tensor, lateral: float, axial: float) -> Tensor:
    """Gaussian blur of (N, 1, H, W) with sigmas in px; a sigma of 0 leaves that axis alone."""
    if max(lateral, axial) <= 0:
        return image
    kernels = [gaussian_1d(torch.tensor(s), truncated=3.0) if s > 0 else torch.ones(1) for s in (axial, lateral)]
    return separable_filtering(image, kernels, mode="replicate")


def _field(rows: tuple[tuple[float, ...], ...], height: int, width: int) -> Tensor:
    """A smooth (1, 1, H, W) field through a coarse grid of values."""
    return F.interpolate(
        torch.tensor(rows, dtype=torch.float32)[None, None], (height, width), mode="bicubic", align_corners=True
    )


def _shadow(rows: tuple[tuple[float, float, float, float], ...], sector: Tensor) -> Tensor:
    """Log attenuation (1, 1, H, W) behind ribs and lung: wedges from the middle of the sector's top. sector (H, W)
    bool."""
    height, width = sector.shape
    row, column = torch.nonzero(sector, as_tuple=True)
    total = torch.zeros(1, 1, height, width)
    if not len(row):
        return total
    top = row.min()
    x, y = pixel_grid(height, width)[0]
    angle = torch.atan2(x - column[row == top].float().mean(), y - top + 4.0)
    reach = angle[sector].abs().max()
    depth = (y - top) / (row.max() - top).clamp(min=1)
    for direction, wide, start, attenuation in rows:
        profile = torch.exp(-0.5 * ((angle / reach - direction) / wide) ** 2)
        total -= attenuation * profile * torch.sigmoid((depth - start) * 20)
    return total


class Intensity(Transform):
    """Apply `IntensityParameters` to `IMAGES` (..., H, W) in [0, 1]; the outside of `sector` (..., H, W) stays
    black."""

    def __init__(self, parameters: IntensityParameters) -> None:
        self.parameters = parameters

    def __call__(self, data: Mapping[str, Tensor]) -> Sample:
        """A new sample with changed frames."""
        out = dict(data)
        for number, key in enumerate(k for k in IMAGES if k in data):
            image = data[key]
            height, width = image.shape[-2:]
            inside = torch.ones(height, width, dtype=torch.bool)
            if "sector" in data:
                inside = data["sector"].reshape(-1, height, width)[0] > 0
            changed = self._change(image.reshape(-1, 1, height, width).float(), inside, number)
            out[key] = (changed * inside).reshape(image.shape).to(image.dtype)
        return out

    def _change(self, x: Tensor, inside: Tensor, number: int) -> Tensor:
        p = self.parameters
        height, width = x.shape[-2:]
        rng = generator(p.seed, number)
        if max(p.resolution) > 1:
            coarse = (max(8, round(height / p.resolution[1])), max(8, round(width / p.resolution[0])))
            x = F.interpolate(
                F.interpolate(x, coarse, mode="area"), (height, width), mode="bilinear", align_corners=False
            )
        x = _blur(x, *p.blur)
        if p.sharpen:
            x = (x + p.sharpen * (x - _blur(x, 1.2, 1.2))).clamp(0, 1)
        if p.haze:
            x = 1 - (1 - x) * (1 - _field(p.haze, height, width).clamp(0, 0.9))
        if p.speckle[0]:
            grain = _blur(torch.randn(x.shape, generator=rng), *p.speckle[1:])
            x = x * torch.exp(p.speckle[0] * grain / grain.std())
        log_gain = _field(p.gain, height, width) if p.gain else torch.zeros(1, 1, height, width)
        if p.shadows:
            log_gain = log_gain + _shadow(p.shadows, inside)
        x = (x * log_gain.exp()).clamp(0, 1)
        x = x**p.gamma
        x = (x - p.window[0]) / (p.window[1] - p.window[0])
        if p.noise:
            x = x + p.noise * torch.randn(x.shape, generator=rng)
        return x.clamp(0, 1)


class RandIntensity(Randomizable, Transform):
    """Draw `IntensityParameters` and apply them by `Intensity`; the last drawn are kept in `.parameters`.

    strength: 0 changes nothing, at 1 a heart that could be outlined by hand nearly always still can. probability: of
    each part.
    """

    def __init__(self, strength: float = 1.0, probability: float = 0.4) -> None:
        self.strength, self.probability = strength, probability
        self.parameters = IntensityParameters()

    def randomize(self, data: object = None) -> None:
        """Draw `.parameters` from the transform's random state."""
        r, s = self.R, self.strength

        def happens(share: float = 1.0) -> bool:
            return r.uniform() < self.probability * share

        def grid(low: float, high: float, size: int = 4) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(row) for row in r.uniform(low, high, (size, size)))

        draw: dict[str, Any] = {"seed": int(r.randint(2**31 - 1))}
        if happens(0.5):
            draw["resolution"] = tuple(1 + s * r.uniform(0, 0.8, 2))
        if happens(0.8):
            draw["blur"] = tuple(s * r.uniform(0.2, 1.1, 2))
        if happens(0.4):
            draw["sharpen"] = s * r.uniform(0.2, 1.2)
        if happens():
            draw["speckle"] = (s * r.uniform(0.05, 0.25), r.uniform(0.3, 2.0), r.uniform(0.3, 1.2))
        if happens(1.5):
            middle = s * r.uniform(-0.3, 0.3)
            draw["gain"] = grid(middle - 0.45 * s, middle + 0.45 * s)
        if happens():
            draw["shadows"] = tuple(
                (r.uniform(-1.1, 1.1), r.uniform(0.04, 0.3), r.uniform(-0.2, 0.6), s * r.uniform(0.2, 1.0))
                for _ in range(r.randint(1, 3))
            )
        if happens(0.8):
            level = s * r.uniform(0, 0.15)
            draw["haze"] = grid(0, level, 5)
        if happens(1.5):
            draw["gamma"] = math.exp(s * r.uniform(-0.35, 0.35))
        if happens():
            draw["window"] = (s * r.uniform(-0.05, 0.07), 1 + s * r.uniform(-0.2, 0.2))
        if happens():
            draw["noise"] = s * r.uniform(0, 0.035)
        self.parameters = IntensityParameters(**draw)

    def __call__(self, data: Mapping[str, Tensor]) -> Sample:
        """A new sample with changed frames."""
        self.randomize()
        return Intensity(self.parameters)(data)
