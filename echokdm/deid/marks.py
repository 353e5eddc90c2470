"""Marks burned in over the sector: fine strokes that stand still where tissue flickers, or that come or go from one frame to the next."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from echokdm.core.frames import LongFrames, each

# Strokes are what an opening by a square of three pixels takes away: speckle is blurred by the beam, print is not. Levels of 255.
_SQUARE = (3, 3)
_CONTRAST = 25
# A word's box (rows, columns), and the strokes in it from which it is taken for one: two letters of eight pixels' height. Clean real
# clips have 13 at most; benchmarks/deid_text.py has both rates.
_WORD = (16, 48)
_LEAST_STROKES = 20

# Tissue is seen to move within a beat; text may come later than the clip's first frame.
_STANDING_SECONDS, _STANDING_FRAMES = 1.5, 45
_SHARE = 5  # percent of the frames that may be darker, or brighter

# (frames, contrast, strokes): what comes or goes at once and stays so long. Clean real clips have 23 and 25 strokes at most.
_CHANGES = ((4, 45, 45), (1, 65, 45))

# Print that is too bold for the square is fine at half the size; so that speckle isn't, only where a sector is this wide, in pixels.
_WIDE = 640
_BESIDE = 24  # px beside the sector that are looked at


def find_marks(frames: np.ndarray | LongFrames, sector: np.ndarray, mask: np.ndarray, fps: float, sharper: float = 1.0,
               strokes: int = _LEAST_STROKES) -> tuple[np.ndarray, bool]:
    """((H, W) uint8, what stays bright for long; whether marks lie over the mask, or reach into it from beside the sector).

    frames: (T, H, W) uint8. sector: (H, W) bool, the whole of it. mask: (H, W) bool, the part that is to be kept.
    sharper: times the usual contrast, by which a mark has to stand out. strokes: more of them in a word's box are one that stays.
    Print no brighter than the tissue around it, and print that fades in, are not found.
    """
    rows, columns = np.flatnonzero(sector.any(1)), np.flatnonzero(sector.any(0))
    box = tuple(slice(max(line[0] - _BESIDE, 0), line[-1] + _BESIDE + 1) for line in (rows, columns))
    frames, kept, beside = each(frames, lambda some: some[:, *box]), mask[box], ~ndimage.binary_dilation(sector[box])
    shown = np.zeros(mask.shape, np.uint8)
    found = False
    for low, high in _standing(frames, fps):
        shown[box] = np.maximum(shown[box], low)
        found = found or _is_mark(low, high, kept, beside, sharper * _CONTRAST, strokes)
    return shown, found or _comes_or_goes(frames, kept, beside, sharper)


def _standing(frames: np.ndarray | LongFrames, fps: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(darkest, brightest) (H, W) of overlapping windows, but for a few frames in each."""
    length = max(_STANDING_FRAMES, int(np.ceil(_STANDING_SECONDS * fps)))
    last = max(len(frames) - length, 0)
    for start in [*range(0, last, max(length // 2, 1)), last]:
        low, high = np.percentile(frames[start : start + length], [_SHARE, 100 - _SHARE], axis=0, method="nearest")
        yield low, high


def _comes_or_goes(frames: np.ndarray | LongFrames, kept: np.ndarray, beside: np.ndarray, sharper: float) -> bool:
    """Whether a mark is there in some frames and not in those just before or after."""
    for length, contrast, most in ((length, sharper * contrast, most) for length, contrast, most in _CHANGES):
        for middle in range(length, len(frames) - length + 1):
            before, after = frames[middle - length : middle], frames[middle : middle + length]
            for there, gone in ((before, after), (after, before)):
                low, absent = there.min(0), gone.max(0)
                rise = np.where(low > absent, low - absent, 0).astype(np.uint8)
                if (rise >= contrast).sum() > most // 4 and _is_mark(rise, rise + (there.max(0) - low), kept, beside, contrast, most):
                    return True
    return False


def _is_mark(low: np.ndarray, high: np.ndarray, kept: np.ndarray, beside: np.ndarray, contrast: float, most: int) -> bool:
    """Whether (H, W) pixels that vary from `low` to `high` hold a word over the mask, or a stroke that runs into it from beside."""
    low, high = low.astype(np.float32), high.astype(np.float32)
    while True:
        rise = low - ndimage.grey_opening(low, _SQUARE)
        # By no more than it stands out may a stroke flicker.
        strokes = (rise >= contrast) & (high - low <= rise)
        inside = strokes & kept
        if inside.sum() > most:
            density = ndimage.uniform_filter(inside.astype(np.float32), _WORD, mode="constant") * _WORD[0] * _WORD[1]
            if density.max() > most:
                return True
        if _crosses(strokes, kept, beside):
            return True
        if np.ptp(np.flatnonzero(kept.any(0))) < _WIDE:
            return False
        low, high = _halved(low), _halved(high)
        kept, beside = (_halved(part.astype(np.float32)) == 1 for part in (kept, beside))


def _crosses(strokes: np.ndarray, kept: np.ndarray, beside: np.ndarray) -> bool:
    if not (strokes & beside).any():
        return False
    labels, _ = ndimage.label(strokes, np.ones((3, 3)))
    return bool(np.intersect1d(labels[strokes & kept], labels[strokes & beside]).size)


def _halved(picture: np.ndarray) -> np.ndarray:
    """(H // 2, W // 2) means of two by two pixels."""
    even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
