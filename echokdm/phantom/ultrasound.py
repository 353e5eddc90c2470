"""Ultrasound image formation: point scatterers that move with the tissue, complex baseband echoes, depth-dependent PSF.

The model is the usual linear one (Meunier & Bertrand 1995; Gao et al., COLE 2009): the beamformed baseband echo on
beam theta at range r is the sum over scatterers of a exp(-2ikr_n) h_ax(r - r_n) h_lat(theta - theta_n; r), with the
carrier's phase taken at the scatterer's true range, so that speckle follows translation and decorrelates with strain.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.echogenicity import Echogenicity
from echokdm.phantom.postprocess import Display
from echokdm.phantom.sector import LINES, MARGIN, ROWS, SectorGeometry
from echokdm.phantom.tissue import TissueSample

SCATTERER_ROWS, SCATTERER_LINES = 256, 168


class Tissue(Protocol):
    """What the scanner needs of a heart: where each material point is at one phase, what it is made of, and how its
    fibres run."""

    def forward(self, points: Tensor, phase: Tensor) -> Tensor: ...

    def tissue(self, points: Tensor, phase: Tensor) -> TissueSample: ...

    def fibre_direction(self, points: Tensor) -> Tensor: ...

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]: ...


def splat(rows: Tensor, lines: Tensor, re: Tensor, im: Tensor, height: int, width: int) -> Tensor:
    """Scatterers (B, N) at fractional grid positions -> complex grid (B, height, width) by bilinear weights."""
    b = rows.shape[0]
    inside = (rows >= 0) & (rows < height - 1) & (lines >= 0) & (lines < width - 1)
    i0, j0 = rows.clamp(0, height - 1.001).floor(), lines.clamp(0, width - 1.001).floor()
    fi, fj = rows - i0, lines - j0
    re, im = re * inside, im * inside
    base = (torch.arange(b, device=rows.device)[:, None] * height + i0.long()) * width + j0.long()
    grid = torch.zeros(2, b * height * width, device=rows.device)
    for di, dj, w in ((0, 0, (1 - fi) * (1 - fj)), (0, 1, (1 - fi) * fj), (1, 0, fi * (1 - fj)), (1, 1, fi * fj)):
        index = (base + di * width + dj).flatten()
        grid[0].index_add_(0, index, (re * w).flatten())
        grid[1].index_add_(0, index, (im * w).flatten())
    return torch.complex(grid[0], grid[1]).view(b, height, width)


def gaussian_response(sigma: Tensor, n: int) -> Tensor:
    """Transfer function (*, n) of a Gaussian of `sigma` (*) samples, unit energy in space, on the FFT's frequencies."""
    f = torch.fft.fftfreq(n, device=sigma.device)
    g = torch.exp(-2 * (torch.pi * f * sigma[..., None]) ** 2)
    return g / g.square().mean(-1, keepdim=True).sqrt()


