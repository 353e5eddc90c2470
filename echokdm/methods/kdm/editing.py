"""One picture moved by its key-points: K2F-net's flow, made to carry them finely enough for the picture's own size.

As clips of hearts are edited (`echo.edit`), the flow is found at the model's size and carries the picture's own pixels.
What the picture can't show is drawn, and nothing else: by F2I-net the inside of what opens; smoothly, from around it,
what a limb had hidden.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.types import KeypointSchema
from echokdm.methods.kdm.conditions import warp_source
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.kdm.pipeline import CHUNK, KDMPipeline
from echokdm.ops.fill import filled_from_around
from echokdm.ops.reach import breaks, laid_open, reach_of, uncovered
from echokdm.ops.resample import enlarge_flow, rescale_centres
from echokdm.ops.skeleton import limb_flow, smooth_line, vacated
from echokdm.ops.tps import through_keypoints

# times the model's size at which a flow is made to carry key-points: an open eye is some four of the model's pixels
# high
FINER = 4
STILL_PX = 0.5  # of the model's, up to which a picture counts as standing still


@dataclass(frozen=True)
class Moved:
    """A picture moved, frame by frame.

    frames: (T, C, S, S) in [0, 1], carried and, where `hidden` (T, 1, FINER S, FINER S) in [0, 1] says so, drawn;
    drawn: the picture (T, C, S, S) that is taken there. flow: (T, 2, S, S) backward px; fine: the same, (T, 2, FINER S,
    FINER S) px of its own.
    """

    frames: Tensor
    drawn: Tensor
    flow: Tensor
    fine: Tensor
    hidden: Tensor


def move(
    pipeline: KDMPipeline,
    source: Tensor,
    begin: Tensor,
    targets: Tensor,
    *,
    gammas: Tensor | None = None,
    steps: int = defaults.STEPS,
    seed: int = defaults.SEED,
) -> Moved:
    """Move a picture (1, C, S, S) in [0, 1] with key-points (N, 2) px to targets (T, N, 2), nan where not seen.

    gammas: (G,) shares of the last target's flow, a frame each (KDM, appendix B), instead of the targets.
    """
    if gammas is not None:
        fine = _flows(pipeline, source, begin, targets[-1:], seed) * gammas.view(-1, 1, 1, 1)
        targets = begin + gammas.view(-1, 1, 1) * (targets[-1:] - begin)
    else:
        fine = _flows(pipeline, source, begin, targets, seed)
    flow = F.avg_pool2d(fine, FINER) / FINER
    size = source.shape[2], source.shape[3]
    sector = torch.ones(size, dtype=torch.bool)
    warped = warp_source(source, flow, sector[None, None])
    opened, behind = laid_open(begin, targets, pipeline.schema, *size), uncovered(flow)
    edges = torch.zeros_like(fine[:, :1], dtype=torch.bool)
    if not pipeline.schema.openings:  # limbs
        behind = torch.maximum(behind, vacated(begin, targets, pipeline.schema, *size).float())
        edges = breaks(fine)
    unknown = torch.maximum(behind, F.max_pool2d(edges.float(), FINER))
    drawn = filled_from_around(warped, unknown > 0, flow.norm(dim=1, keepdim=True) > STILL_PX)
    if bool(opened.any()):
        made = pipeline(source, begin, targets, sector=sector, drawing=Drawing(steps=steps, seed=seed), flow=flow)
        drawn = drawn + opened * (made.frames - drawn)
    hidden = torch.maximum(opened, behind)
    frames = warped + torch.maximum(hidden, F.avg_pool2d(edges.float(), FINER)) * (drawn - warped)
    hidden = F.interpolate(hidden, fine.shape[2:], mode="bilinear", align_corners=False)
    return Moved(frames, drawn, flow, fine, torch.maximum(hidden, edges.float()))


def _flows(pipeline: KDMPipeline, source: Tensor, begin: Tensor, targets: Tensor, seed: int) -> Tensor:
    """Flows (T, 2, FINER S, FINER S) px of their own that carry the key-points, none beyond their reach: K2F-net's, or
    of limbs alone."""
    height, width = source.shape[2] * FINER, source.shape[3] * FINER
    reach = reach_of(begin, targets, pipeline.schema, *source.shape[2:])
    sector = torch.ones(1, 1, *source.shape[2:])
    flows = []
    for first in range(0, len(targets), CHUNK):
        some = targets[first : first + CHUNK]
        if pipeline.edit_flow == "limbs":
            fine = torch.zeros(len(some), 2, height, width)
        else:
            rows = torch.arange(CHUNK).clamp(max=len(some) - 1)  # a full chunk: the same kernels whatever the length
            given = [part.expand(CHUNK, *part.shape[1:]).to(pipeline.device) for part in (source, begin[None], sector)]
            coarse = pipeline.predict_flow(
                given[0], given[1], some[rows].to(pipeline.device), given[2], Drawing(seed=seed, exact=False)
            )
            fine = enlarge_flow(coarse[: len(some)].cpu(), height, width)
        before, after = (rescale_centres(points, 1 / FINER) for points in (begin[None].expand_as(some), some))
        flows.append(exact(fine, before, after, pipeline.schema))
    return torch.cat(flows) * F.interpolate(reach, (height, width), mode="bilinear", align_corners=False)


def exact(flow: Tensor, source: Tensor, target: Tensor, schema: KeypointSchema) -> Tensor:
    """A flow (B, 2, H, W) px made to carry key-points (B, N, 2) px to (B, N, 2): of a body each limb whole, of a face
    each point, and the lines of lids and lips between them.
    """
    if not schema.openings:
        return limb_flow(flow, source, target, schema)
    lines = [list(line) for opening in schema.openings for line in opening]
    before, after = (
        torch.cat([points, *(smooth_line(points[:, line]) for line in lines)], 1) for points in (source, target)
    )
    return through_keypoints(flow, before, after)
