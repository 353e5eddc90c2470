"""From a segmenter's frame-by-frame logits to one ventricle that beats without jumps and ends at its mitral plane.

A single frame tells the mitral plane badly while the valve is open, so the plane is a straight line fitted between the
ventricle's and the atrium's pixels, smoothed over time, and what lies beyond it is cut off, what lies before it kept.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.frames import Frames, collect, each
from echokdm.core.labels import Label
from echokdm.ops.apical_view import check_view, view_figures
from echokdm.ops.smoothing import time_fits
from echokdm.ops.warp import pixel_grid

# smoothing in time by `ops.smoothing.time_fits`: of probabilities, and of the mitral plane
SMOOTHED_S, PLANE_S = 0.04, 0.085
BLOCK = 256  # frames of a long clip that are looked at together
# `check_ventricle`, of what `ventricle_figures` gives. In brackets what 77 CAMUS patients that teach or choose, both
# real clips and 30 phantoms reach (benchmarks/real_hearts.py and deid_text.py name them); a gate lies well beyond,
# since hearts vary more than they do.
LEAST_FOUND = 0.8  # share of the frames in which a ventricle must be found [1]
_AREA = (0.015, 0.5)  # [.053 to .34]
_LEAST_WALL, _SURE_WALL = 0.35, 0.7  # [.76]
# the latter where the wall is sure; in hazy pictures it is hardly brighter [1.11]
_LEAST_CONTRAST, _LEAST_HAZY_CONTRAST = 1.15, 1.0
_LEAST_CERTAINTY, _LEAST_AGREEMENT, _LEAST_FILLED = 0.7, 0.8, 0.8  # [.91, .99, .93]
WAY_OUT = "Check that the clip shows an apical four-chamber view, or pass the outline with --keypoints."


Network = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def clip_probabilities(network: Network, frames: Frames, sector: Tensor, batch_size: int = 16) -> tuple[Frames, Tensor]:
    """Class probabilities of every frame, averaged over the picture as it is and its mirror image.

    frames (T, 1, H, W) in [0, 1]; sector (H, W) bool. network(image, sector) -> logits (B, classes, H, W): it sees each
    frame by itself, since a clip's mean and spread beside it draw the outline towards theirs, the more the fewer the
    frames. Turned, scaled and brightened pictures beside them bring nothing (99 patients of CAMUS: r of the ejection
    fraction .75 without, .74 with). Returns, on the CPU, probabilities (T, classes, H, W) and how far the two agree on
    the ventricle, (T,): the mean over both of the Dice coefficient with the average.
    """
    inside, agreement = sector.to(frames.dtype).expand(1, 1, *sector.shape), []

    def averaged() -> Iterator[Tensor]:
        for part in frames.split(batch_size):
            seen, mask = part * inside, inside.expand(len(part), -1, -1, -1)
            looks = [network(seen, mask), network(seen.flip(-1), mask.flip(-1)).flip(-1)]
            looks = [logits.float().softmax(1) for logits in looks]
            mean = (looks[0] + looks[1]) / 2
            ventricles, middle = [look[:, Label.LV] for look in looks], mean[:, Label.LV]
            dice = [
                2 * (v * middle).sum((1, 2)) / (v.square() + middle.square()).sum((1, 2)).clamp(min=1e-6)
                for v in ventricles
            ]
            agreement.append(torch.stack(dice).mean(0).cpu())
            yield mean.cpu()

    return collect(averaged()), torch.cat(agreement)


def smooth_in_time(values: Tensor, fps: float, sigma_s: float, trust: Tensor | None = None) -> Tensor:
    """Values (T, ...) smoothed along time by `ops.smoothing.time_fits`, each frame weighted by its trust (T,)."""
    return torch.cat([part for _, part in _smoothed(values, fps, sigma_s, trust)])


def _smoothed(
    values: Frames, fps: float, sigma_s: float, trust: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """As `smooth_in_time`, some frames after others, and which they are."""
    for fitted, seen, fit in time_fits(len(values), fps, sigma_s, None if trust is None else trust.cpu().numpy()):
        some = values[seen]
        yield fitted, torch.einsum("st,t...->s...", torch.as_tensor(fit, dtype=some.dtype, device=some.device), some)


def mitral_lines(probabilities: Frames, fps: float) -> Tensor | None:
    """The mitral plane of every frame as (nx, ny, d): points with nx x + ny y > d lie in the atrium. (T, 3) px.

    Of all lines within 40 degrees of square to the heart's axis, those that leave least ventricle beyond and least
    atrium before them, averaged with weights that fall with that cost; then smoothed robustly in time.
    None where no ventricle or no atrium is seen.
    """
    height, width = probabilities.shape[2:]
    points = pixel_grid(height, width)[0].reshape(2, -1)
    found = [_masses(part, points) for part in probabilities.split(BLOCK)]
    total, centres = (torch.cat(values, 1) for values in zip(*found, strict=True))
    if float(total[0].median()) < 1 or float(total[1].median()) < 0.05 * float(total[0].median()):  # px
        return None
    axis = (centres[1] - centres[0]).median(0).values
    origin = ((centres[1] + centres[0]) / 2).median(0).values
    fitted = [_divide(part, points, axis, origin) for part in probabilities.split(BLOCK)]
    line, cost = (torch.cat(values) for values in zip(*fitted, strict=True))
    # Frames where the atrium is nearly shut, or the line divides badly, follow their neighbours; so do outliers.
    seen = (total[1] / total[1].median()).clamp(max=1).square()
    divided = 1 / (1 + (cost / (0.06 * total[0].median())).square())
    trust = seen * divided + 1e-3
    smooth = smooth_in_time(line, fps, PLANE_S, trust)
    for _ in range(3):
        off = (line - smooth) / line.new_tensor([math.radians(8), 1.5])
        smooth = smooth_in_time(line, fps, PLANE_S, trust / (1 + off.square().sum(1)))
    line = smooth
    angle = line[:, 0] + torch.atan2(axis[1], axis[0])
    normal = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.cat([normal, (line[:, 1] + normal @ origin)[:, None]], 1)


def _masses(probabilities: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Of ventricle and atrium: how much there is of them, (2, N), and their centres (2, N, 2) px. points: (2, H W)
    px."""
    chambers = probabilities[:, Label.LV], probabilities[:, Label.LA]
    total = [b.sum((1, 2)) for b in chambers]
    centres = [((points @ b.flatten(1).T) / t.clamp(min=1e-6)).T for b, t in zip(chambers, total, strict=True)]
    return torch.stack(total), torch.stack(centres)


