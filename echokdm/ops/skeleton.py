"""What lies between key-points: smooth lines along lids and lips; limbs, moved as rigid rods, as skin and clothes do
and no spline."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid

HALF_WIDTH = 0.15  # of a limb's length; people's are 0.13 (shin) to 0.19 (upper arm), in clothes more
# of its length by which a limb without another after it goes on, as a forearm does with its hand; then it is rounded
ONWARD = 0.5
# of the half-width, by which clothes, a hand or a foot may stand out further, from the joint that holds the limb on
_WIDER = 0.9
_AT_JOINTS = 0.5  # of the half-width, over which one limb passes into the next


def smooth_line(points: Tensor, parts: int = 4) -> Tensor:
    """Points (..., N, 2) with parts - 1 more between neighbours, on Catmull and Rom's curve: (..., (N - 1) parts + 1,
    2)."""
    ends = 2 * points[..., :1, :] - points[..., 1:2, :], 2 * points[..., -1:, :] - points[..., -2:-1, :]
    a, b, c, d = torch.cat([ends[0], points, ends[1]], -2).unfold(-2, 4, 1).unbind(-1)
    share = torch.arange(parts, dtype=points.dtype, device=points.device).view(-1, 1) / parts
    a, b, c, d = (part[..., None, :] for part in (a, b, c, d))
    curve = b + 0.5 * share * (c - a + share * (2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a)))
    return torch.cat([curve.flatten(-3, -2), points[..., -1:, :]], -2)


def ends_in(edge: tuple[int, int], schema: KeypointSchema) -> bool:
    """Whether a limb is the last of its chain, so that a hand or a foot, which no key-point marks, is at its end."""
    return sum(edge[1] in other for other in schema.edges) == 1


def limb_end(points: Tensor, edge: tuple[int, int]) -> Tensor:
    """(2,) px: the tip of the hand or foot of a limb between key-points (N, 2) px."""
    return points[edge[1]] + ONWARD * (points[edge[1]] - points[edge[0]])


def limb_flow(flow: Tensor, source: Tensor, target: Tensor, schema: KeypointSchema, least: float = 0.5) -> Tensor:
    """A backward flow (B, 2, H, W) px in which the limbs that move are carried as rods, from key-points (B, N, 2) px to
    (B, N, 2).

    Rods turn, shift and lengthen; what lies beside them keeps its flow, so that it breaks at their outlines. Points
    that were not seen are nan, and their limbs are left out. least: px by which an end moves for its limb to count as
    moved.
    """
    return torch.stack([_rods(*one, schema, least) for one in zip(flow, source, target, strict=True)])


def vacated(
    source: Tensor, target: Tensor, schema: KeypointSchema, height: int, width: int, least: float = 0.5
) -> Tensor:
    """(T, 1, H, W) bool: where limbs were that move from key-points (N, 2) px to (T, N, 2), and are not any more, as of
    `limb_flow`.

    Wider than what is carried, so that nothing of them is left behind.
    """
    grid = pixel_grid(height, width, source.device)[0]
    out = []
    for asked in target:
        moved = (asked - source).norm(dim=-1) > least
        limbs = [
            edge
            for edge in schema.edges
            if moved[list(edge)].any() and torch.isfinite((source + asked)[list(edge)]).all()
        ]
        was, now = (torch.zeros(1, height, width, dtype=torch.bool, device=source.device) for _ in range(2))
        for edge in limbs:
            was |= _away(grid, source, edge, schema, _WIDER, whole=bool(moved[edge[0]])) < 1
            now |= _away(grid, asked, edge, schema) < 1
        out.append(was & ~now)
    return torch.stack(out)


def _rods(flow: Tensor, source: Tensor, target: Tensor, schema: KeypointSchema, least: float) -> Tensor:
    grid = pixel_grid(flow.shape[1], flow.shape[2], flow.device)[0]
    moved = (target - source).norm(dim=-1) > least  # not, of points that were not seen
    seen = torch.isfinite(source + target).all(-1)
    limbs = [edge for edge in schema.edges if seen[list(edge)].all()]
    away = {
        edge: _away(grid, target, edge, schema)
        for edge in limbs
        if any(moved[i] for other in limbs if set(edge) & set(other) for i in other)
    }
    total, carried = torch.zeros_like(flow[:1]), torch.zeros_like(flow)
    for edge in away:
        if not moved[list(edge)].any():
            continue
        share = (away[edge] < 1).to(flow.dtype)
        for other in away:
            if other != edge and set(edge) & set(other):
                share = share * (0.5 + (away[other] - away[edge]) / _AT_JOINTS).clamp(0, 1)
        total, carried = total + share, carried + share * (_back(grid, source, target, edge) - grid)
    return carried / total.clamp_min(1) + (1 - total).clamp_min(0) * flow


def _away(
    grid: Tensor, points: Tensor, edge: tuple[int, int], schema: KeypointSchema, wider: float = 0.0, whole: bool = True
) -> Tensor:
    """(1, H, W): distance of each pixel from a limb, in its half-widths; wider: by how much it is taken for wider than
    that, at its end alone where not `whole`.
    """
    start, end = points[list(edge)]
    along = end - start
    length = along.norm().clamp_min(1e-6)
    last = 1.0 + ONWARD * ends_in(edge, schema)
    offset = grid - start.view(2, 1, 1)
    share = ((offset * along.view(2, 1, 1)).sum(0) / length**2).clamp(0, last)
    half = HALF_WIDTH * length * (1 + wider * (share.clamp(min=1) if whole else share))  # a hand stands out most
    return ((offset - share * along.view(2, 1, 1)).norm(dim=0) / half)[None]


def _back(grid: Tensor, source: Tensor, target: Tensor, edge: tuple[int, int]) -> Tensor:
    """(2, H, W): where pixels of the target's limb lie in the source's, turned, and stretched along it alone."""
    (a, b), (c, d) = source[list(edge)], target[list(edge)]
    one, other = b - a, d - c
    lengths = one.norm().clamp_min(1e-6), other.norm().clamp_min(1e-6)
    # along, across
    axes = [torch.stack([v, torch.stack([-v[1], v[0]])]) for v in (one / lengths[0], other / lengths[1])]
    offset = (grid - c.view(2, 1, 1)).flatten(1)
    own = axes[1] @ offset
    own = own * torch.stack([lengths[0] / lengths[1], own.new_ones(())]).view(2, 1)
    return (axes[0].T @ own).view_as(grid) + a.view(2, 1, 1)
