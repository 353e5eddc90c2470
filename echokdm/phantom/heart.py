"""The beating A4C heart: material points, where they are at any phase and what they are made of."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from echokdm.phantom.anatomy import SEPTAL, Anatomy
from echokdm.phantom.beat import Beat
from echokdm.phantom.motion import Contraction, Motion, long_axis, simpson
from echokdm.phantom.tissue import ETA_RANGE, XI_RANGE, TissueMap, TissueSample, axis, lookup

GRID = 2.0  # mm a node of the displacement field
OUTLINE = 48  # points a wall of the LV outline
LEVELS = 9  # radial amplitudes tried at a time
CONTRACTION, CONTRACTIONS = (-0.25, 1.25), 13  # where the walls' contraction is sought; 0, ED, is among those tried
KEPT = 4  # phases whose fields are kept
STEPS = 12  # of Newton's method, at most; most points take 3 or 4
TOLERANCE = 1e-3  # mm
SQUEEZE = (-0.3, 1.2)  # where the radial amplitude is sought


class Heart:
    """B hearts in apical-4-chamber view, patient b drawn from seeds[b] alone.

    Points are mm: x lateral, right positive, y depth, probe at (0, 0), apex up, LV on the right of the image. Phases
    are (B,) in [0, 1), ED at 0; the reference configuration is ED. Attributes, each (B,): heart_rate (1/min),
    ejection_fraction (percent), end_systole (phase), base_mm (depth of the mitral plane at ED). What is drawn:
    `anatomy.RANGES`.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", ef: Tensor | None = None) -> None:
        """ef: (B,) ejection fractions in place of the drawn ones."""
        self.anatomy = Anatomy(seeds, device, ef)
        self.beat = Beat(self.anatomy)
        self.motion = Motion(self.anatomy)
        self.heart_rate = self.anatomy["heart_rate"][:, 0, 0]
        self.ejection_fraction = 100 * self.anatomy["ef"][:, 0, 0]
        self.end_systole = self.beat.systole
        self.base_mm = self.anatomy.to_image(torch.zeros_like(self.anatomy["length"]), self.anatomy["length"])[1][
            :, 0, 0
        ]
        self._outline = self.anatomy.endocardium(OUTLINE)
        device = self._outline.device
        self._xi, self._eta = axis(XI_RANGE, GRID, device).view(1, 1, -1), axis(ETA_RANGE, GRID, device).view(1, -1, 1)
        self._rows = self.anatomy.rows(self._eta)
        self._map: TissueMap | None = None
        self.restrict(None)

    def restrict(self, edge_distance: Callable[[Tensor], Tensor] | None) -> None:
        """Let motion vanish at a sector's edge (None: no edge); the EF is met all the same.

        edge_distance: points (B, N, 2) mm -> how far inside the edge they lie, mm (B, N).
        """
        self.motion.edge_distance = edge_distance
        self._fields: OrderedDict[tuple[float, ...], Tensor] = OrderedDict()
        self._volumes: tuple[Tensor, Tensor] | None = None

    def taper(self, points: Tensor) -> Tensor:
        """Weight (B, N) of the motion at ED points (B, N, 2) mm: 0 near the probe, far from the heart and at the
        sector's edge."""
        xi, eta = self._local(points)
        xi, eta = xi[..., None], eta[..., None]
        return (self.motion.heart_weight(self.anatomy.rows(eta), xi) * self.motion.sector_weight(xi, eta))[..., 0]

    def forward(self, points: Tensor, phase: Tensor) -> Tensor:
        """Where the material points (B, N, 2) of ED are at `phase` (B,) -> (B, N, 2) mm."""
        xi, eta = self._local(points)
        moved = lookup(self._field(phase), xi, eta, GRID, "bilinear")
        return self._image(xi + moved[:, 0], eta + moved[:, 1])

    def inverse(self, points: Tensor, phase: Tensor) -> Tensor:
        """Which material points (B, N, 2) of ED are at `points` (B, N, 2) mm at `phase` (B,): Newton's method, to 0.01
        mm."""
        field = self._field(phase)
        table = torch.cat(_cell_coefficients(field), 1).permute(0, 2, 3, 1).reshape(-1, 8)
        patient = torch.arange(len(field), device=field.device).view(-1, 1, 1).expand(-1, points.shape[1], 1).flatten()
        target = torch.stack(self._local(points), -1).flatten(0, 1)
        solved = target.clone()
        # Each point is dropped once solved, so that it takes the same steps whatever else is in the batch.
        rest = torch.arange(len(target), device=field.device)
        at, best, least, step = target, target, torch.full_like(target[:, 0], torch.inf), torch.zeros_like(target)
        for _ in range(STEPS):
            moved, a, b, c, d = _bilinear(table, patient[rest], at, (field.shape[2], field.shape[3]))
            miss = target[rest] - at - moved
            error = miss.square().sum(1)
            better = error < least
            best, least = torch.where(better[:, None], at, best), torch.minimum(error, least)
            a, d = 1 + a, 1 + d
            newton = torch.stack([d * miss[:, 0] - b * miss[:, 1], a * miss[:, 1] - c * miss[:, 0]], 1)
            newton = newton / (a * d - b * c).clamp(min=0.05)[:, None]
            # a step over a wall's kink can miss; it is halved until it gains
            step = torch.where(better[:, None], newton, 0.5 * step)
            solved[rest] = best
            open_ = (least > TOLERANCE**2).nonzero()[:, 0]
            if len(open_) == 0:
                break
            rest, best, least, step = rest[open_], best[open_], least[open_], step[open_]
            at = best + step
        solved = solved.view(*points.shape)
        return self._image(solved[..., 0], solved[..., 1])

    def tissue(self, points: Tensor, phase: Tensor) -> TissueSample:
        """What the material points (B, N, 2) of ED are; valve leaflets sweep over the blood, so it depends on `phase`
        (B,)."""
        # The atrial kick empties the atrium when the ventricle is nearly full.
        return self._tissue.sample(*self._local(points), self.beat.opening(phase), self.beat.fullness(phase) ** 4)

    def leaflets(self, phase: Tensor, count: int = 16) -> Tensor:
        """Centre lines (B, 4, count, 2) mm of the leaflets at `phase` (B,), hinge to tip: mitral septal, lateral, then
        tricuspid."""
        lines = self._tissue.leaflets(count, self.beat.opening(phase)).flatten(1, 2)
        return self.forward(self._image(lines[..., 0], lines[..., 1]), phase).unflatten(1, (4, count))

    def contours(self, phase: Tensor) -> Tensor:
        """LV endocardial polygon (B, M, 2) mm at `phase` (B,): septal hinge, apex, lateral hinge, back along the mitral
        plane."""
        return self.forward(self._image(self._outline[..., 0], self._outline[..., 1]), phase)

    def long_axis(self, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Apex (B, 2) and base (B, 2) mm of `contours(phase)`: the base amid the mitral plane, the apex farthest from
        it."""
        return long_axis(self.contours(phase), OUTLINE)

    def volumes(self, phase: Tensor) -> Tensor:
        """Single-plane Simpson volume (B,) of the LV at `phase` (B,), mL."""
        return simpson(self.contours(phase), OUTLINE) / 1000

    def fibre_direction(self, points: Tensor) -> Tensor:
        """Unit direction (B, N, 2) in which the walls run at ED points (B, N, 2): along the LV's outline, axial
        elsewhere."""
        xi, eta = self._local(points)
        xi, eta = xi[..., None], eta[..., None]
        p, step = self.anatomy, 0.5
        side = torch.where(xi > p.centre(eta), 1.0, -1.0)
        wall = 0.5 * p["wall"]
        slope = (p.half_width(eta + step, wall, SEPTAL) - p.half_width(eta - step, wall, SEPTAL)) / (2 * step)
        slope = side * slope * (eta < p["length"])
        norm = (1 + slope * slope).sqrt()
        dx, de = slope / norm, 1 / norm
        return torch.cat([dx * p.cos + de * p.sin, de * p.cos - dx * p.sin], -1)

    def place(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where ED points (B, N, 2) mm lie about the LV, (B, N) each: mm from its axis, lateral positive, and along it,
        apex 0, base 1."""
        xi, eta = self._local(points)
        return xi - self.anatomy.centre(eta[..., None])[..., 0], eta / self.anatomy["length"][..., 0]

    def resting_outline(self) -> Tensor:
        """LV endocardial polygon (B, M, 2) mm at ED, as `contours` orders it, whatever the motion."""
        return self._image(self._outline[..., 0], self._outline[..., 1])

    @property
    def _tissue(self) -> TissueMap:
        if self._map is None:
            self._map = TissueMap(self.anatomy)
        return self._map

    def _local(self, points: Tensor) -> tuple[Tensor, Tensor]:
        xi, eta = self.anatomy.to_local(points[..., :1], points[..., 1:])
        return xi[..., 0], eta[..., 0]

    def _image(self, xi: Tensor, eta: Tensor) -> Tensor:
        return torch.cat(self.anatomy.to_image(xi[..., None], eta[..., None]), -1)

    def _calibrate(self) -> None:
        """Find the radial amplitude that gives the drawn EF.

        The outline is moved by the interpolated field itself, evaluated only at the nodes around its points.
        """
        points = self._outline
        at = torch.stack([(points[..., 0] - XI_RANGE[0]) / GRID, (points[..., 1] - ETA_RANGE[0]) / GRID], -1)
        low = at.floor()
        part = at - low
        corners = torch.cat([low + low.new_tensor(c) for c in ((0, 0), (1, 0), (0, 1), (1, 1))], 1) * GRID
        xi, eta = corners[..., :1] + XI_RANGE[0], corners[..., 1:] + ETA_RANGE[0]
        fx, fy = part[..., :1], part[..., 1:]
        share = torch.cat([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], 1) * self.motion.sector_weight(
            xi, eta
        )
        self._nodes = self.anatomy.rows(eta), xi, share

        ed = simpson(points, OUTLINE)[:, None]
        goal = ed * (1 - self.anatomy["ef"][..., 0])
        levels = torch.linspace(0, 1, LEVELS, device=points.device).view(1, 1, -1)
        low_s, high_s = (torch.full_like(goal, s)[..., None] for s in SQUEEZE)
        for _ in range(2):
            tried = low_s + (high_s - low_s) * levels
            whole = torch.ones_like(tried)
            found = self._moved_volumes(Contraction(whole, whole, whole), tried)
            k = (found > goal).sum(1, keepdim=True).clamp(1, LEVELS - 1)  # a stronger squeeze leaves less
            low_s, high_s = tried[:, 0].gather(1, k - 1)[..., None], tried[:, 0].gather(1, k)[..., None]
            low_v, high_v = found.gather(1, k - 1), found.gather(1, k)
        self._squeeze = low_s + ((low_v - goal) / (low_v - high_v)).clamp(0, 1)[..., None] * (high_s - low_s)
        self._volumes = ed, goal

    def _moved_volumes(self, contraction: Contraction, squeeze: Tensor) -> Tensor:
        """Volume (B, K) mm^3 of the outline moved by contractions (B, 1, K) and squeezes (B, 1, K)."""
        rows, xi, share = self._nodes
        moved = [
            reduce(torch.add, (d * share).chunk(4, 1)) for d in self.motion.displacement(rows, xi, contraction, squeeze)
        ]
        at = self._outline[:, None] + torch.stack(moved, -1).transpose(1, 2)
        return simpson(at.flatten(0, 1), OUTLINE).view(len(at), -1)

    def _contraction(self, phase: Tensor) -> Contraction:
        """(B, 1, 1) each: 0 at ED, the radial one such that the volume follows `Beat.fullness`."""
        lead, lag = (v.view(-1, 1, 1) for v in (self.beat.axial_lead(phase), self.beat.right_lag(phase)))
        tried = torch.linspace(*CONTRACTION, CONTRACTIONS, device=phase.device).expand(len(phase), 1, -1)
        found = self._moved_volumes(
            Contraction(tried, tried - lead, tried + lag), self._squeeze.expand(-1, -1, CONTRACTIONS)
        )
        assert self._volumes is not None  # `_calibrate` has found them
        ed, es = self._volumes
        want = es + (ed - es) * self.beat.fullness(phase)[:, None]
        k = torch.searchsorted(-found, -want, right=True).clamp(1, CONTRACTIONS - 1)
        above, below = found.gather(1, k - 1), found.gather(1, k)
        place = k - 1 + ((above - want) / (above - below).clamp(min=1e-3)).clamp(0, 1)
        radial = (CONTRACTION[0] + place * (CONTRACTION[1] - CONTRACTION[0]) / (CONTRACTIONS - 1))[..., None]
        return Contraction(radial, radial - lead, radial + lag)

    def _field(self, phase: Tensor) -> Tensor:
        """(B, 2, rows, columns): displacement (xi, eta) at the nodes."""
        key = tuple(phase.tolist())
        if key in self._fields:
            self._fields.move_to_end(key)
            return self._fields[key]
        if self._volumes is None:
            self._calibrate()
            self._weight = self.motion.sector_weight(self._xi, self._eta)
        moved = self.motion.displacement(self._rows, self._xi, self._contraction(phase), self._squeeze)
        self._fields[key] = torch.stack(moved, 1) * self._weight[:, None]
        if len(self._fields) > KEPT:
            self._fields.popitem(last=False)
        return self._fields[key]


def _cell_coefficients(field: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the bilinear patch that starts at each node: value, growth along xi, along eta, mixed; each (B, 2, rows,
    columns)."""
    right = torch.cat([field[..., 1:], field[..., -1:]], 3) - field
    down = torch.cat([field[:, :, 1:], field[:, :, -1:]], 2) - field
    return field, right, down, torch.cat([right[:, :, 1:], right[:, :, -1:]], 2) - right


def _bilinear(
    table: Tensor, patient: Tensor, at: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Displacement (N, 2) at local points (N, 2) and its exact slopes du/dxi, du/deta, dv/dxi, dv/deta, each (N,)."""
    rows, columns = shape
    x, y = (
        ((at[:, 0] - XI_RANGE[0]) / GRID).clamp(0, columns - 1),
        ((at[:, 1] - ETA_RANGE[0]) / GRID).clamp(0, rows - 1),
    )
    j, i = x.floor(), y.floor()
    u, v, ux, vx, uy, vy, uxy, vxy = table[(patient * rows + i.long()) * columns + j.long()].t().contiguous().unbind(0)
    fx, fy = x - j, y - i
    ux, vx = ux + fy * uxy, vx + fy * vxy
    moved = torch.stack([u + fx * ux + fy * uy, v + fx * vx + fy * vy], 1)
    return moved, ux / GRID, (uy + fx * uxy) / GRID, vx / GRID, (vy + fx * vxy) / GRID
