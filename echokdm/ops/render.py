"""Key-points drawn as images, the spatial form x^_K in which the networks read them (KDM, section 3.2)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid, sample_points

FAR = -1e4  # px; where points that were not seen are put, out of reach of any pixel


def nearest_edge(
    start: Tensor, end: Tensor, height: int, width: int, reach: float = float("inf")
) -> tuple[Tensor, Tensor]:
    """Distance in px of every pixel to its nearest segment start-end, each (B, E, 2), and that segment's index.

    Returns (B, H, W) float, inf where no segment is finite or, but for pixels near it, within `reach` px, and (B, H, W)
    int64. Loops over the edges so that the working set stays in cache.
    """
    grid = pixel_grid(height, width, start.device)[0]
    best = torch.full((len(start), height, width), float("inf"), device=start.device)
    which = torch.zeros(len(start), height, width, dtype=torch.long, device=start.device)
    direction = end - start
    squared_length = direction.square().sum(-1).clamp_min(1e-9)
    for e in range(start.shape[1]):
        rows, columns = _window(start[:, e], end[:, e], height, width, reach)
        x, y = grid[:, rows, columns]
        sx, sy = start[:, e, 0, None, None], start[:, e, 1, None, None]
        ex, ey = direction[:, e, 0, None, None], direction[:, e, 1, None, None]
        dx, dy = x - sx, y - sy
        along = ((dx * ex + dy * ey) / squared_length[:, e, None, None]).clamp(0, 1)
        squared = (dx - along * ex).square() + (dy - along * ey).square()
        part, index = best[:, rows, columns], which[:, rows, columns]
        nearer = squared < part  # never, of a segment that has an end that was not seen
        part[:], index[:] = torch.where(nearer, squared, part), torch.where(nearer, e, index)
    return best.sqrt(), which


def _window(start: Tensor, end: Tensor, height: int, width: int, reach: float) -> tuple[slice, slice]:
    """Rows and columns within `reach` px of any of the segments start-end, (B, 2) each."""
    ends = torch.cat([start, end])
    ends = ends[torch.isfinite(ends).all(-1)]
    if not len(ends) or not math.isfinite(reach):
        return slice(0, height if len(ends) else 0), slice(0, width)
    low, high = (ends.amin(0) - reach).floor().long().tolist(), (ends.amax(0) + reach).ceil().long().tolist()
    return tuple(slice(max(0, low[i]), max(0, min(most, high[i] + 1))) for i, most in ((1, height), (0, width)))  # type: ignore[return-value]


def inside_polygon(points: Tensor, height: int, width: int) -> Tensor:
    """Even-odd rule at pixel centres: polygons (B, N, 2) -> (B, H, W) bool."""
    x, y = pixel_grid(height, width, points.device)[0]
    rows = y[:, 0]
    following = points.roll(-1, 1)
    inside = torch.zeros(len(points), height, width, dtype=torch.bool, device=points.device)
    for i in range(points.shape[1]):
        ax, ay, bx, by = (
            points[:, i, 0, None],
            points[:, i, 1, None],
            following[:, i, 0, None],
            following[:, i, 1, None],
        )
        crosses = (ay > rows) != (by > rows)
        at = ax + (rows - ay) * (bx - ax) / torch.where(by == ay, torch.ones_like(by), by - ay)
        inside ^= crosses[..., None] & (x[0] < at[..., None])
    return inside


def fill_polygon(points: Tensor, height: int, width: int) -> Tensor:
    """Anti-aliased filled polygons (B, N, 2) -> (B, 1, H, W) in [0, 1], 0.5 on the outline."""
    distance, _ = nearest_edge(points, points.roll(-1, 1), height, width)
    return _soft_fill(distance, inside_polygon(points, height, width))


def _soft_fill(distance: Tensor, inside: Tensor) -> Tensor:
    return (0.5 + torch.where(inside, distance, -distance)).clamp(0, 1)[:, None]


def render_keypoints(
    points: Tensor, schema: KeypointSchema, height: int, width: int, line_width: float = 1.5
) -> Tensor:
    """Coloured lines along the schema's edges, and for a closed schema the filled region as a fourth channel.

    points (B, N, 2) in (x, y) pixels, nan where not seen -> (B, 3 or 4, H, W) in [0, 1].
    """
    index = torch.tensor(schema.edges, device=points.device)
    distance, edge = nearest_edge(points[:, index[:, 0]], points[:, index[:, 1]], height, width, line_width + 1)
    strength = (line_width + 0.5 - distance).clamp(0, 1)[:, None]
    lines = points.new_tensor(schema.colours)[edge].permute(0, 3, 1, 2) * strength
    return (
        torch.cat([lines, _soft_fill(distance, inside_polygon(points, height, width))], 1) if schema.closed else lines
    )


def spread_motion(source: Tensor, target: Tensor, height: int, width: int, reach: float = 10.0) -> Tensor:
    """A dense guess at the backward flow from the key-points alone, fading with distance from them.

    Normalised Gaussian weights around the target key-points carry (source - target); beyond about `reach` px the guess
    tends to zero, as it does everywhere where none is seen in both. source, target (B, N, 2) -> (B, 2, H, W) in pixels.
    """
    unseen = (source + target).isnan().any(-1, keepdim=True)
    source, target = (torch.where(unseen, FAR, p).double() for p in (source, target))
    grid = pixel_grid(height, width, target.device)[0].double()
    # (B, N, W) and (B, N, H)
    x, y = ((axis - target[..., i, None]).square() for i, axis in enumerate((grid[0, 0], grid[1, :, 0])))
    nearest = torch.full((len(target), height, width), float("inf"), device=target.device)
    for across, down in zip(x.float().unbind(1), y.float().unbind(1), strict=True):
        torch.minimum(nearest, across[:, None] + down[..., None], out=nearest)
    # A Gaussian is a product of one in x and one in y, and a sum of such products a product of matrices; in double,
    # none vanishes too soon.
    x, y = (torch.exp(-part / (2 * (reach / 3) ** 2)) for part in (x, y))
    weights = torch.cat([source - target, torch.ones_like(source[..., :1])], -1).movedim(-1, 1)[..., None] * y[:, None]
    carried = weights.transpose(2, 3) @ x[:, None]
    fade = torch.exp(-nearest / (2 * reach**2))[:, None]
    return (carried[:, :2] / carried[:, 2:].clamp_min(1e-300)).float() * fade


def carry_keypoints(
    flow: Tensor, source: Tensor, target: Tensor, outline: bool = False, reach: float = 6.0, rounds: int = 3
) -> Tensor:
    """Correct a backward flow (B, 2, H, W) so that it carries each target key-point to its source, (B, N, 2) px each.

    What the flow misses by is spread smoothly over about `reach` px, a few rounds over, since neighbours share it.
    Returns (B, 2, H, W) px. outline: the points lie on a closed outline, in order, and mark places on it, not tissue;
    so they may slide along it, and only what is missed across it is put right.
    """
    along = target.roll(-1, 1) - target.roll(1, 1)
    across = F.normalize(torch.stack([-along[..., 1], along[..., 0]], -1), dim=-1)
    for _ in range(rounds):
        missed = (source - target) - sample_points(flow, target)  # nan where not seen, as `spread_motion` expects
        if outline:
            missed = (missed * across).sum(-1, keepdim=True) * across
        flow = flow + spread_motion(target + missed, target, flow.shape[2], flow.shape[3], reach)
    return flow
