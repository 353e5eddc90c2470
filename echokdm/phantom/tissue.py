"""What lies where: labels and echogenicity classes of the phantom, rasterised once a patient, and its valve
leaflets."""

import math
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from echokdm.core.labels import Label
from echokdm.ops.warp import sample
from echokdm.phantom.anatomy import LATERAL, SEPTAL, Anatomy, Rows, smoothstep

SPACING = 0.7  # mm a cell of the raster
XI_RANGE, ETA_RANGE = (-132.0, 92.0), (-46.0, 194.0)  # mm, the part of the LV frame that holds the heart and its fade


class Echo(IntEnum):
    """Echogenicity classes."""

    BLOOD = 0
    MYOCARDIUM = 1
    ENDOCARDIUM = 2
    PERICARDIUM = 3
    LEAFLET = 4
    PAPILLARY = 5
    TRABECULA = 6
    ATRIAL_WALL = 7
    OUTSIDE = 8
    LUNG = 9


@dataclass(frozen=True)
class TissueSample:
    """label (B, N) uint8 of `Label`, echo (B, N) uint8 of `Echo`, atrium_empty (B,): 0 where the left atrium is full,
    at ES, to 1."""

    label: Tensor
    echo: Tensor
    atrium_empty: Tensor


@dataclass(frozen=True)
class Hinge:
    """A leaflet: where it hangs, its polar angle (annulus = 0, towards the apex positive) closed and open, all (B, 1,
    1).

    sense: 1 where it points right from its hinge, else -1. A closed leaflet bellies to the atrium, an open one bends
    inwards.
    """

    xi: Tensor
    eta: Tensor
    closed: Tensor
    opened: Tensor
    length: Tensor
    belly: Tensor
    sense: float

    def angle(self, share: Tensor, opening: Tensor, patient: Tensor) -> Tensor:
        """Polar angle at `share` of the length; share and opening broadcast with the patients' indices."""
        closed, opened, belly = (t[patient, 0, 0] for t in (self.closed, self.opened, self.belly))
        bend = belly * (1 - opening) - 0.35 * opening
        return closed + (opened - closed) * opening - bend * (1 - share)


def axis(bounds: tuple[float, float], spacing: float, device: torch.device) -> Tensor:
    """Evenly spaced coordinates over `bounds`, mm."""
    return torch.arange(round((bounds[1] - bounds[0]) / spacing) + 1, device=device) * spacing + bounds[0]


def lookup(image: Tensor, xi: Tensor, eta: Tensor, spacing: float, mode: str) -> Tensor:
    """Values of `image` (B, C, rows = eta, columns = xi) at (B, N) local mm -> (B, C, N); the border value outside."""
    points = torch.stack([(xi - XI_RANGE[0]) / spacing, (eta - ETA_RANGE[0]) / spacing], 1)[..., None]
    return sample(image, points, mode=mode)[..., 0]


