"""Limbs between key-points."""

import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema


def along_limbs(points: Tensor, schema: KeypointSchema, parts: int = 5) -> Tensor:
    """Key-points (B, N, 2) with parts - 1 more along each edge of the schema: (B, N + (parts - 1) E, 2); nan where an end is."""
    first, last = torch.tensor(schema.edges, device=points.device).T
    share = torch.arange(1, parts, device=points.device).view(1, -1, 1, 1) / parts
    between = points[:, None, first] * (1 - share) + points[:, None, last] * share
    return torch.cat([points, between.flatten(1, 2)], 1)
