"""Key-points drawn as images, the spatial form x^_K in which the networks read them (KDM, section 3.2)."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.warp import pixel_grid


def fill_polygon(points: Tensor, height: int, width: int, softness: float = 0.5) -> Tensor:
    """Filled polygons (B, N, 2) -> (B, 1, H, W) in [0, 1], 0.5 on the outline, `softness` px to either side."""
    a, b = points, points.roll(-1, 1)
    grid = pixel_grid(height, width, points.device)
    x, y = grid[0, 0], grid[0, 1]
    ax, ay, bx, by = (v[..., None, None] for v in (a[..., 0], a[..., 1], b[..., 0], b[..., 1]))
    crosses = (ay > y) != (by > y)
    slope = torch.where((by - ay).abs() < 1e-9, torch.full_like(by, 1e-9), by - ay)
    inside = ((crosses & (x < (bx - ax) * (y - ay) / slope + ax)).sum(1) % 2 == 1)
    distance = segment_distance(a, b, height, width).amin(1)
    signed = torch.where(inside, distance, -distance)
    return (0.5 + 0.5 * signed / softness).clamp(0, 1)[:, None]


def segment_distance(a: Tensor, b: Tensor, height: int, width: int) -> Tensor:
    """Distance in px of every pixel to line segments a-b, each (B, E, 2) -> (B, E, H, W)."""
    grid = pixel_grid(height, width, a.device)[0].permute(1, 2, 0)
    edge = b - a
    offset = grid[None, None] - a[:, :, None, None]
    along = (offset * edge[:, :, None, None]).sum(-1) / edge.square().sum(-1).clamp_min(1e-9)[..., None, None]
    nearest = along.clamp(0, 1)[..., None] * edge[:, :, None, None]
    return (offset - nearest).square().sum(-1).sqrt()


def render_keypoints(points: Tensor, schema: KeypointSchema, height: int, width: int, line_width: float = 1.5) -> Tensor:
    """Coloured lines along the schema's edges, and for a closed schema the filled region as a fourth channel.

    points (B, N, 2) in (x, y) pixels -> (B, 3 or 4, H, W) in [0, 1].
    """
    index = torch.tensor(schema.edges, device=points.device)
    distance = segment_distance(points[:, index[:, 0]], points[:, index[:, 1]], height, width)
    nearest, edge = distance.min(1)
    colours = points.new_tensor(schema.colours)
    strength = (line_width + 0.5 - nearest).clamp(0, 1)[:, None]
    lines = colours[edge].permute(0, 3, 1, 2) * strength
    if not schema.closed:
        return lines
    return torch.cat([lines, fill_polygon(points, height, width)], 1)


def spread_motion(source: Tensor, target: Tensor, height: int, width: int, reach: float = 10.0) -> Tensor:
    """A dense guess at the backward flow from the key-points alone, fading with distance from them.

    Normalised Gaussian weights around the target key-points carry (source - target); beyond about `reach` px the
    guess tends to zero. source, target (B, N, 2) -> (B, 2, H, W) in pixels.
    """
    grid = pixel_grid(height, width, target.device)[0].permute(1, 2, 0).reshape(1, -1, 2)
    squared = torch.cdist(grid.expand(len(target), -1, -1), target).square()
    weight = torch.softmax(-squared / (2 * (reach / 3) ** 2), -1)
    fade = torch.exp(-squared.amin(-1, keepdim=True) / (2 * reach ** 2))
    return (weight @ (source - target) * fade).transpose(1, 2).reshape(-1, 2, height, width)
