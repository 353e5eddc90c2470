"""Anatomy of the A4C phantom at end-diastole: what is drawn for each patient, and where every wall lies.

Everything lives in the patient's LV frame, in mm: `eta` runs along the LV long axis from the endocardial apex (0) to
the mitral annulus (`length`) and on through the atria; `xi` is transverse, positive towards the lateral wall. At one
`eta` the walls are met in this order, from left to right: RV/RA free wall, RV/RA cavity, septum, LV/LA cavity, lateral
wall. So a wall is a function of `eta` alone, which makes maps cheap and orderings (no folding) easy to keep.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from echokdm.core.seeding import generator

SEPTAL, LATERAL = 0, 1
_STREAM = 0x48656172  # keeps the heart's random numbers apart from those of the scanner that images the same seed

RANGES: dict[str, tuple[float, float]] = {
    # function and timing
    "ef": (0.17, 0.75),
    "heart_rate": (45.0, 120.0),
    "systole_jitter": (0.93, 1.07),
    "mapse_jitter": (-2.0, 2.0),
    "filling_early": (0.5, 0.78),
    "filling_slow": (0.02, 0.08),
    "swing": (-1.5, 2.5),
    # left ventricle, mm
    "length": (62.0, 92.0),
    "diameter": (33.0, 50.0),
    "dilation": (0.0, 1.0),
    "wall": (7.5, 16.4),
    "lateral_ratio": (0.76, 1.06),
    "apex_ratio": (0.6, 1.2),
    "widest": (0.5, 0.72),
    "bluntness": (2.0, 3.2),
    "annulus_ratio": (0.62, 0.84),
    "bow": (-4.0, 3.0),
    "annulus_slope": (-0.06, 0.22),
    **{f"shape_{side}{k}": (-1.0, 1.0) for side in "sl" for k in (1, 2, 3)},
    **{f"region_{side}{k}": (-1.0, 1.0) for side in "sl" for k in (1, 2)},
    "long_power": (1.05, 1.45),
    "base_shortening": (0.35, 0.65),
    "lateral_long": (-1.5, 2.5),
    "rv_long": (1.0, 1.7),
    # atria and right heart, mm
    "la_length": (30.0, 54.0),
    "la_width": (28.0, 47.0),
    "la_shift": (-4.0, 6.0),
    "atrial_wall": (2.0, 3.5),
    "la_swell": (0.05, 0.32),
    "rv_apex": (0.06, 0.32),
    "rv_width": (22.0, 38.0),
    "rv_wall": (3.0, 5.5),
    "rv_blunt": (0.8, 1.35),
    "rv_squeeze": (0.5, 1.1),
    "tv_offset": (3.0, 8.0),
    "tv_slope": (0.0, 0.2),
    "tv_ratio": (0.78, 0.95),
    "ra_length": (34.0, 50.0),
    "ra_width": (30.0, 44.0),
    # valves: where they meet, how deep they tent (mm), how far they open (degrees), how they bend (radians), thickness
    # (mm)
    "mv_meet": (0.56, 0.68),
    "mv_tent": (0.5, 7.0),
    "mv_open_a": (62.0, 88.0),
    "mv_open_p": (70.0, 105.0),
    "mv_belly": (0.1, 0.55),
    "tv_meet": (0.42, 0.58),
    "tv_tent": (1.0, 6.0),
    "tv_open": (60.0, 90.0),
    "leaflet": (1.6, 2.8),
    "opening_mid": (0.1, 0.6),
    "opening_atrial": (0.55, 0.95),
    # texture of the cavities: papillary muscles (place along the axis, length and width in mm), trabeculae (mm)
    "papillary_at": (0.42, 0.6),
    "papillary_length": (14.0, 26.0),
    "papillary_width": (5.0, 9.5),
    "papillary_shown": (0.0, 1.0),
    "papillary2_at": (0.4, 0.62),
    "papillary2_shown": (0.0, 1.0),
    "trabecula_lv": (0.6, 4.5),
    "trabecula_rv": (1.0, 4.0),
    "trabecula_phase": (0.0, 6.283),
    "band_at": (0.35, 0.6),
    "band_shown": (0.0, 1.0),
    "pericardium": (1.0, 3.4),
    "lung_right": (5.0, 22.0),
    "lung_left": (4.0, 25.0),
    # place: depth of the apex (mm), bearing of the mid-ventricle from the probe (degrees), tilt (three numbers make a
    # bell)
    "apex_depth": (18.0, 42.0),
    "bearing": (-6.0, 15.0),
    "tilt_a": (-1.0, 1.0),
    "tilt_b": (-1.0, 1.0),
    "tilt_c": (-1.0, 1.0),
    "asymmetry": (-0.26, 0.26),  # by which the lateral wall's share of the squeeze exceeds the septum's
    "lateral_fade": (25.0, 60.0),  # mm over which what lies beyond the lateral wall follows it less and less
    "atrial_tail": (-13.0, 8.0),  # mm beyond the left atrium's roof that the base's travel reaches
    # s by which the base goes back before the walls do, and the right heart after the left; mm that the cavity's tip is
    # filled at ES
    "long_lead": (-0.02, 0.07),
    "right_lag": (-0.02, 0.1),
    "apex_fill": (1.0, 3.8),
}


def smoothstep(x: Tensor) -> Tensor:
    """Cubic step: 0 below 0, 1 above 1, slope 0 at both."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Rows:
    """Walls at given axial positions; all (B, R, 1), mm. Half-widths are pairs (septal, lateral) from `centre`.

    cavity: LV, then LA. outer: epicardium, then the atrial septum's far side or the atrial wall. right: width of RV,
    then RA, measured from the septum's far side; free_wall: thickness beyond it.
    """

    eta: Tensor
    centre: Tensor
    cavity: tuple[Tensor, Tensor]
    outer: tuple[Tensor, Tensor]
    right: Tensor
    free_wall: Tensor


