"""How far what was asked of key-points reaches into a picture, and what it lays open that was hidden."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.ops.render import FAR, fill_polygon
from echokdm.ops.skeleton import ends_in, limb_end, smooth_line
from echokdm.ops.warp import pixel_grid, sample

MARGIN = 0.2  # of the key-points' box: how far beyond what moves a flow fades to nothing
MOVES = 0.005  # of that box, from which a key-point counts as moved
OPENED = (1.25, 2.0)  # times its area before, between which an opening comes to show what was hidden
CARRIED = 3.0  # px by which what hides another goes further than it; from twice as much on it is sure
_BORDER = 4  # px at the border of a picture over which a flow fades


def box_side(points: Tensor) -> float:
    """The longer side in px of the box of key-points (..., 2) that are seen."""
    seen = points[torch.isfinite(points).all(-1)]
    return float((seen.amax(0) - seen.amin(0)).amax()) if len(seen) else 0.0


def reach_of(source: Tensor, target: Tensor, schema: KeypointSchema, height: int, width: int) -> Tensor:
    """(T, 1, H, W) in [0, 1]: 1 where key-points (N, 2) px that go to (T, N, 2) move the picture, 0 beyond `MARGIN` of
    their box around it.

    What moves is the hull of the moved points' places before and after, with the other ends of their limbs and what
    these limbs end in; where all points of the schema's `carrier` move, what it carries moves with them, as hair does
    with a face: its mirror image above. Within half the margin all moves.
    """
    side, out = box_side(source), []
    y, x = np.mgrid[0:height, 0:width]
    edge = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]).clip(0, _BORDER) / _BORDER
    for asked in target:
        moved = _moved(source, asked, MOVES * side)
        places = _places(source, asked, moved, schema)
        inside = _hull(places, height, width)
        away = ndimage.distance_transform_edt(~inside) if inside.any() else np.full((height, width), np.inf)
        share = np.clip(2 - 2 * away / max(MARGIN * side, 1.0), 0, 1)
        out.append(torch.from_numpy((share * share * (3 - 2 * share) * edge).astype(np.float32)))
    return torch.stack(out)[:, None]


def _moved(source: Tensor, target: Tensor, least: float) -> Tensor:
    return (target - source).norm(dim=-1) > least  # not, of points that were not seen


def _places(source: Tensor, target: Tensor, moved: Tensor, schema: KeypointSchema) -> np.ndarray:
    """(M, 2) px: where moved points are before and after, the other ends of their limbs, and what goes with them."""
    joined, places = moved.clone(), []
    if not schema.carrier:
        for edge in schema.edges:
            joined[list(edge)] |= moved[list(edge)].any()
            if moved[list(edge)].any() and ends_in(edge, schema):
                places += [limb_end(points, edge)[None] for points in (source, target)]
    elif bool(moved[list(schema.carrier)].all()):
        for points in (source, target):
            # a head is about as high above its eyes as it is deep below
            places.append(2 * points[list(schema.carrier)].mean(0) - points)
    known = torch.cat([source[joined], target[joined], *places])
    return known[torch.isfinite(known).all(-1)].double().numpy()


def _hull(places: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) bool: the pixels of the convex hull of places (M, 2), which may lie on a line."""
    from scipy.spatial import Delaunay, QhullError

    inside = np.zeros((height, width), bool)
    at = places.round().astype(int)
    within = ((at >= 0) & (at < [width, height])).all(1)
    inside[at[within, 1], at[within, 0]] = True
    try:
        y, x = np.mgrid[0:height, 0:width]
        inside |= Delaunay(places).find_simplex(np.stack([x, y], -1)) >= 0
    except (QhullError, ValueError):  # fewer than three places, or all on one line
        pass
    return inside


def laid_open(source: Tensor, target: Tensor, schema: KeypointSchema, height: int, width: int) -> Tensor:
    """(T, 1, H, W) in [0, 1]: the inside of the schema's openings, as of a mouth, where key-points (N, 2) px go to (T,
    N, 2) and they were shut: the source can't show it.
    """
    hidden = torch.zeros(len(target), 1, height, width)
    for before, after in zip(outlines(source, schema), outlines(target, schema), strict=True):
        grown = _area(after) / _area(before).clamp_min(0.25)
        share = ((grown - OPENED[0]) / (OPENED[1] - OPENED[0])).clamp(0, 1).nan_to_num(0.0)
        hidden = torch.maximum(hidden, fill_polygon(after.nan_to_num(FAR), height, width) * share.view(-1, 1, 1, 1))
    return hidden


def breaks(flow: Tensor) -> Tensor:
    """(T, 1, H, W) bool: pixels of a flow (T, 2, H, W) px beside one that goes elsewhere, by more than `CARRIED`."""
    out = torch.zeros_like(flow[:, :1], dtype=torch.bool)
    for axis in (2, 3):
        jump = flow.diff(dim=axis).norm(dim=1, keepdim=True) > CARRIED
        sides = [0, 0, 0, 0]
        for before in (0, 1):
            pads = list(sides)
            pads[2 * (3 - axis) + before] = 1
            out |= F.pad(jump, pads)
    return out


def outlines(points: Tensor, schema: KeypointSchema) -> list[Tensor]:
    """Of each of the schema's openings its outline (..., M, 2), smooth, through key-points (..., N, 2)."""
    return [
        torch.cat([smooth_line(points[..., list(line), :])[..., :-1, :] for line in opening], -2)
        for opening in schema.openings
    ]


def _area(points: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    return (x * y.roll(-1, -1) - y * x.roll(-1, -1)).sum(-1).abs() / 2


def uncovered(flow: Tensor) -> Tensor:
    """(T, 1, H, W) in [0, 1]: where a pixel of a flow (T, 2, H, W) px reads what another one, that goes much further,
    shows too.

    It lay behind it, as a wall behind an arm: the source can't show it.
    """
    height, width = flow.shape[2:]
    grid, length = pixel_grid(height, width, flow.device), flow.norm(dim=1, keepdim=True)
    x, y = (grid + flow).round().long().unbind(1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)
    furthest = torch.zeros(len(flow), height * width, device=flow.device)
    furthest.scatter_reduce_(1, place, (length[:, 0] * inside).flatten(1), "amax")
    furthest = F.max_pool2d(furthest.view(-1, 1, height, width), 3, 1, 1)  # over gaps of rounding
    return ((sample(furthest, grid + flow) - length - CARRIED) / CARRIED).clamp(0, 1)
