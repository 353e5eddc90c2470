"""The beating: where a material point of the end-diastolic heart goes, as one smooth displacement field a phase.

Across the LV wall the map keeps volume about the long axis: with eta' = g(eta) and an endocardium that shrinks from a
to a', r'^2 = (r^2 - a^2) / g' + a'^2 (incompressible thick-walled tube). Inside, the cavity scales; outside, the
displacement fades. Its Jacobian is triangular up to slow terms, so it does not fold. The field is laid on a grid once a
phase and looked up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from echokdm.phantom.anatomy import LATERAL, SEPTAL, Anatomy, Rows, smoothstep

FADE = 40.0  # mm from the right heart's outer wall to where nothing moves
# from the sector's edge, where nothing moves, to full motion: this many times the excursion at that level, plus 6 mm
EDGE = 1.6
TAPSE = 23.0  # mm, the most that the tricuspid annulus moves


@dataclass(frozen=True)
class Contraction:
    """How far three parts of the heart are from ED (0) to ES (1), each (B, 1, 1 or K).

    radial: the LV's walls inwards. axial: its base towards the apex. right: the right heart.
    """

    radial: Tensor
    axial: Tensor
    right: Tensor


class Motion:
    """Displacement of B patients in their LV frame; `squeeze` is the radial amplitude.

    edge_distance: points (B, N, 2) image mm -> how far inside the sector they lie (B, N), mm; None: there is no edge.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.edge_distance: Callable[[Tensor], Tensor] | None = None
        self._base = self._long_raw(anatomy["length"])

    def sector_weight(self, xi: Tensor, eta: Tensor) -> Tensor:
        """0 within 15 mm of the probe and at the sector's edge where one is set, 1 away from both; (B, R, C) local
        mm."""
        x, y = self.anatomy.to_image(xi, eta)
        weight = smoothstep(((x * x + y * y).sqrt() - 15) / 15)
        if self.edge_distance is not None:
            distance = self.edge_distance(torch.stack([x, y], -1).flatten(1, 2)).view_as(weight)
            p = self.anatomy
            excursion = p["mapse"] * p["rv_long"] * self.long_weight(eta) + 0.5 * p["la_width"] * self._swell(eta)
            weight = weight * smoothstep(distance / (6 + EDGE * excursion))
        return weight

    def heart_weight(self, rows: Rows, xi: Tensor) -> Tensor:
        """1 inside the heart's outer walls, fading to 0 outside them: over `FADE` mm on the right heart's side."""
        x = xi - rows.centre
        left = -x - rows.outer[SEPTAL] - self._right_reach(rows.eta)
        return 1 - smoothstep(
            torch.maximum(left / FADE, (x - rows.outer[LATERAL]) / self.anatomy["lateral_fade"]).clamp(min=0)
        )

    def _right_reach(self, eta: Tensor) -> Tensor:
        """How far the right heart reaches beyond the septum, smoothed: a fade that followed its blunt apex would
        shear."""
        p = self.anatomy
        start = p["rv_apex"] * p["length"]
        return (torch.maximum(p["rv_width"], p["ra_width"]) + p["rv_wall"]) * smoothstep(
            (eta - start + 20) / (p["tv"] - start)
        )

    def _long_raw(self, eta: Tensor) -> Tensor:
        p = self.anatomy
        up = (eta / p["length"]).clamp(min=0) ** p["long_power"]
        down = smoothstep((p["roof"] + p["atrial_tail"] - eta) / (p["la_length"] + p["atrial_tail"] + 10))
        blend = 0.5 * (up + down - ((up - down) ** 2 + 0.02 * smoothstep(up)).sqrt())
        return blend.clamp(min=0)

    def long_weight(self, eta: Tensor) -> Tensor:
        """Share of the annular excursion at `eta`: 0 at the apex, 1 at the annulus, 0 about the roof."""
        return self._long_raw(eta) / self._base

    def tip_descent(self, eta: Tensor) -> Tensor:
        """How far the cavity's tip has come down at ES at `eta`, mm, because its wall thickens and trabeculae close
        up."""
        p = self.anatomy
        reach = p["apex_wall"] + 12
        return p["apex_fill"] * p["ef"] / 0.6 * smoothstep((eta + reach) / reach) * (1 - smoothstep(eta / 45))

    def travel(self, xi: Tensor, contraction: Contraction) -> Tensor:
        """Of the annular plane towards the apex at `xi`, mm: lateral and tricuspid hinges travel further."""
        p = self.anatomy
        tilt = p["lateral_long"] * (xi / 60).clamp(-0.5, 0.5) * (p["mapse"] / 12)
        far = smoothstep((-xi - p["annulus"] - p["wall"]) / p["rv_width"])
        left, right = (
            contraction.axial * (p["mapse"] + tilt),
            contraction.right * ((p["mapse"] * p["rv_long"]).clamp(max=TAPSE) + tilt),
        )
        return left + far * (right - left)

    def _cavity_scale(self, eta: Tensor, contraction: Tensor, squeeze: Tensor, side: int) -> Tensor:
        p = self.anatomy
        s, key = (eta / p["length"]).clamp(0, 1), "sl"[side]
        region = sum(0.1 * p[f"region_{key}{k}"] * torch.cos(k * math.pi * s) for k in (1, 2))
        share = (1 - (1 - p["base_shortening"]) * smoothstep((s - 0.55) / 0.45)) * (1 + region)
        share = share * (1 + (p["asymmetry"] if side == LATERAL else -p["asymmetry"]))
        share = share * (1 - smoothstep((eta - p["length"]) / 10))
        return 1 - contraction * (squeeze * share - self._swell(eta))

    def _swell(self, eta: Tensor) -> Tensor:
        """How much wider the left atrium is at ES, as a share of its width at ED."""
        return self.anatomy["la_swell"] * smoothstep((eta - self.anatomy["length"]) / 18)

    def displacement(self, rows: Rows, xi: Tensor, contraction: Contraction, squeeze: Tensor) -> tuple[Tensor, Tensor]:
        """(d_xi, d_eta) mm at (rows.eta, xi), broadcast; contraction and squeeze (B, 1, 1 or C). Sector and probe not
        yet counted."""
        p, eta = self.anatomy, rows.eta
        weight = self.long_weight(eta)
        slope = self.long_weight(eta + 0.5) - self.long_weight(eta - 0.5)
        travel = self.travel(xi, contraction)

        x = xi - rows.centre
        near = contraction.radial * (1 - smoothstep((-x - rows.outer[SEPTAL]) / 30))
        stretch = 1 - travel * slope + near * (self.tip_descent(eta + 0.5) - self.tip_descent(eta - 0.5))

        is_right = x > 0
        r = x.abs()
        a = torch.where(is_right, rows.cavity[LATERAL], rows.cavity[SEPTAL])
        e = torch.where(is_right, rows.outer[LATERAL], rows.outer[SEPTAL])
        scale = torch.where(
            is_right,
            self._cavity_scale(eta, contraction.radial, squeeze, LATERAL),
            self._cavity_scale(eta, contraction.radial, squeeze, SEPTAL),
        )
        inside = torch.minimum(r, e)
        wall = ((inside * inside - a * a * (1 - stretch * scale * scale)).clamp(min=1e-6) / stretch).sqrt()
        moved = torch.where(inside < a, scale * inside, wall) - inside
        d = torch.where(is_right, moved, -moved)

        beyond = (r - e).clamp(min=0)
        right_heart = p["rv_squeeze"] * squeeze.clamp(min=0.05)
        ventricle = 1 - smoothstep((eta - p["tv"] + 25) / 45)
        pull = 0.5 * right_heart * ventricle - 0.25 * p["la_swell"] * (1 - ventricle)
        drawn = contraction.right * (
            pull * torch.minimum(beyond, rows.right)
            - 0.3 * right_heart * ventricle * torch.minimum((beyond - rows.right).clamp(min=0), rows.free_wall)
        )
        d = torch.where(is_right, d, d + drawn)
        fade = self.heart_weight(rows, xi)
        return (d + contraction.axial * p["swing"] * weight) * fade, (
            near * self.tip_descent(eta) - travel * weight
        ) * fade


