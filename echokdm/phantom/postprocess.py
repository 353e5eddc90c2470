"""From baseband echoes to the picture: gains, shadows, clutter, noise, log compression, gray map, scan conversion.

Every range below is a patient's draw. They are set so that real clips lie inside the population's spread in the
statistics of `echokdm.phantom.statistics` (successive-frame correlation, gray levels by depth, ED-to-ES distances).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.warp import sample
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.sector import LINES, MARGIN, ROWS

if TYPE_CHECKING:
    from echokdm.phantom.ultrasound import Scanner


def box(x: Tensor, rows: int, lines: int) -> Tensor:
    """Moving average over odd windows of an (B, H, W) field, the edges repeated."""
    padded = F.pad(x[:, None], (lines // 2, lines // 2, rows // 2, rows // 2), mode="replicate")
    return F.avg_pool2d(padded, (rows, lines), stride=1)[:, 0]


def binomial(x: Tensor) -> Tensor:
    """3 x 3 binomial smoothing of (B, H, W)."""
    p = F.pad(x[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    p = (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]) / 4
    return (p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]) / 4


class Display:
    """The scanner's settings and what stands between probe and heart, for B patients."""

    def __init__(self, seeds: Sequence[int], scanner: "Scanner") -> None:
        d = PatientDraws(seeds, stream=21, device=scanner.device)
        self.sector = scanner.sector
        self._row_mm, self._line_rad = scanner.row_mm, scanner.line_rad
        rows = torch.arange(ROWS, device=scanner.device)[None] - MARGIN
        self.depth_mm = (rows * scanner.row_mm[:, None]).clamp(min=0)
        x = self.depth_mm / scanner.sector.depth[:, None]  # 0 at the probe, 1 at the far edge
        u = (torch.arange(LINES, device=scanner.device) - MARGIN) / (LINES - 1 - 2 * MARGIN)
        self._gain_db = self._obstruction_db(d, x, u.clamp(0, 1))
        # breathing and twisting change what stands in the way: a second field comes and goes with the beat
        self._gain_swing = (
            F.interpolate(
                d.normal(1, 6, 6) * d.uniform(0.0, 2.2, 1, 1, 1), (ROWS, LINES), mode="bicubic", align_corners=True
            )[:, 0]
            * scanner.restless[:, None, None]
        )
        # electronic noise relative to tissue: flat up to some depth, then rising as the TGC makes up for attenuation
        knee = d.uniform(0.2, 0.8)[:, None]
        self.noise_gain = (
            10 ** ((d.uniform(-68, -18)[:, None] + d.uniform(0, 22)[:, None] * (x - knee).clamp(min=0)) / 20)[..., None]
        )
        # time gain compensation is not perfect: a smooth curve remains, and most settings let the far field fall off
        sliders = F.interpolate(d.normal(1, 6) * d.uniform(0.5, 3.0, 1, 1), ROWS, mode="linear", align_corners=True)[
            :, 0
        ]
        near = d.uniform(-7, 2)[:, None] * torch.exp(-((x / 0.33) ** 2))
        self.tgc_db = (sliders + near + d.uniform(-14, 8)[:, None] * (x - 0.4))[..., None]
        self.haze = d.log_uniform(1e-4, 3e-2)[:, None, None]
        self.clutter = scanner.blur(torch.complex(d.normal(ROWS, LINES), d.normal(ROWS, LINES))) * 0.7071
        self.clutter = self.clutter * self._near_field(d)
        # multipath and side lobes lay a haze with a grain of its own over the cavity; it partly turns with the beat
        dark = d.chance(0.22)  # some scanners show little but walls, on black
        level = (1 - dark) * d.uniform(-23, -9) + dark * d.uniform(-60, -25)
        uneven = F.interpolate(
            d.normal(1, 5, 5) * d.uniform(0.5, 3.5, 1, 1, 1), (ROWS, LINES), mode="bicubic", align_corners=True
        )[:, 0]
        veil_gain = 0.7071 * torch.exp((level[:, None, None] + uneven) * 0.115129)
        self._veil = [
            scanner.blur(torch.complex(d.normal(ROWS, LINES), d.normal(ROWS, LINES))) * veil_gain for _ in range(2)
        ]
        self._veil_turn = d.uniform(0.0, 0.7)[:, None, None]
        # log compression and gray map u ** gamma: tissue of 0 dB gets the gray `tissue` and there gains `slope` a dB
        tissue, gamma = (1 - dark) * d.uniform(0.34, 0.8) + dark * d.uniform(0.09, 0.28), d.log_uniform(1.2, 3.8)
        black = (gamma * tissue / d.log_uniform(0.012, 0.032)).clamp(23, 46)  # dB from tissue down to black
        self.level = (tissue ** (1 / gamma))[:, None, None]
        self.range_db = black[:, None, None] / self.level
        self.gamma = gamma[:, None, None]
        # adaptive compression evens out the near field, where clutter and weak walls are all there is
        reach = torch.exp(-((x / d.uniform(0.25, 0.48)[:, None]) ** 4))
        self.near_contrast = (d.uniform(-0.3, 1.1).clamp(0, 0.8)[:, None] * reach)[..., None]
        self.near_level = d.log_uniform(0.09, 0.3)[:, None, None] ** (1 / self.gamma)
        # share of what compounding of angles and pulses averages
        self.compound = d.uniform(0.5, 1.5).clamp(0, 1)[:, None, None]
        self.compound_more = d.uniform(-0.3, 1.5).clamp(0, 1)[:, None, None]
        self.smooth = (d.uniform(-0.4, 1.0)).clamp(0, 1)[:, None, None]
        self.sharpen = (d.uniform(-1.0, 1.0)).clamp(0, 1)[:, None, None]
        self.grain = d.uniform(-0.004, 0.014).clamp(min=0)[:, None, None]
        self._maps: dict[int, tuple[Tensor, Tensor]] = {}

    def _obstruction_db(self, d: PatientDraws, x: Tensor, u: Tensor) -> Tensor:
        """(B, R, L) dB that ribs, lung, poor contact and dropout take from the tissue's echo."""
        b = x.shape[0]
        u = u[None].expand(b, -1)
        total = F.interpolate(
            d.normal(1, 6, 6) * d.uniform(0.5, 5.0, 1, 1, 1), (ROWS, LINES), mode="bicubic", align_corners=True
        )[:, 0]
        # both sides of the sector fade, often one of them much more than the other
        for side in (u, 1 - u):
            reach = d.uniform(0.02, 0.3)[:, None]
            loss = (d.uniform(-8, 26).clamp(min=0))[:, None]
            angular = torch.sigmoid((reach - side) / 0.05)
            onset = torch.sigmoid((x - d.uniform(-0.3, 0.5)[:, None]) / 0.06)
            total = total - (loss * angular)[:, None, :] * onset[:, :, None]
        # ribs or calcium: narrow shadows below some depth
        for _ in range(2):
            centre, width = d.uniform(0, 1)[:, None], d.log_uniform(0.015, 0.08)[:, None]
            loss = d.uniform(-10, 12).clamp(min=0)[:, None]
            angular = torch.exp(-0.5 * ((u - centre) / width) ** 2)
            onset = torch.sigmoid((x - d.uniform(0.0, 0.6)[:, None]) / 0.02)
            total = total - (loss * angular)[:, None, :] * onset[:, :, None]
        # dropout, mostly of the walls that run along the beam
        for _ in range(3):
            loss = d.uniform(-8, 20).clamp(min=0)[:, None, None]
            du = (u[:, None, :] - d.uniform(0.1, 0.9)[:, None, None]) / d.uniform(0.05, 0.14)[:, None, None]
            dx = (x[:, :, None] - d.uniform(0.1, 0.9)[:, None, None]) / d.uniform(0.05, 0.16)[:, None, None]
            total = total - loss * torch.exp(-0.5 * (du * du + dx * dx))
        # the beam is not yet formed near the probe: walls are weak there, and clutter fills them in
        total = (
            total
            - (d.uniform(-4, 14).clamp(min=0)[:, None] * torch.exp(-((x / d.uniform(0.12, 0.4)[:, None]) ** 2)))[
                :, :, None
            ]
        )
        # whoever scans turns the gain up until most of the picture shows
        return total - total.flatten(1).quantile(0.65, dim=1)[:, None, None]

    def _near_field(self, d: PatientDraws) -> Tensor:
        """(B, R, L) amplitude of the clutter that stands still: ring-down at the face, its reverberations, a haze
        below."""
        mm = self.depth_mm
        power = d.log_uniform(8e-3, 0.6)[:, None] * torch.exp(-((mm / d.uniform(20, 70)[:, None]) ** 1.5))
        spacing = d.uniform(3.0, 13.0)[:, None]
        for k in (0, 1, 2, 3):
            strength = d.log_uniform(0.02, 3.0)[:, None] * 0.35**k * (self.sector.face_radius[:, None] / 8).clamp(max=1)
            power = power + strength * torch.exp(-0.5 * ((mm - k * spacing - 1) / d.uniform(0.7, 1.8)[:, None]) ** 2)
        across = F.interpolate(d.normal(1, 9), LINES, mode="linear", align_corners=True)[:, 0]
        return power.sqrt()[:, :, None] * 10 ** (across * d.uniform(1, 5)[:, None] / 20)[:, None, :]

    def gray(self, iq: Tensor, noise: Tensor, through: Tensor) -> Tensor:
        """Baseband echo and white noise (B, R, L) complex, out-of-plane position (B,) -> polar picture (B, R, L) in [0,
        1]."""
        signal = iq * torch.exp((self._gain_db + self._gain_swing * through[:, None, None]) * 0.115129)  # ln(10) / 20
        power = signal.real.square() + signal.imag.square()
        # what side lobes and multipath spread far and wide: a coarse grid is enough
        coarse = box(box(F.avg_pool2d(power[:, None], 8)[:, 0], 3, 5), 3, 5)
        blurred = F.interpolate(coarse[:, None], (ROWS, LINES), mode="bilinear", align_corners=False)[:, 0]
        speckle = (noise[:, 1:] + noise[:, :-1]) * 0.7071
        speckle = torch.cat([noise[:, :1], speckle], 1)
        turn = self._veil_turn * through[:, None, None]
        veil = self._veil[0] * torch.cos(turn) + self._veil[1] * torch.sin(turn)
        total = signal + self.clutter + veil + speckle * (self.noise_gain + (self.haze * blurred).sqrt())
        power = total.real.square() + total.imag.square()
        once = binomial(power)
        power = power + self.compound * (once - power)
        power = power + self.compound_more * (binomial(once) - power)
        decibel = 10 * torch.log10(power + 1e-9) + self.tgc_db
        gray = self.level + decibel / self.range_db
        gray = gray + self.near_contrast * (self.near_level - gray)
        if bool((self.smooth > 0).any() | (self.sharpen > 0).any()):
            smoothed = binomial(gray.clamp(-0.5, 1.5))
            gray = gray + (self.smooth - self.sharpen) * (smoothed - gray)
        # what digitising and coding the video leave, even in the black
        return (gray.clamp(0, 1) ** self.gamma + self.grain * noise.real).clamp(0, 1)

    def image(self, gray: Tensor, size: int) -> Tensor:
        """Scan conversion (B, R, L) -> (B, 1, size, size): twice the size, averaged down; exactly 0 outside the
        sector."""
        if size not in self._maps:
            fine = self.sector.pixels_mm(2 * size)
            r, a = self.sector.polar(fine)
            near = self.sector.face_radius[:, None]
            r = r.clamp(min=near).minimum(near + self.sector.depth[:, None])
            a = a.maximum(self.sector.left[:, None]).minimum(self.sector.right[:, None])
            rows = (r - near) / self._row_mm[:, None] + MARGIN
            lines = (a - self.sector.left[:, None]) / self._line_rad[:, None] + MARGIN
            points = torch.stack([lines, rows], 1).view(-1, 2, 2 * size, 2 * size)
            inside = self.sector.contains(self.sector.pixels_mm(size)).view(-1, 1, size, size)
            self._maps[size] = (points, inside.float())
        points, inside = self._maps[size]
        return F.avg_pool2d(sample(gray[:, None], points), 2) * inside
