"""The apical-four-chamber phantom: pictures of a beating heart with its exact flow, masks, key-points and volumes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.types import Clip
from echokdm.ops.ventricle import keypoints_from_polygon, simpson_volume
from echokdm.phantom.anatomy import RANGES
from echokdm.phantom.heart import Heart
from echokdm.phantom.ultrasound import Scanner

FREE = 40.0  # mm from the ventricle's outline to where motion ends; at that distance it is hardly damped


class A4CPhantom:
    """B patients, each drawn from its own seed: patient b does not depend on the others.

    Phases are in beats: end-diastole at whole numbers, end-systole at `end_systole`; beyond [0, 1) the heart repeats
    while the electronic noise goes on. Attributes: sector (B, H, W) bool, mm_per_px (B,), heart_rate (B,) 1/min,
    ejection_fraction (B,) percent, end_systole (B,) phase.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        size: int = 112,
        device: torch.device | str = "cpu",
        ejection_fraction: Sequence[float] | None = None,
    ) -> None:
        """ejection_fraction: (B,) percent in place of the drawn ones, else the patients stay as they are: end-diastole,
        timing, speckle, scanner. So one seed makes twins that differ in how they pump; `flow` leads from one to the
        other.

        Raises ConfigError where a fraction lies outside what hearts are drawn with.
        """
        self.seeds, self.size = [int(s) for s in seeds], size
        self.heart = Heart(
            self.seeds, device, None if ejection_fraction is None else _fractions(ejection_fraction, len(self.seeds))
        )
        self.scanner = Scanner(self.seeds, device, base_mm=self.heart.base_mm)
        geometry = self.scanner.sector
        # Tissue stands still at the sector's edge, but a ventricle that fills the fan beats all the same, across its
        # edge.
        lack = (FREE - geometry.edge_distance(self.heart.resting_outline()).amin(1)).clamp(min=0)[:, None]
        self.heart.restrict(lambda points: geometry.edge_distance(points) + lack)
        self._pixels = geometry.pixels_mm(size)
        self.sector = geometry.contains(self._pixels).view(-1, size, size)
        self.mm_per_px = geometry.mm_per_px(size)
        self.heart_rate, self.ejection_fraction = self.heart.heart_rate, self.heart.ejection_fraction
        self.end_systole = self.heart.end_systole

    def frames(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, 1, size, size) float32 in [0, 1], exactly 0 outside the sector."""
        return self.scanner.render(self.heart, phases, self.size)

    def flow(self, target_phase: Tensor, source_phase: Tensor, source: "A4CPhantom | None" = None) -> Tensor:
        """Exact backward flow (B, 2, size, size) px, (dx, dy): target(p) shows the tissue of source(p + flow(p)).

        source: the twins, of the same seeds and size, whose frames are carried to this phantom's; None: its own. Phases
        (B,). Raises ConfigError where the source's patients are others.
        """
        source = self if source is None else source
        if (source.seeds, source.size) != (self.seeds, self.size):
            raise ConfigError("A flow leads from twins to twins: both phantoms must have the same seeds and size.")
        rest = self.heart.inverse(self._pixels, torch.remainder(target_phase, 1.0))
        moved = source.heart.forward(rest, torch.remainder(source_phase, 1.0)) - self._pixels
        flow = (moved / self.mm_per_px[:, None, None]).transpose(1, 2).reshape(-1, 2, self.size, self.size)
        return flow * self.sector[:, None]  # outside nothing moves; what is left there is the inverse's rounding

    def valid(self, target_phase: Tensor, source_phase: Tensor, source: "A4CPhantom | None" = None) -> Tensor:
        """(B, 1, size, size) bool: inside the sector, and what the warp by `flow` fetches lies inside it too."""
        flow = self.flow(target_phase, source_phase, source).flatten(2).transpose(1, 2)
        fetched = self._pixels + flow * self.mm_per_px[:, None, None]
        return (self.scanner.sector.contains(fetched).view_as(self.sector) & self.sector)[:, None]

    def masks(self, phases: Tensor, whole: bool = False) -> Tensor:
        """phases (B, T) -> (B, T, size, size) uint8: 0 background, 1 LV, 2 myocardium, 3 LA, 4 RV, 5 RA.

        0 outside the sector too, unless whole: then hearts that the sector cuts off are labelled in full.
        """
        out = []
        for t in range(phases.shape[1]):
            phase = torch.remainder(phases[:, t], 1.0)
            label = (
                self.heart.tissue(self.heart.inverse(self._pixels, phase), phase)
                .label.view_as(self.sector)
                .to(torch.uint8)
            )
            out.append(label if whole else label * self.sector)
        return torch.stack(out, 1)

    def contours(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, M, 2) px: the LV's endocardial polygon, closed at the mitral plane."""
        polygons = [self.heart.contours(torch.remainder(phases[:, t], 1.0)) for t in range(phases.shape[1])]
        return torch.stack([self.scanner.sector.to_px(polygon, self.size) for polygon in polygons], 1)

    def keypoints(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, 40, 2) float32 px (x, y), in the order of `A4C_BLOODPOOL_40`, chords at (i + 1/2) L /
        20."""
        polygons = self.contours(phases).double().cpu().numpy()
        points = [[keypoints_from_polygon(polygon) for polygon in patient] for patient in polygons]
        return torch.from_numpy(np.asarray(points, np.float32))

    def volumes(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T) single-plane Simpson volumes of the key-points, px^3."""
        return torch.from_numpy(np.asarray(simpson_volume(self.keypoints(phases).double().numpy())))

    def valve_opening(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T) in [0, 1]: how far mitral and tricuspid valve are open."""
        return torch.stack([self.heart.beat.opening(phase) for phase in torch.remainder(phases, 1.0).unbind(1)], 1)

    def clip(self, fps: float = 30.0, beats: float = 1.0) -> list[Clip]:
        """One clip a patient, from end-diastole on, `beats` long at the patient's heart rate."""
        per_frame = self.heart_rate.cpu() / 60 / fps
        counts = torch.ceil(beats / per_frame - 1e-6).long().clamp(min=2)
        phases = torch.arange(int(counts.max()))[None] * per_frame[:, None]
        frames = self.frames(phases.to(self.heart_rate.device)).cpu()
        return [
            Clip(frames[b, : counts[b]].contiguous(), fps, (float(self.mm_per_px[b]),) * 2, f"phantom-{seed}")
            for b, seed in enumerate(self.seeds)
        ]


def _fractions(percent: Sequence[float], count: int) -> Tensor:
    fractions, (low, high) = torch.as_tensor(percent, dtype=torch.float32) / 100, RANGES["ef"]
    if fractions.shape != (count,) or not bool(((fractions >= low) & (fractions <= high)).all()):
        raise ConfigError(f"Give one ejection fraction a seed, {100 * low:.0f} to {100 * high:.0f} %.")
    return fractions
