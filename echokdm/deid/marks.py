"""Marks burned in over the sector: words, and fine strokes that stand still where tissue flickers, or that come or go
at once."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage

from echokdm.core.frames import LongFrames, each
from echokdm.deid.words import find_words

# Strokes are what an opening by a square of three pixels takes away: speckle is blurred by the beam, print is not.
# Levels of 255.
_CONTRAST = 40
# A word's box (rows, columns), and the strokes in it from which it is taken for one. Clean clips, of hearts, of
# phantoms of high gain and of CAMUS' two frames in turn, have 30 at most; a white word 8 pixels high has 80, and dimmer
# ones are the network's.
_WORD = (16, 48)
_LEAST_STROKES = 40

# Tissue is seen to move within a beat; text may come later than the clip's first frame.
_STANDING_SECONDS, _STANDING_FRAMES = 1.5, 45
_SHARE = 5  # percent of the frames that may be darker, or brighter

# (frames, contrast): what comes or goes at once and stays so long.
_LASTING = 4
_CHANGES = ((_LASTING, 60), (1, 85))

# Print that is too bold for the square is fine at half the size; so that speckle isn't, only where a sector is this
# wide, in pixels.
_WIDE = 640
_BESIDE = 24  # px beside the sector that are looked at


def find_marks(
    frames: np.ndarray | LongFrames, sector: np.ndarray, mask: np.ndarray, fps: float, sharper: float = 1.0
) -> tuple[np.ndarray, bool]:
    """((H, W) uint8, what stays bright for long; whether marks lie over the mask, or reach into it from beside the
    sector).

    frames: (T, H, W) uint8. sector: (H, W) bool, the whole of it. mask: (H, W) bool, the part that is to be kept.
    sharper: times the usual contrast, by which a mark has to stand out.
    Words are looked for in every frame, strokes brighter than what is around them. Raises SearchError where the search
    itself fails.
    """
    rows, columns = np.flatnonzero(sector.any(1)), np.flatnonzero(sector.any(0))
    box = tuple(slice(max(line[0] - _BESIDE, 0), line[-1] + _BESIDE + 1) for line in (rows, columns))
    frames, inside, kept = each(frames, lambda some: some[:, *box]), sector[box], mask[box]
    beside = ~ndimage.binary_dilation(inside)
    shown = np.zeros(mask.shape, np.uint8)
    found, lasting = False, []
    for low, high in _standing(frames, fps):
        shown[box] = np.maximum(shown[box], low)
        lasting.append((low, high))
        found = found or _is_mark(low, high, kept, beside, sharper * _CONTRAST)
    if found:
        return shown, True
    found, changes = _comes_or_goes(frames, kept, beside, sharper)
    return shown, found or find_words(frames, inside, kept, lasting, changes)


def _standing(frames: np.ndarray | LongFrames, fps: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(darkest, brightest) (H, W) of overlapping windows, but for a few frames in each."""
    length = max(_STANDING_FRAMES, int(np.ceil(_STANDING_SECONDS * fps)))
    last = max(len(frames) - length, 0)
    for start in [*range(0, last, max(length // 2, 1)), last]:
        low, high = np.percentile(frames[start : start + length], [_SHARE, 100 - _SHARE], axis=0, method="nearest")
        yield low, high


def _comes_or_goes(
    frames: np.ndarray | LongFrames, kept: np.ndarray, beside: np.ndarray, sharper: float
) -> tuple[bool, np.ndarray]:
    """Whether a mark is there in some frames and not in those just before or after.

    And, (H, W) uint8, by how much at most anything came or went that had been so for `_LASTING` frames, and then stayed
    so for as many; the clip's ends count as neighbours. Where a mark was found it is not whole.
    """
    length = max(min(_LASTING, len(frames) // 2), 1)
    first, last = frames[:length], frames[-length:]
    changes = np.maximum(_rise(last.min(0), first.max(0)), _rise(first.min(0), last.max(0)))
    for length, contrast in ((length, sharper * contrast) for length, contrast in _CHANGES):
        for middle in range(length, len(frames) - length + 1):
            before, after = frames[middle - length : middle], frames[middle : middle + length]
            for there, gone in ((before, after), (after, before)):
                low = there.min(0)
                rise = _rise(low, gone.max(0))
                if length == _LASTING:
                    changes = np.maximum(changes, rise)
                if (rise >= contrast).sum() > _LEAST_STROKES // 4 and _is_mark(
                    rise, rise + (there.max(0) - low), kept, beside, contrast
                ):
                    return True, changes
    return False, changes


def _rise(there: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """By how much one is brighter; uint8."""
    return np.maximum(there, gone) - gone


def _is_mark(low: np.ndarray, high: np.ndarray, kept: np.ndarray, beside: np.ndarray, contrast: float) -> bool:
    """Whether (H, W) pixels, uint8, that vary from `low` to `high` hold a word over the mask, or a stroke that runs
    into it from beside."""
    while True:
        rise = low - _around(_around(low, np.minimum), np.maximum)
        # By no more than it stands out may a stroke flicker.
        strokes = (rise >= contrast) & (high - low <= rise)
        inside = strokes & kept
        if inside.sum() > _LEAST_STROKES:
            density = ndimage.uniform_filter(inside.astype(np.float32), _WORD, mode="constant") * _WORD[0] * _WORD[1]
            if density.max() > _LEAST_STROKES:
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


def _around(picture: np.ndarray, pick: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """The least or greatest of three by three pixels; many times faster than SciPy's filters."""
    padded = np.pad(picture, 1, mode="edge")
    rows = pick(pick(padded[:-2], padded[1:-1]), padded[2:])
    return pick(pick(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _halved(picture: np.ndarray) -> np.ndarray:
    """(H // 2, W // 2) means of two by two pixels."""
    even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].astype(np.float32)
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
