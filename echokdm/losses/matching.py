"""Does a flow fetch what belongs there? Sampling correctness (Ren et al., "StructureFlow", ICCV 2019, Eq. 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import warp


def best_similarity(source: Tensor, target: Tensor, chunk: int = 1024) -> Tensor:
    """For each place of `target` the greatest cosine of its features to any of `source`'s, (B, C, h, w) each -> (B, 1,
    h, w).

    chunk: places of the target at a time, so that memory stays small.
    """
    a, b = (F.normalize(features.flatten(2).transpose(1, 2).contiguous(), dim=2) for features in (source, target))
    best = torch.cat([(part @ a.transpose(1, 2)).amax(2) for part in b.split(chunk, 1)], 1)
    return best.view(len(target), 1, *target.shape[2:])


def sampling_correctness(source: Tensor, target: Tensor, flow: Tensor, best: Tensor | None = None) -> Tensor:
    """Mean of exp(-cos / max cos): cos of the target's features to what the flow fetches, max over all of the source; a
    scalar.

    source, target (B, C, h, w): features of a network's layer. flow (B, 2, h', w') backward px of its own size. best:
    `best_similarity(source, target)`, where it is known already.
    """
    if best is None:
        best = best_similarity(source, target)
    cosine = F.cosine_similarity(warp(source, resize_flow(flow, *source.shape[2:])), target, dim=1)[:, None]
    return torch.exp(-cosine / best.clamp_min(1e-6)).mean()
