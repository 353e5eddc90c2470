"""Flows that carry one set of key-points to another: by thin-plate splines (Bookstein 1989), the smoothest, or by
triangles, linearly."""

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.ops.warp import pixel_grid, sample_points

_RIDGE = 1e-10  # keeps the system solvable when points coincide; moves the fit by far less than 1e-3 px


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """U = r^2 log r^2 between points (N, 2) and (M, 2) -> (N, M), 0 at r = 0."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return torch.xlogy(squared, squared.clamp_min(1e-300))


def _with_anchors(source: Tensor, target: Tensor, anchors: Tensor | None) -> tuple[Tensor, Tensor]:
    if source.ndim != 3 or source.shape[-1] != 2 or source.shape != target.shape:
        raise GeometryError(
            "Source and target key-points need one shape (batch, points, 2), "
            f"not {tuple(source.shape)} and {tuple(target.shape)}."
        )
    if anchors is not None:
        anchors = anchors.to(source)
        anchors = anchors.expand(len(source), *anchors.shape[-2:])
        source, target = torch.cat([source, anchors], 1), torch.cat([target, anchors], 1)
    return source.double(), target.double()


def _displace(source: Tensor, target: Tensor, points: Tensor, regularization: float) -> Tensor:
    """Displacement (M, 2) at points (M, 2) of the spline that is source - target (N, 2) at target (N, 2); float64."""
    centre = target.mean(0)
    scale = (target - centre).abs().amax().clamp_min(1e-6)
    knots, places = (target - centre) / scale, (points - centre) / scale
    n = len(knots)
    affine = torch.cat([torch.ones_like(knots[:, :1]), knots], 1)
    corner = torch.zeros(3, 3, dtype=knots.dtype, device=knots.device) - _RIDGE * torch.eye(
        3, dtype=knots.dtype, device=knots.device
    )
    system = torch.cat(
        [
            torch.cat(
                [
                    _kernel(knots, knots)
                    + (regularization + _RIDGE) * torch.eye(n, dtype=knots.dtype, device=knots.device),
                    affine,
                ],
                1,
            ),
            torch.cat([affine.T, corner], 1),
        ]
    )
    right = torch.cat([source - target, source.new_zeros(3, 2)])
    weights = torch.linalg.solve(system, right)
    return _kernel(places, knots) @ weights[:n] + weights[n] + places @ weights[n + 1 :]


def tps_points(
    source: Tensor, target: Tensor, points: Tensor, anchors: Tensor | None = None, regularization: float = 0.0
) -> Tensor:
    """Where points (B, M, 2) of the target image lie in the source image -> (B, M, 2) px, by the spline that takes
    target to source."""
    fitted = _with_anchors(source, target, anchors)
    moved = [p + _displace(s, t, p, regularization) for s, t, p in zip(*fitted, points.double(), strict=True)]
    return torch.stack(moved).to(source.dtype)


def tps_flow(
    source: Tensor, target: Tensor, height: int, width: int, anchors: Tensor | None = None, regularization: float = 0.0
) -> Tensor:
    """Backward flow (B, 2, H, W) px of the thin-plate spline through key-points source, target (B, N, 2): target(p) ~
    source(p + flow(p)).

    anchors: (M, 2) or (B, M, 2) points that stay, such as `border_anchors` or `sector_anchors`. regularization: weight
    of smoothness against the key-points (0 passes through them, to under 1e-3 px), in units of the kernel with
    coordinates scaled to [-1, 1]. Each sample is solved by itself in float64, so that the batch's size never changes a
    result. Differentiable.
    Raises GeometryError on shapes that don't match.
    """
    sources, targets = _with_anchors(source, target, anchors)
    grid = pixel_grid(height, width, source.device).double().flatten(2)[0].T
    flows = [_displace(s, t, grid, regularization) for s, t in zip(sources, targets, strict=True)]
    return torch.stack(flows).transpose(1, 2).reshape(-1, 2, height, width).to(source.dtype)


def border_anchors(height: int, width: int, per_side: int = 6) -> Tensor:
    """(4 * per_side, 2) points around the image's border."""
    part = torch.arange(per_side) / per_side
    x, y = part * (width - 1), part * (height - 1)
    zero = torch.zeros_like(part)
    return torch.cat(
        [
            torch.stack(side, 1)
            for side in ((x, zero), (zero + width - 1, y), (width - 1 - x, zero + height - 1), (zero, height - 1 - y))
        ]
    )


def sector_anchors(sector: Tensor, count: int = 32) -> Tensor:
    """(count, 2) points at equal distances around the edge of a sector (H, W) bool. Raises GeometryError on an empty
    sector."""
    from echokdm.ops.chords import contour, resample

    return torch.from_numpy(resample(contour(sector.cpu().numpy()), count)).float()


def seen_tps_flow(source: Tensor, target: Tensor, height: int, width: int, regularization: float = 0.0) -> Tensor:
    """`tps_flow` (1, 2, H, W) px of key-points source, target (N, 2) px, by those seen in both (not nan); the image's
    border stays."""
    seen = torch.isfinite(source).all(-1) & torch.isfinite(target).all(-1)
    return tps_flow(
        source[None, seen], target[None, seen], height, width, border_anchors(height, width), regularization
    )


def through_keypoints(flow: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Correct a backward flow (B, 2, H, W) so that it carries each target key-point to its source, (B, N, 2) px each,
    nan where not seen.

    What the flow misses by is laid over the picture linearly between the points (Delaunay's triangles) and fades to its
    border: nothing overshoots, where a spline through two lids that all but meet would throw the brows about. Returns
    (B, 2, H, W) px.
    """
    from scipy.interpolate import LinearNDInterpolator

    height, width = flow.shape[2:]
    border = border_anchors(height, width)
    y, x = np.mgrid[0:height, 0:width]
    out = []
    for one, before, after in zip(flow.cpu(), source.cpu(), target.cpu(), strict=True):
        missed = before - after - sample_points(one[None], after[None])[0]
        known = torch.isfinite(missed).all(-1)
        places, values = torch.cat([after[known], border]), torch.cat([missed[known], torch.zeros_like(border)])
        laid = LinearNDInterpolator(places.double().numpy(), values.double().numpy(), fill_value=0.0)(x, y)
        out.append(one + torch.from_numpy(laid).to(one).permute(2, 0, 1))
    return torch.stack(out).to(flow)