class Scanner:
    """B scanners, one a patient: sector, transducer, scatterers, display. See `render`."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", base_mm: Tensor | None = None) -> None:
        self.seeds = [int(s) for s in seeds]
        self.device = torch.device(device)
        self.sector = SectorGeometry(seeds, device, base_mm)
        d = PatientDraws(seeds, stream=12, device=device)
        s = self.sector
        self.row_mm = s.depth / (ROWS - 1 - 2 * MARGIN)
        self.line_rad = (s.right - s.left) / (LINES - 1 - 2 * MARGIN)
        # transducer: effective wavelength (harmonic imaging decorrelates less than its carrier says), pulse, aperture
        self.wavelength = d.uniform(0.9, 2.6)  # mm
        self.axial_sigma = d.log_uniform(0.35, 0.9)  # mm, of the pulse's amplitude
        aperture = d.uniform(15, 26)
        focus = d.uniform(50, 120)
        beam = d.log_uniform(0.15, 0.45)  # mm, sigma of the diffracted beam a mm of range over a mm of aperture
        sidelobe = d.log_uniform(0.01, 0.08)
        r = (torch.arange(ROWS, device=device) - MARGIN)[None] * self.row_mm[:, None] + s.face_radius[:, None]
        self.row_range = r.clamp(min=0.5)
        depth = (r - s.face_radius[:, None]).clamp(min=0)
        width = torch.sqrt(
            (beam[:, None] * self.row_range / aperture[:, None]) ** 2
            + (0.05 * aperture[:, None] * (1 - depth / focus[:, None])) ** 2 * (depth > 0)
        )
        self.lateral_sigma = (width / (self.row_range * self.line_rad[:, None])).clamp(0.8, 7.0)  # lines
        self.axial_response = gaussian_response((self.axial_sigma / self.row_mm).clamp(min=0.6), ROWS)
        wide = gaussian_response((self.lateral_sigma * 4).clamp(max=20.0), LINES)
        self.lateral_response = gaussian_response(self.lateral_sigma, LINES) + sidelobe[:, None, None] * wide
        # scatterers on a jittered polar grid: the number in a resolution cell hardly depends on depth
        g = PatientDraws(seeds, stream=13, device=device)
        n = (SCATTERER_ROWS, SCATTERER_LINES)
        i = (torch.arange(n[0], device=device)[:, None] + g.uniform(-0.5, 0.5, *n)) * ((ROWS - 1) / (n[0] - 1))
        j = (torch.arange(n[1], device=device)[None, :] + g.uniform(-0.5, 0.5, *n)) * ((LINES - 1) / (n[1] - 1))
        radius = s.face_radius[:, None] + (i.flatten(1) - MARGIN) * self.row_mm[:, None]
        angle = s.left[:, None] + (j.flatten(1) - MARGIN) * self.line_rad[:, None]
        keep = radius > 0
        self.points = s.cartesian(radius.clamp(min=0.05), angle)
        spread = d.uniform(0.0, 0.6)[:, None]
        strength = torch.exp(g.normal(n[0] * n[1]) * spread - spread**2) * keep
        self.strength_a = g.normal(n[0] * n[1]) * strength
        self.strength_b = g.normal(n[0] * n[1]) * strength
        self.restless = 1 + d.chance(0.2) * d.uniform(0.3, 1.2)  # some hearts swing far through the scan plane
        self.out_of_plane = d.log_uniform(0.06, 0.5) * self.restless
        self.blood_renewal = d.uniform(2.0, 8.0)
        self.drift_phase = d.uniform(0, 2 * torch.pi)
        self.noise_knots = d.uniform(18, 60).round()
        self.echogenicity = Echogenicity(seeds, n, s, device)
        self.display = Display(seeds, self)

    def polar_grid(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 2) mm -> range mm, and fractional row and line of the polar grid, each (B, N)."""
        r, a = self.sector.polar(points)
        rows = (r - self.sector.face_radius[:, None]) / self.row_mm[:, None] + MARGIN
        lines = (a - self.sector.left[:, None]) / self.line_rad[:, None] + MARGIN
        return r, rows, lines

    def blur(self, iq: Tensor) -> Tensor:
        """The separable point spread function, along range and then across beams: (B, ROWS, LINES) complex -> the
        same."""
        # Patient by patient, since the last digits of several transforms at once hang on how many they are.
        along = [
            torch.fft.ifft(torch.fft.fft(one, dim=0) * response[:, None], dim=0)
            for one, response in zip(iq, self.axial_response, strict=True)
        ]
        across = [
            torch.fft.ifft(torch.fft.fft(one, dim=1) * response, dim=1)
            for one, response in zip(along, self.lateral_response, strict=True)
        ]
        return torch.stack(across)

    def echo(self, points: Tensor, amplitude: Tensor) -> Tensor:
        """Complex baseband (B, ROWS, LINES) of scatterers (B, N, 2) mm of signed `amplitude` (B, N)."""
        r, rows, lines = self.polar_grid(points)
        angle = r * (-4 * torch.pi / self.wavelength[:, None])
        return self.blur(splat(rows, lines, amplitude * torch.cos(angle), amplitude * torch.sin(angle), ROWS, LINES))

    def noise(self, phase: Tensor, stream: int = 0) -> Tensor:
        """White complex noise (B, ROWS, LINES) at `phase` (B,) in beats; frames nearer than a knot share part of it."""
        position = phase.double().cpu() * self.noise_knots.double().cpu()
        fields = []
        for b, seed in enumerate(self.seeds):
            knot = int(torch.floor(position[b]))
            angle = float(position[b] - knot) * torch.pi / 2
            first, second = (
                torch.randn(2, ROWS, LINES, generator=generator(seed, 14 + stream, k)) for k in (knot, knot + 1)
            )
            mixed = first * torch.cos(torch.tensor(angle)) + second * torch.sin(torch.tensor(angle))
            fields.append(torch.complex(mixed[0], mixed[1]))
        return torch.stack(fields).to(self.device) * 0.70710678

    def through_plane(self, phase: Tensor) -> Tensor:
        """(B,) position of the scan plane in the tissue at `phase` (B,), in [-1.5, 1.5], 0 on average over the beat."""
        turn = 2 * torch.pi * torch.remainder(phase, 1.0)
        return torch.sin(turn + self.drift_phase) + 0.5 * torch.sin(2 * turn + 2.1 * self.drift_phase)

    def iq(self, heart: Tissue, phase: Tensor) -> Tensor:
        """Noise-free complex baseband echo (B, ROWS, LINES) of the heart at `phase` (B,)."""
        cyclic, through = torch.remainder(phase, 1.0), self.through_plane(phase)
        decibel, blood = self.echogenicity(heart, self.points, cyclic, through * self.restless)
        # the plane's motion turns each scatterer's strength from a to b and back
        turn = (self.out_of_plane * through)[:, None] * torch.where(blood, self.blood_renewal[:, None], 1.0)
        strength = self.strength_a * torch.cos(turn) + self.strength_b * torch.sin(turn)
        return self.echo(heart.forward(self.points, cyclic), strength * torch.exp(decibel * 0.115129))  # ln(10) / 20

    def frame(self, heart: Tissue, phase: Tensor, size: int) -> Tensor:
        """(B, 1, size, size) in [0, 1], exactly 0 outside the sector."""
        return self.display.image(
            self.display.gray(self.iq(heart, phase), self.noise(phase), self.through_plane(phase)), size
        )

    def render(self, heart: Tissue, phases: Tensor, size: int) -> Tensor:
        """phases (B, T) in beats, ED at whole numbers -> (B, T, 1, size, size) float32 in [0, 1]."""
        return torch.stack([self.frame(heart, phases[:, t], size) for t in range(phases.shape[1])], 1)
