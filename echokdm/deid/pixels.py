"""Pixels without what is burned in: black outside the sector, and a refusal wherever something may be left inside
it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from echokdm.core.errors import ClipError, SearchError
from echokdm.core.frames import LongFrames
from echokdm.core.types import Clip
from echokdm.deid.marks import find_marks
from echokdm.deid.reasons import Reason, Refusal
from echokdm.io.raw import RawFrames
from echokdm.io.sector import Sector, find_sector
from echokdm.io.tint import strays

LEAST_FRAMES = 8
"""Fewer tell nothing of what moves."""

# The sector's fit is good to 1.3 pixels of a picture 320 wide; what touches its edge is cut off with these two.
MARGIN = 2
_SECTOR_FRAMES = 32
_LEAST_PIXELS = 400
# Of the sector that all frames show, what every second one must show too. Where an edge is dark they differ by 0.07;
# one damaged frame among eight makes 0.2.
_LEAST_AGREEMENT = 0.85

# Of frames reduced to blocks, with the median frame. Real clips stay above 0.78 even pixel by pixel.
_LEAST_CORRELATION = 0.5
_MOST_COLOURED = 12


class Cleared(NamedTuple):
    """frames: (T, H, W) uint8, 0 outside the mask. mask: (H, W) bool. standing: (H, W) uint8, what stays bright for
    long."""

    frames: np.ndarray
    mask: np.ndarray
    standing: np.ndarray


def clear_pixels(raw: RawFrames, fps: float) -> Cleared:
    """Mask a clip by its sector, gray. Raises Refusal where no mask is sure, or where marks may lie over the sector."""
    if len(raw.frames) < LEAST_FRAMES:
        raise Refusal(Reason.TOO_SHORT)
    sector, mask = _sure_mask(raw, fps)
    if _has_coloured_marks(raw.frames, mask):
        raise Refusal(Reason.COLOURED_MARKS)
    frames = _gray(raw.frames)
    _check_one_picture(frames, mask)
    try:
        standing, marked = find_marks(frames, sector, mask, fps)
    except SearchError:
        raise Refusal(Reason.NOT_SEARCHED) from None
    if marked:
        raise Refusal(Reason.TEXT_IN_SECTOR)
    frames *= mask
    return Cleared(frames, mask, standing * mask)


def _sure_mask(raw: RawFrames, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) bool twice: the sector, and the sector less a margin. Refused where there is none, or where the header or
    frames disagree."""
    picks = np.linspace(0, len(raw.frames) - 1, min(len(raw.frames), _SECTOR_FRAMES)).round().astype(int)
    picked = torch.from_numpy(raw.frames[picks])
    picked = picked.permute(0, 3, 1, 2) if picked.ndim == 4 else picked[:, None]
    scale = 255.0 if raw.frames.dtype == np.uint8 else 1.0
    clip = Clip(picked.float().div_(scale).clamp_(0, 1), fps, raw.spacing_mm, meta=raw.meta)
    try:
        sector, *halves = (
            find_sector(part) for part in (clip, *(replace(clip, frames=clip.frames[start::2]) for start in (0, 1)))
        )
    except ClipError as error:
        raise Refusal(Reason.DOPPLER if "Doppler" in str(error) else Reason.NO_SECTOR) from None
    if not _agrees_with_region(sector, raw.meta.get("region")):
        raise Refusal(Reason.REGION_DISAGREES)
    # what a single frame has beside the fan widens one half alone
    agreed = sector.mask & halves[0].mask & halves[1].mask
    if agreed.sum() < _LEAST_AGREEMENT * sector.mask.sum():
        raise Refusal(Reason.SECTOR_DISAGREES)
    mask = ndimage.binary_erosion(agreed, iterations=int(np.ceil(MARGIN * max(sector.step))))
    if mask.sum() < _LEAST_PIXELS:
        raise Refusal(Reason.NO_SECTOR)
    return agreed, mask


def _agrees_with_region(sector: Sector, region: tuple[int, int, int, int] | None) -> bool:
    """`find_sector` cuts the sector by a region that it believes, so a sector that leaves the region was found against
    it."""
    if region is None:
        return True
    inside = np.zeros_like(sector.mask)
    inside[region[1] : region[3] + 1, region[0] : region[2] + 1] = True
    return bool((sector.mask & ~inside).sum() <= 0.01 * sector.mask.sum())


def _has_coloured_marks(frames: np.ndarray | LongFrames, mask: np.ndarray) -> bool:
    """Whether coloured pixels off the tint, as of a trace or a label, lie in the sector of any frame."""
    if frames.ndim == 3:
        return False
    full = np.float32(255 if frames.dtype == np.uint8 else 1)
    return any(strays(frame[mask] / full).sum() > _MOST_COLOURED for frame in frames)


def _gray(frames: np.ndarray | LongFrames) -> np.ndarray:
    """(T, H, W) uint8: luma (ITU-R BT.601), frame by frame to spare memory."""
    scale = 1.0 if frames.dtype == np.uint8 else 255.0
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    gray = np.empty(frames.shape[:3], np.uint8)
    for target, frame in zip(gray, frames, strict=True):
        target[:] = np.rint(np.clip((frame @ weights if frame.ndim == 3 else frame) * scale, 0, 255))
    return gray


def _check_one_picture(frames: np.ndarray, mask: np.ndarray) -> None:
    """Refuse where a frame is unlike the others: a title page, or another view or depth."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(mask[box].shape[0] // 24, 2)
    filled = F.avg_pool2d(torch.from_numpy(mask[box]).float()[None, None], side)[0, 0].numpy() == 1
    small = np.stack(
        [F.avg_pool2d(torch.from_numpy(frame[box]).float()[None, None], side)[0, 0].numpy()[filled] for frame in frames]
    )
    to_middle = [_correlation(frame, np.median(small, axis=0)) for frame in small]
    for frame in range(1, len(small)):
        # A heart that fills the sector and moves far is unlike its own mean, but never unlike its last frame.
        if (
            min(to_middle[frame - 1 : frame + 1]) < _LEAST_CORRELATION
            and _correlation(*small[frame - 1 : frame + 1]) < _LEAST_CORRELATION
        ):
            raise Refusal(Reason.OTHER_PICTURE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """-1 where one of the two has a single value: an empty frame is not the same picture."""
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) > 0 and np.ptp(other) > 0 else -1.0
