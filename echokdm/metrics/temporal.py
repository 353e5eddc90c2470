"""Does a clip flicker? Warping error between successive frames (Lai et al. 2018, "Learning blind video temporal
consistency")."""

import numpy as np
import torch
from torch import Tensor

from echokdm.metrics.image import masked_mse
from echokdm.ops.warp import pixel_grid, sample, warp

INVERSE_STEPS = 30
INVERSE_TOLERANCE = 0.25  # px by which the inverse may miss; beyond it a pixel is not scored


def flow_between(target: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The flow from `other`'s frame to `target`'s, when both (B, 2, H, W) read one common source -> flow, and where it
    is known.

    Pixel p of the target shows what the source has at p + target(p); it is found in the other frame at that q with
    q + other(q) = p + target(p), by fixed-point iteration. Returns q - p, (B, 2, H, W) px, and (B, 1, H, W) bool.
    """
    grid = pixel_grid(target.shape[2], target.shape[3], target.device)
    goal = grid + target
    at = grid.expand_as(goal).clone()
    for _ in range(INVERSE_STEPS):
        at = goal - sample(other, at)
    missed = (at + sample(other, at) - goal).square().sum(1, keepdim=True).sqrt()
    return at - grid, missed < INVERSE_TOLERANCE


@torch.no_grad()
def warping_error(frames: Tensor, flows: Tensor, known: Tensor) -> np.ndarray:
    """Mean squared difference of each frame and the one before it, warped -> (T - 1,) in squared gray values of [0, 1].

    frames (T, 1, H, W); flows (T - 1, 2, H, W) backward px from frame t - 1 to frame t; known (T - 1, 1, H, W) bool:
    where the flow is known and its source lies inside the sector.
    """
    return masked_mse(warp(frames[:-1], flows), frames[1:], known).double().cpu().numpy()


def fetched_inside(flow: Tensor, sector: Tensor) -> Tensor:
    """Where a warp's target and source both lie inside the sector: flow (B, 2, H, W) px, sector (B, 1, H, W) -> (B, 1,
    H, W) bool."""
    origin = sample(sector.float(), pixel_grid(flow.shape[2], flow.shape[3], flow.device) + flow, padding="zeros")
    return (origin > 0.999) & sector.bool()
