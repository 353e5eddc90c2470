"""Errors of flows inside a mask (KDM, appendix A: MAE and RMSE; EPE as usual for optical flow)."""

import numpy as np
import torch
from torch import Tensor

from echokdm.metrics.image import masked_mean


@torch.no_grad()
def flow_errors(flow: Tensor, truth: Tensor, mask: Tensor) -> dict[str, np.ndarray]:
    """MAE and RMSE over both components and the end-point error, px, of flows (B, 2, H, W) inside mask (B, 1, H, W) ->
    (B,).

    MAE is the mean of |dx| and |dy|, RMSE the root of the mean of their squares, EPE the mean Euclidean length.
    """
    off = flow - truth
    errors = {
        "MAE": masked_mean(off.abs(), mask),
        "RMSE": masked_mean(off.square(), mask).sqrt(),
        "EPE": masked_mean(off.square().sum(1, keepdim=True).sqrt(), mask),
    }
    return {name: value.double().cpu().numpy() for name, value in errors.items()}
