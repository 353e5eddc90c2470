"""Statistics that tell a clip's look and motion in numbers, the same for phantoms and real clips."""

from collections.abc import Callable

import torch
from torch import Tensor

from echokdm.ops.warp import warp

GRAY_EDGES = (0.02, 0.06, 0.12, 0.2, 0.3, 0.42, 0.58)  # eight bins of gray, narrow where echo pictures have most pixels
DEPTH_THIRDS = ("near", "middle", "far")

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]  # images (B, 1, H, W) in [0, 1], twice, and a mask -> (B,)


def frame_correlation(first: Tensor, second: Tensor, sector: Tensor) -> float:
    """Mean Pearson correlation of frame pairs (T, 1, H, W) inside `sector` (H, W) bool; pairs that repeat a frame are
    left out."""
    x, y = (f[:, 0][:, sector] - f[:, 0][:, sector].mean(1, keepdim=True) for f in (first, second))
    values = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp(min=1e-9)
    changed = (second - first).abs().amax((1, 2, 3)) > 4 / 255
    return float(values[changed].mean()) if bool(changed.any()) else 1.0


def gray_shares(frames: Tensor, sector: Tensor, depth: Tensor) -> dict[str, float]:
    """Share of pixels in each of eight gray bins, by third of the sector's depth.

    frames (T, 1, H, W) in [0, 1]; depth (H, W) in [0, 1], 0 at the probe and 1 at the far edge.
    """
    edges = frames.new_tensor(GRAY_EDGES)
    out = {}
    for k, name in enumerate(DEPTH_THIRDS):
        where = sector & (depth >= k / 3) & (depth < (k + 1) / 3 if k < 2 else depth >= 2 / 3)
        bins = torch.bucketize(frames[:, 0][:, where].contiguous(), edges, right=True)
        share = torch.bincount(bins.flatten(), minlength=len(GRAY_EDGES) + 1) / max(bins.numel(), 1)
        for b, value in enumerate(share.tolist()):
            low, high = (0.0, *GRAY_EDGES)[b], (*GRAY_EDGES, 1.0)[b]
            out[f"gray {low:.2f}-{high:.2f} {name}"] = value
    return out


def edit_distances(
    source: Tensor, target: Tensor, flow: Tensor, sector: Tensor, valid: Tensor, lpips: Distance
) -> dict[str, float]:
    """ED (source) to ES (target), both (1, H, W): LPIPS and MSE with no edit, inside the sector, and after the warp by
    `flow`.

    flow (2, H, W) backward px; sector and valid (H, W) bool, valid where the warp's source lies inside the sector too.
    """
    warped = warp(source[None], flow[None])[0]

    def pair(a: Tensor, mask: Tensor) -> tuple[float, float]:
        distance = lpips((a * mask)[None], (target * mask)[None], mask[None, None].float())
        return float(distance), float((a - target)[0][mask].square().mean())

    still_lpips, still_mse = pair(source, sector)
    warped_lpips, warped_mse = pair(warped, sector & valid)
    return {
        "no-edit LPIPS": still_lpips,
        "no-edit MSE": still_mse,
        "warp LPIPS": warped_lpips,
        "warp MSE": warped_mse,
        "mean flow px": float(flow.square().sum(0).sqrt()[sector].mean()),
    }


def clip_statistics(
    pairs: tuple[Tensor, Tensor],
    sector: Tensor,
    depth: Tensor,
    ed: Tensor,
    es: Tensor,
    flow: Tensor,
    valid: Tensor,
    lpips: Distance,
) -> dict[str, float]:
    """Every statistic of one clip: `pairs` of successive frames, each (T, 1, H, W); ed and es (1, H, W), `flow` from ED
    to ES."""
    return {
        "successive correlation": frame_correlation(*pairs, sector),
        **edit_distances(ed, es, flow, sector, valid, lpips),
        **gray_shares(pairs[0], sector, depth),
    }