class TissueMap:
    """Labels and classes of B patients at end-diastole, and leaflets at any opening."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        device = anatomy.cos.device
        self._xi, self._eta = (
            axis(XI_RANGE, SPACING, device).view(1, 1, -1),
            axis(ETA_RANGE, SPACING, device).view(1, -1, 1),
        )
        self._map = self._rasterise()[:, None]
        self._hinges = self._find_hinges()

    def _rasterise(self) -> Tensor:
        """(B, rows, columns) float32: 16 * label + class."""
        p, xi, eta = self.anatomy, self._xi, self._eta
        rows = p.rows(eta)
        x = xi - rows.centre
        right = x > 0
        r = x.abs()

        def side(pair: tuple[Tensor, Tensor]) -> Tensor:
            return torch.where(right, pair[LATERAL], pair[SEPTAL])

        cavity = side(rows.cavity)
        lining = side((p.half_width(eta, 1.1, SEPTAL), p.half_width(eta, 1.1, LATERAL)))
        epicardium = side((rows.outer[SEPTAL], p.outer(eta, 0.0, LATERAL)))
        above = eta < p.annulus_eta(xi)
        in_left = r < cavity
        left_blood = in_left & (above | (eta > p["length"] - 20))
        lv = in_left & above
        myocardium = ~in_left & (r < epicardium) & above

        septum = -x - rows.outer[SEPTAL]  # distance left of the septum's far side
        in_right = (septum > 0) & (septum < rows.right)
        above_tv = eta < p.tricuspid_eta(xi)
        free_wall = (septum >= rows.right) & (septum < rows.right + rows.free_wall) & (rows.right > 0)
        heart_right = torch.where(right, r - epicardium, torch.full_like(r, 1e3))
        heart_left = torch.where(right, torch.full_like(r, 1e3), septum - rows.right - rows.free_wall)

        echo = torch.full_like(r, float(Echo.OUTSIDE))
        label = torch.zeros_like(r)

        def put(where: Tensor, kind: Echo, tag: Label | None = None) -> None:
            echo.masked_fill_(where, float(kind))
            if tag is not None:
                label.masked_fill_(where, float(tag))

        for away, gap in ((heart_right, p["lung_right"]), (heart_left, p["lung_left"])):
            away = away - gap
            put((away > 0) & (away < 900) & (eta > 0.35 * away) & (eta < p["length"] + 10 + 0.5 * away), Echo.LUNG)
        sac = side((p.outer(eta, 1.4, SEPTAL), p.outer(eta, 1.4, LATERAL)))
        gaps = 0.5 + 0.5 * torch.sin(eta * 0.13 + p["trabecula_phase"]) * torch.sin(
            eta * 0.05 + 2 * p["trabecula_phase"]
        )
        thick = p["pericardium"] * (0.15 + 0.5 * gaps + 0.9 * smoothstep((eta / p["length"] - 0.3) / 0.6))
        put(right & (eta > 5) & (r < epicardium + thick) & (eta < p["roof"]), Echo.PERICARDIUM)
        put((r < sac) & (eta < 20) & (right | (rows.right < 1)), Echo.PERICARDIUM)
        put(~right & (heart_left >= 0) & (heart_left < thick) & (rows.right > 0), Echo.PERICARDIUM)
        put(free_wall, Echo.MYOCARDIUM)
        put(free_wall & ~above_tv, Echo.ATRIAL_WALL)
        put(~in_left & (r < epicardium) & ~above & (eta < p["roof"] + 3), Echo.ATRIAL_WALL)
        put(myocardium, Echo.MYOCARDIUM, Label.MYOCARDIUM)
        put(myocardium & (r < lining), Echo.ENDOCARDIUM)
        put(in_right, Echo.BLOOD, Label.RV)
        put(in_right & ~above_tv, Echo.BLOOD, Label.RA)
        put(left_blood, Echo.BLOOD, Label.LA)
        put(lv, Echo.BLOOD, Label.LV)
        self._cavity_texture(echo, rows, xi, eta, x, r, cavity, septum, lv, in_right & above_tv)
        return label * 16 + echo

    def _cavity_texture(
        self,
        echo: Tensor,
        rows: Rows,
        xi: Tensor,
        eta: Tensor,
        x: Tensor,
        r: Tensor,
        cavity: Tensor,
        septum: Tensor,
        lv: Tensor,
        rv: Tensor,
    ) -> None:
        """Papillary muscles, trabeculae and the moderator band, drawn into the blood."""
        p = self.anatomy
        s, phase = eta / p["length"], p["trabecula_phase"]
        wave = 0.5 + 0.5 * torch.sin(eta * 0.55 + phase) * torch.sin(eta * 0.23 + 2 * phase)
        apical = 1 - smoothstep((s - 0.35) / 0.4)
        depth = p["trabecula_lv"] * wave * (0.25 + 0.75 * apical)
        lateral = torch.where(x > 0, depth, 0.4 * depth)
        echo.masked_fill_(lv & (cavity - r < lateral), float(Echo.TRABECULA))
        reach = (
            p["trabecula_rv"]
            * (0.5 + 0.5 * torch.sin(eta * 0.6 + 3 * phase) * torch.sin(eta * 0.31 + phase))
            * smoothstep((p["tv"] - 8 - eta) / 20)
        )
        echo.masked_fill_(rv & ((rows.right - septum < reach) | (septum < 0.3 * reach)), float(Echo.TRABECULA))
        band = p["band_at"] * p["tv"] + 0.5 * septum
        echo.masked_fill_(rv & ((eta - band).abs() < 1.6) & (p["band_shown"] > 0.5), float(Echo.TRABECULA))
        for name, sign, chance in (("papillary", 1.0, 0.7), ("papillary2", -1.0, 0.25)):
            at = p[f"{name}_at"] * p["length"]
            half, width = (
                0.5 * p["papillary_length"] * (1 if sign > 0 else 0.6),
                p["papillary_width"] * (1 if sign > 0 else 0.7),
            )
            along = (eta - at) / half
            reach = width * (1 - along * along).clamp(min=0).sqrt() * (1 + 0.25 * along)  # heads point to the valve
            near = cavity - r - 0.22 * width * smoothstep(along)
            shown = p[f"{name}_shown"] < chance
            echo.masked_fill_(lv & (x * sign > 0) & (near > 0) & (near < reach) & shown, float(Echo.PAPILLARY))

    def _find_hinges(self) -> list[Hinge]:
        """Mitral septal and lateral, tricuspid lateral and septal."""
        p = self.anatomy
        n, slope = p["annulus"], p["annulus_slope"]
        hinges = []

        def pair(
            left: tuple[Tensor, Tensor],
            right: tuple[Tensor, Tensor],
            meet: Tensor,
            tent: Tensor,
            spare: float,
            opens: tuple[Tensor, Tensor],
            belly: Tensor,
        ) -> None:
            tip = (left[0] + (right[0] - left[0]) * meet, left[1] + (right[1] - left[1]) * meet - tent)
            for (x, y), opened, sense in ((left, opens[0], 1.0), (right, opens[1], -1.0)):
                dx, dy = (tip[0] - x) * sense, y - tip[1]
                length = (dx * dx + dy * dy).sqrt() * spare
                hinges.append(Hinge(x, y, torch.atan2(dy, dx), opened * (math.pi / 180), length, belly, sense))

        pair(
            (-n, p["length"] + slope * n),
            (n, p["length"] - slope * n),
            p["mv_meet"],
            p["mv_tent"],
            1.04,
            (p["mv_open_a"], p["mv_open_p"]),
            p["mv_belly"],
        )
        eta = p["tv"]
        septum = p.centre(eta) - p.outer(eta, 0.0, SEPTAL)
        wall = septum - p.right_width(eta)
        pair(
            (wall, p.tricuspid_eta(wall)),
            (septum, p.tricuspid_eta(septum)),
            1 - p["tv_meet"],
            p["tv_tent"],
            1.03,
            (p["tv_open"], 0.9 * p["tv_open"]),
            0.6 * p["mv_belly"],
        )
        return hinges

    def on_leaflet(self, xi: Tensor, eta: Tensor, opening: Tensor) -> Tensor:
        """Whether local points (B, N) lie on a leaflet at `opening` (B,) -> bool (B, N)."""
        found = torch.zeros_like(xi, dtype=torch.bool)
        for hinge in self._hinges:
            hx, hy, reach = hinge.xi[..., 0], hinge.eta[..., 0], hinge.length[..., 0] + 1
            patient, index = (((xi - hx).abs() < reach) & ((eta - hy).abs() < reach)).nonzero().unbind(1)
            dx, dy = (xi[patient, index] - hx[patient, 0]) * hinge.sense, hy[patient, 0] - eta[patient, index]
            rho = (dx * dx + dy * dy).sqrt()
            share = rho / hinge.length[patient, 0, 0]
            off = torch.atan2(dy, dx) - hinge.angle(share, opening[patient], patient)
            half = 0.5 * self.anatomy["leaflet"][patient, 0, 0]
            on = (share < 1) & ((off * rho).abs() < half * (1.2 - 0.4 * share)) & (off.abs() < 1.5)
            found[patient, index] |= on | (rho < 1.3 * half)
        return found

    def leaflets(self, count: int, opening: Tensor) -> Tensor:
        """Centre lines of the four leaflets (B, 4, count, 2), hinge to tip, as (xi, eta)."""
        share = torch.linspace(0, 1, count, device=opening.device).view(1, -1)
        patient = torch.arange(len(opening), device=opening.device)[:, None]
        lines = []
        for hinge in self._hinges:
            angle, rho = hinge.angle(share, opening[:, None], patient), share * hinge.length[..., 0]
            lines.append(
                torch.stack(
                    [hinge.xi[..., 0] + hinge.sense * rho * angle.cos(), hinge.eta[..., 0] - rho * angle.sin()], -1
                )
            )
        return torch.stack(lines, 1)

    def sample(self, xi: Tensor, eta: Tensor, opening: Tensor, atrium_empty: Tensor) -> TissueSample:
        """Local ED points (B, N), valve opening (B,) -> what lies there. Leaflets change the class, never the label."""
        code = lookup(self._map, xi, eta, SPACING, "nearest")[:, 0].to(torch.uint8)
        label, echo = code // 16, code % 16
        leaflet = self.on_leaflet(xi, eta, opening) & (echo != Echo.MYOCARDIUM)
        return TissueSample(label, torch.where(leaflet, int(Echo.LEAFLET), echo).to(torch.uint8), atrium_empty)
