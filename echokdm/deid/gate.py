"""The one gate of everything that puts out a source's own pixels: its sector is searched for print first, or nothing is
claimed of it."""

import numpy as np
from scipy import ndimage

from echokdm.core.errors import PrintError
from echokdm.core.frames import gather, to_levels
from echokdm.core.types import Clip, luma
from echokdm.deid.marks import find_marks
from echokdm.deid.pixels import LEAST_FRAMES, MARGIN
from echokdm.io.sector import Sector

# In a sector narrower than this, in pixels, walls and specks are nearly as fine as print. A stroke then has to stand
# out by more contrast, with the root of the width.
_NARROW = 200


def search_print(clip: Clip, sector: Sector, allow_print: bool = False) -> bool:
    """Whether the clip's sector has been searched for print and holds none; only then may an output claim clean pixel
    data.

    All frames are searched, gray, at their own size. False: not searched, since fewer than `LEAST_FRAMES` frames don't
    tell print from tissue, or since print is allowed. Raises PrintError where there is print, SearchError where the
    search itself fails.
    """
    if allow_print or len(clip) < LEAST_FRAMES:
        return False
    mask = ndimage.binary_erosion(sector.mask, iterations=int(np.ceil(MARGIN * max(sector.step))))
    frames = gather(to_levels(luma(frame[None])[0, 0].numpy()) for frame in clip.frames)
    width = np.ptp(np.flatnonzero(sector.mask.any(0)))
    _, found = find_marks(frames, sector.mask, mask, clip.fps, max(float(_NARROW / width), 1.0) ** 0.5)
    if found:
        raise PrintError
    return True