def _divide(probabilities: Tensor, points: Tensor, axis: Tensor, origin: Tensor) -> tuple[Tensor, Tensor]:
    """Of each frame (N,): the line's turn from `axis` and its distance from `origin`, (N, 2), and the least cost of any
    line, (N,)."""
    frames, _, height, width = probabilities.shape
    chambers = [probabilities[:, label].flatten(1) for label in (Label.LV, Label.LA)]
    turns = torch.deg2rad(torch.arange(-40, 41, 4))
    angles = torch.atan2(axis[1], axis[0]) + turns
    reach = math.hypot(height, width)
    offsets = torch.arange(-reach, reach + 1, 1.0)
    cost = probabilities.new_empty(frames, len(angles), len(offsets))
    for i, angle in enumerate(angles):
        normal = torch.stack([angle.cos(), angle.sin()])
        bins = (normal @ (points - origin[:, None]) + reach).ceil().long()
        mass = [probabilities.new_zeros(frames, len(offsets)).index_add_(1, bins, b) for b in chambers]
        # A pixel in bin k lies between offsets k-1 and k, so it is beyond every offset below k.
        cost[:, i] = chambers[0].sum(1)[:, None] - mass[0].cumsum(1) + mass[1].cumsum(1)
    cost = cost + 40 * turns.square()[None, :, None]
    least = cost.amin((1, 2))
    weight = torch.softmax(-(cost - least[:, None, None]).flatten(1) / 4, 1).view_as(cost)
    return torch.stack([(weight.sum(2) * turns).sum(1), (weight.sum(1) * offsets).sum(1)], 1), least


def ventricle_masks(probabilities: Frames, sector: Tensor, fps: float) -> Tensor:
    """Ventricle masks (T, H, W) bool of smoothed probabilities (T, classes, H, W) on the CPU: one piece each, no holes,
    no atrium.

    A frame where far less is found than in the others gets an empty mask.
    """
    lines = mitral_lines(probabilities, fps)
    chambers = each(probabilities, lambda some: some[:, [Label.LV, Label.LA]])
    out = np.concatenate(
        [
            _cavities(smooth, None if lines is None else lines[which], sector)
            for which, smooth in _smoothed(chambers, fps, SMOOTHED_S)
        ]
    )
    area = out.sum((1, 2))
    out[area < 0.3 * np.median(area)] = False
    return torch.from_numpy(out)


def _cavities(chambers: Tensor, lines: Tensor | None, sector: Tensor) -> np.ndarray:
    """Ventricle masks (N, H, W) bool of smoothed probabilities of ventricle and atrium (N, 2, H, W), and where one is
    seen lines (N, 3)."""
    grid = pixel_grid(*chambers.shape[-2:])[0]
    profile = torch.exp(-0.5 * torch.arange(-2.0, 3.0) ** 2)  # a Gaussian of one pixel
    kernel = torch.outer(profile, profile) / profile.sum() ** 2
    disk = {r: np.hypot(*np.mgrid[-r : r + 1, -r : r + 1]) <= r + 0.3 for r in (2, 4)}
    within = sector.cpu().numpy().astype(bool)
    out = np.zeros((len(chambers), *within.shape), bool)
    # One after another: a convolution of hundreds of one-channel frames at once takes sixteen times their memory.
    for t, (blood, atrium) in enumerate(chambers):
        if lines is None:
            before = torch.ones_like(blood, dtype=torch.bool)
        else:
            before = torch.einsum("i,ihw->hw", lines[t, :2], grid) < lines[t, 2]
            blood = blood + atrium * before
        blood = F.conv2d(F.pad(blood[None, None], (2, 2, 2, 2), mode="replicate"), kernel[None, None].to(blood))[0, 0]
        mask = (blood > 0.5).numpy()
        # papillary muscles and trabeculae belong to the cavity
        mask = ndimage.binary_closing(np.pad(mask, 6), disk[4])[6:-6, 6:-6]
        mask = ndimage.binary_opening(mask, disk[2])
        mask &= within & before.numpy()
        labels, count = ndimage.label(mask)
        if count:
            sizes = np.bincount(labels.ravel())[1:]
            out[t] = ndimage.binary_fill_holes(labels == 1 + int(sizes.argmax()))
    return out


