"""Frames as the page's pictures."""

import io

import numpy as np

from echokdm.report.figures import png, sector_box, to_image

_QUALITY = 92  # of JPEG, at which speckle looks as it is; exports don't go by it


def sector_jpeg(frame: np.ndarray, mask: np.ndarray) -> bytes:
    """What lies around the sector (H, W) of a frame (C, H, W) in [0, 1], at its own size."""
    rows, columns = sector_box(mask)
    buffer = io.BytesIO()
    to_image(frame[:, rows, columns]).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return buffer.getvalue()


def m_mode_png(line: np.ndarray, white: float) -> bytes:
    """Brightness (L, N) along a line, `white` and above as white."""
    return png(to_image(line / max(white, 1e-6)))