class Anatomy:
    """Parameters of B patients, each (B, 1, 1) float32, and the walls they give. Patient b depends on seeds[b]
    alone."""

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", ef: Tensor | None = None) -> None:
        """ef: (B,) ejection fractions in place of the drawn ones; the same heart at end-diastole beats with them."""
        unit = torch.stack([torch.rand(len(RANGES), generator=generator(seed, _STREAM)) for seed in seeds])
        values = {
            n: (lo + (hi - lo) * unit[:, i]).to(device).view(-1, 1, 1) for i, (n, (lo, hi)) in enumerate(RANGES.items())
        }
        self._values = values
        p = self.__getitem__
        # Ventricles that pump badly are dilated more often.
        values["diameter"] = p("diameter") + 14 * p("dilation") * ((0.5 - p("ef")) / 0.35).clamp(0, 1)
        if ef is not None:
            values["ef"] = ef.to(p("ef")).view(-1, 1, 1)
        # Annular excursion follows EF: about 4-6 mm at 15 %, 15-20 mm at 75 %.
        values["mapse"] = (p("length") / 86 * (5 + 13.5 * (p("ef") - 0.15) / 0.6 + p("mapse_jitter"))).clamp(4, 20)
        values["apex_wall"] = p("wall") * p("apex_ratio")
        values["annulus"] = 0.5 * p("diameter") * p("annulus_ratio")
        values["roof"] = p("length") + p("la_length")
        values["tv"] = p("length") - p("tv_offset")
        values["tilt"] = math.radians(8) + math.radians(24) / 3 * (p("tilt_a") + p("tilt_b") + p("tilt_c"))
        cos, sin, depth = p("tilt").cos(), p("tilt").sin(), torch.maximum(p("apex_depth"), p("apex_wall") + 7)
        middle = (depth + 0.5 * p("length") * cos) * torch.tan(p("bearing") * (math.pi / 180))
        reach = 0.42 * depth + 3
        values["origin_x"] = torch.minimum(torch.maximum(middle - 0.5 * p("length") * sin, -reach), reach)
        values["origin_y"] = depth
        self.cos, self.sin = cos, sin
        self.size = len(unit)

    def __getitem__(self, name: str) -> Tensor:
        """A parameter, (B, 1, 1)."""
        return self._values[name]

    def to_local(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Image mm (x right, y down, probe at the origin) -> (xi, eta); broadcasts with (B, 1, 1)."""
        x, y = x - self["origin_x"], y - self["origin_y"]
        return x * self.cos - y * self.sin, x * self.sin + y * self.cos

    def to_image(self, xi: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        """(xi, eta) -> image mm."""
        return (self["origin_x"] + xi * self.cos + eta * self.sin, self["origin_y"] - xi * self.sin + eta * self.cos)

    def centre(self, eta: Tensor) -> Tensor:
        """The long axis' own slight bend, and the left atrium's shift against the ventricle."""
        s = (eta / self["length"]).clamp(0, 1)
        bow = self["bow"] * torch.sin(math.pi * s) ** 2
        return bow + self["la_shift"] * smoothstep((eta - self["length"]) / (0.6 * self["la_length"]))

    def half_width(self, eta: Tensor, offset: Tensor | float, side: int, closed: bool = True) -> Tensor:
        """Half-width at `eta` of the shell `offset` mm outside the LV endocardium, and of the atrium below.

        A truncated bullet: (1 - (1 - s)^p)^(1/2) up to the widest place, a parabola from there to the annulus, plus
        three sine modes a side. Below the annulus the shell thins to the atrial wall. closed: the atrium's roof closes
        (else it runs on).
        """
        length, widest = self["length"], self["widest"] * self["length"]
        below = eta - length
        thin = smoothstep(below / 12)
        offset = torch.as_tensor(offset, device=eta.device)
        offset = offset * (1 - thin) + torch.minimum(offset, self["atrial_wall"]) * thin
        tip = offset * self["apex_ratio"]
        up = ((eta + tip) / (widest + tip)).clamp(0, 1)
        down = ((eta - widest) / (length - widest)).clamp(0, 1)
        radius = 0.5 * self["diameter"]
        width = (radius + offset) * (1 - (1 - up) ** self["bluntness"]).clamp(min=0).sqrt()
        width = width - (radius - self["annulus"]) * down * down
        s, key = (eta / length).clamp(0, 1), "sl"[side]
        modes = sum(
            a * self[f"shape_{key}{k}"] * torch.sin(k * math.pi * s) for k, a in ((1, 0.07), (2, 0.045), (3, 0.025))
        )
        width = width + radius * modes * (up * 4).clamp(0, 1)
        t = below / (self["la_length"] + offset)
        width = width + (0.5 * self["la_width"] - self["annulus"]) * smoothstep(t / 0.45)
        if closed:
            roof = ((t - 0.5) / 0.5).clamp(0, 1)
            width = width * (1 - roof ** (4 if side == SEPTAL else 2)).sqrt()
        return width.clamp(min=0)

    def outer(self, eta: Tensor, extra: float, side: int) -> Tensor:
        """Half-width of the epicardium, `extra` mm further out; on the septal side the atrial septum runs on
        straight."""
        wall = self["wall"] * (1 if side == SEPTAL else self["lateral_ratio"])
        return self.half_width(eta, wall + extra, side, closed=side == LATERAL)

    def right_width(self, eta: Tensor) -> Tensor:
        """Width of the right heart's cavity left of the septum: RV from its apex to the tricuspid plane, then RA."""
        start = self["rv_apex"] * self["length"]
        t = (eta - start) / (self["tv"] - start)
        swell = (1 - (1 - (t / 0.8).clamp(0, 1)) ** 2) ** self["rv_blunt"]
        base = 1 - (1 - self["tv_ratio"]) * ((t - 0.8) / 0.2).clamp(0, 1) ** 2
        width = self["rv_width"] * swell * base
        t = (eta - self["tv"]) / self["ra_length"]
        width = width + (self["ra_width"] - self["rv_width"] * self["tv_ratio"]) * smoothstep(t / 0.4)
        return width * (1 - ((t - 0.5) / 0.5).clamp(0, 1) ** 2).sqrt()

    def rows(self, eta: Tensor) -> Rows:
        """All walls at `eta` (B, R, 1)."""
        right = self.right_width(eta)
        wall = self["rv_wall"] + (self["atrial_wall"] - self["rv_wall"]) * smoothstep((eta - self["tv"]) / 8)
        slope = (self.right_width(eta + 0.5) - self.right_width(eta - 0.5)).clamp(-2.5, 2.5)
        free = wall * (1 + slope**2).sqrt() * smoothstep(right / 6)
        return Rows(
            eta,
            self.centre(eta),
            (self.half_width(eta, 0.0, SEPTAL), self.half_width(eta, 0.0, LATERAL)),
            (self.outer(eta, 0.0, SEPTAL), self.outer(eta, 0.0, LATERAL)),
            right,
            free,
        )

    def annulus_eta(self, xi: Tensor) -> Tensor:
        """Axial position of the mitral plane at `xi`; the septal hinge lies lower where the slope is positive."""
        return self["length"] - self["annulus_slope"] * torch.minimum(
            torch.maximum(xi, -self["annulus"]), self["annulus"]
        )

    def tricuspid_eta(self, xi: Tensor) -> Tensor:
        """Axial position of the tricuspid plane at `xi`; the free wall's hinge lies nearer to the apex."""
        septum = -self["annulus"] - self["wall"]
        return self["tv"] - self["tv_slope"] * (septum - xi).clamp(0, 60)

    def endocardium(self, count: int) -> Tensor:
        """LV endocardial outline (B, 2 * count + 8, 2) as (xi, eta): septal hinge, apex, lateral hinge, the mitral
        plane.

        Points are denser near the apex, where the wall turns; point 2 * count + 4 is the plane's middle.
        """
        t = torch.linspace(0, 1, count + 1, device=self.cos.device).view(1, -1, 1)
        slope = self["annulus_slope"] * self["annulus"]
        walls = []
        for side, sign in ((SEPTAL, -1.0), (LATERAL, 1.0)):
            eta = t * t * (1.6 - 0.6 * t) * (self["length"] - sign * slope)
            walls.append(torch.cat([self.centre(eta) + sign * self.half_width(eta, 0.0, side), eta], -1))
        septal, lateral = walls
        f = torch.linspace(0, 1, 9, device=t.device)[1:-1].view(1, -1, 1)
        plane = lateral[:, -1:] + (septal[:, -1:] - lateral[:, -1:]) * f
        return torch.cat([septal.flip(1), lateral[:, 1:], plane], 1)