def ventricle_figures(
    masks: Tensor, probabilities: Frames, agreement: Tensor, frames: Frames, sector: Tensor
) -> dict[str, float]:
    """What tells a ventricle from anything else, each a median over frames.

    area: median mask as a share of the sector. found: share of frames with a mask. wall: share of a ring of 5 px around
    the mask that is called myocardium. contrast: mean gray of that ring over the mask's. certainty: mean probability
    inside. filled: area over that of the ellipse with the same moments. agreement: as `clip_probabilities` gives it.
    """
    # torch would make integers of all pixels first, eight times their bytes
    area = torch.from_numpy(masks.numpy().sum((1, 2))).float()
    figures = {
        "area": float(area.median()) / max(float(sector.sum()), 1.0),
        "found": float((area > 0).float().mean()),
        "agreement": float(agreement.median()),
    }
    within = sector.cpu().numpy().astype(bool)
    rows: list[tuple[float, float, float, float]] = []
    for found, likely, frame in zip(masks, probabilities, frames, strict=True):
        mask = found.cpu().numpy()
        ring = ndimage.binary_dilation(mask, iterations=5) & ~mask & within
        if mask.sum() < 10 or not ring.any():
            rows.append((0.0, 0.0, 0.0, 0.0))
            continue
        image = frame[0].cpu().numpy()
        spread = np.linalg.eigvalsh(np.cov(np.stack(np.nonzero(mask))) + np.eye(2) / 12)
        rows.append(
            (
                float((likely[Label.MYOCARDIUM].cpu().numpy()[ring] > 0.3).mean()),
                float(image[ring].mean()) / max(float(image[mask].mean()), 1e-3),
                float(likely[Label.LV][found].mean()),
                float(mask.sum()) / (4 * math.pi * math.sqrt(spread[0] * spread[1])),
            )
        )
    return figures | dict(
        zip(("wall", "contrast", "certainty", "filled"), np.median(rows, axis=0).tolist(), strict=True)
    )


def check_ventricle(figures: Mapping[str, float], walled: bool = True) -> None:
    """Raise GeometryError unless `ventricle_figures` are those of a left ventricle that is seen throughout the clip.

    walled: whether its walls must stand out, too.
    """
    if not _AREA[0] < figures["area"] < _AREA[1] or figures["found"] < LEAST_FOUND:
        raise GeometryError(f"No left ventricle of plausible size was found throughout the clip. {WAY_OUT}")
    least_contrast = _LEAST_HAZY_CONTRAST if figures["wall"] >= _SURE_WALL else _LEAST_CONTRAST
    if walled and (figures["wall"] < _LEAST_WALL or figures["contrast"] < least_contrast):
        raise GeometryError(f"What was found is not surrounded by a brighter wall as a left ventricle is. {WAY_OUT}")
    if (
        figures["certainty"] < _LEAST_CERTAINTY
        or figures["agreement"] < _LEAST_AGREEMENT
        or figures["filled"] < _LEAST_FILLED
    ):
        raise GeometryError(f"No left ventricle was found with any certainty. {WAY_OUT}")


def segment_clip(
    network: Network,
    frames: Frames,
    sector: Tensor,
    fps: float,
    batch_size: int = 16,
    walled: bool = True,
    any_view: bool = False,
) -> tuple[Tensor, Frames, Tensor]:
    """The left ventricle in every frame of a clip, consistent in time.

    network(image (B, 1, H, W), sector (B, 1, H, W)) -> logits (B, classes, H, W), classes in the order background, LV,
    myocardium, LA, ... frames (T, 1, H, W) in [0, 1], fps of them a second; sector (H, W) bool. walled: see
    `check_ventricle`; neither that nor the view is asked of what was made from a clip that was judged. any_view: don't
    judge the view. Returns, on the CPU, masks (T, H, W) bool and, as `clip_probabilities` gives them, the class
    probabilities before smoothing and the agreement (T,). A mask may be empty in up to a fifth of the frames; raises
    GeometryError where no plausible ventricle is found, ViewError where it is seen from elsewhere.
    """
    probabilities, agreement = clip_probabilities(network, frames, sector, batch_size)
    masks = ventricle_masks(probabilities, sector, fps)
    check_ventricle(ventricle_figures(masks, probabilities, agreement, frames, sector), walled=walled)
    if walled and not any_view:
        check_view(view_figures(masks, probabilities))
    return masks, probabilities, agreement
