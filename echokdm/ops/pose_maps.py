"""Poses as pictures: Gaussian envelopes, one map a joint, the form in which pose-transfer networks read them; and where
the body is."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.render import nearest_edge
from echokdm.ops.warp import pixel_grid


def gaussian_maps(points: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """(B, N, 2) px, nan where a joint was not detected -> (B, N, H, W) in [0, 1]: exp(-d^2 / (2 sigma^2)), d px from
    the joint.

    sigma: px. A joint that was not detected has an empty map; one outside the picture shows what of it reaches in.
    """
    x, y = pixel_grid(height, width, points.device)[0]
    seen = ~points.isnan().any(-1)
    at = torch.where(seen[..., None], points.float(), 0.0)
    # the envelope is a product of one in x and one in y
    along = torch.exp(-(x[0] - at[..., :1]).square() / (2 * sigma**2))
    down = torch.exp(-(y[:, 0] - at[..., 1:]).square() / (2 * sigma**2))
    return down[..., None] * along[..., None, :] * seen[..., None, None]


def near_limbs(points: Tensor, schema: KeypointSchema, height: int, width: int, reach: float) -> Tensor:
    """(B, 1, H, W) bool: within `reach` px of a limb, an edge of the schema with both ends detected, of points (B, N,
    2) px."""
    edges = torch.tensor(schema.edges, device=points.device)
    distance, _ = nearest_edge(points[:, edges[:, 0]], points[:, edges[:, 1]], height, width)
    return (distance <= reach)[:, None]
