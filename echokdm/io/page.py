"""A picture on a white or gray page: the page is made black, as a scanner's screen is around its sector."""

import numpy as np
from scipy import ndimage

# A scanner's screen is black up to here; a page is brighter.
_BLACK = 24 / 255
# Of the picture's border that is page. A fan cut off by the picture's own border covers less than half of it.
_LEAST_BORDER = 0.5
# JPEG at quality 80 moves a flat page by less than the first; beside letters and the fan's edge it rings up to the
# second.
_FLAT, _RINGING = 12 / 255, 40 / 255


def without_page(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) in [0, 1] with what is joined to the picture's border by one bright gray level, in all frames, made
    black.

    A pixel more goes with it: on the page's edge pixels are mixed of both. Frames on black come back as they are.
    """
    border = np.concatenate([frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]], 1)
    level = float(np.median(border))
    if level < _BLACK or (np.abs(border - level) < _FLAT).mean() < _LEAST_BORDER:
        return frames
    away = np.abs(frames - np.float32(level)).max(0)
    labels, _ = ndimage.label(away < _FLAT)
    at_border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    page = np.isin(labels, at_border[at_border > 0])
    page = ndimage.binary_dilation(page, np.ones((3, 3)), mask=away < _RINGING)
    return np.where(ndimage.binary_dilation(page, np.ones((3, 3))), np.float32(0), frames)