def long_axis(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Apex (B, 2) and base (B, 2) of an outline as `Anatomy.endocardium(count)` orders it.

    The base is the middle of the mitral plane, the apex the outline's farthest point from it.
    """
    base = points[:, 2 * count + 4]
    walls = points[:, : 2 * count + 1]
    tip = (walls - base[:, None]).square().sum(-1).argmax(1)
    return walls[torch.arange(len(walls), device=walls.device), tip], base


def simpson(points: Tensor, count: int, disks: int = 20) -> Tensor:
    """Single-plane Simpson volume (B,) of an outline as `Anatomy.endocardium(count)` orders it: sum of pi/4 d^2 L/20,
    mm^3.

    About `long_axis`; straight lines from its base to the hinges close the walls.
    """
    apex, base = long_axis(points, count)
    walls = points[:, : 2 * count + 1]
    tip = (walls - base[:, None]).square().sum(-1).argmax(1)
    axis = base - apex
    length = axis.square().sum(-1, keepdim=True).sqrt()
    axis = axis / length
    rel = walls - apex[:, None]
    along = rel[..., 0] * axis[:, None, 0] + rel[..., 1] * axis[:, None, 1]
    across = rel[..., 0] * axis[:, None, 1] - rel[..., 1] * axis[:, None, 0]
    levels = (torch.arange(disks, device=points.device) + 0.5) / disks * length
    order = torch.arange(2 * count + 1, device=points.device)
    width = torch.zeros_like(levels)
    for before in (True, False):
        # The part of the outline on the other side of the tip is folded onto the tip; the middle of the plane ends the
        # wall.
        mine = order <= tip[:, None] if before else order >= tip[:, None]
        s, v = torch.where(mine, along, 0 * along), torch.where(mine, across, 0 * across)
        if before:
            s, v = s.flip(1), v.flip(1)
        s = torch.cat([s, length], 1).cummax(1).values.contiguous()
        v = torch.cat([v, 0 * length], 1)
        at = torch.searchsorted(s, levels, right=True).clamp(1, s.shape[1] - 1)
        s0, s1, v0, v1 = s.gather(1, at - 1), s.gather(1, at), v.gather(1, at - 1), v.gather(1, at)
        width = width + (v0 + (v1 - v0) * (levels - s0) / (s1 - s0).clamp(min=1e-6)).abs()
    volume = torch.zeros_like(length[:, 0])
    for i in range(disks):  # a fixed order of summation, whatever the batch
        volume = volume + width[:, i] ** 2
    return volume * math.pi / 4 * length[:, 0] / disks
