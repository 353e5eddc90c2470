"""Tinted B-mode or colour Doppler: a tint gives each brightness one colour of one hue, flow has colours beside it."""

import numpy as np

_BINS = 32
# Colours that differ by more than this (in their greatest channel) from the tint's, or from their own least channel,
# are flow's. In pydicom's echo and the echotracker clip, in 11 tints, plain and through JPEG at quality 60, one pixel
# in a thousand is farther from the tint's curve; of red, blue and turquoise patches laid over gray or tinted B-mode,
# four fifths.
_STRONG = 60 / 255
_DARK = 40 / 255  # below, compression's chroma says nothing of a hue
# Distance of chromaticities (shares of red, green and blue): matplotlib's copper, pink and YlOrBr_r stay within .07 of
# one hue that fades to white; turquoise lies .2 from a blue tint, red .5 from gray.
_OTHER_HUE = 0.15


def strays(pixels: np.ndarray) -> np.ndarray:
    """(N,) bool: which pixels (N, 3), RGB in [0, 1], are strongly coloured and far from the colour that the tint gives
    their brightness.

    The tint is a curve in colour space: its point at each brightness (luma, ITU-R BT.601) is the median colour of the
    pixels that are so bright, and gray where that is of another hue, or more saturated, than where the picture is dark.
    """
    greatest, least = pixels.max(1), pixels.min(1)
    strong = (greatest - least > _STRONG) & (greatest - least > 0.6 * greatest)
    if not strong.any():
        return strong
    luma = pixels @ np.array([0.299, 0.587, 0.114], pixels.dtype)
    # As many pixels a bin, so that each median is of many; straight lines between them.
    parts = [part for part in np.array_split(np.argsort(luma, kind="stable"), _BINS) if len(part)]
    at = np.array([np.median(luma[part]) for part in parts])
    curve = _of_one_hue(np.stack([np.median(pixels[part], axis=0) for part in parts]), at)
    off = np.stack([np.abs(pixels[strong, c] - np.interp(luma[strong], at, curve[:, c])) for c in range(3)]).max(0)
    strong[strong] = off > _STRONG
    return strong


def _of_one_hue(curve: np.ndarray, at: np.ndarray) -> np.ndarray:
    """A curve (K, 3) from dark to bright, with gray of its brightness `at` where it leaves the line from its darker
    half's hue to white."""
    bright = curve.max(1) > _DARK
    if not bright.any():
        return curve
    hue = curve[bright] / curve[bright].sum(1, keepdims=True) - 1 / 3
    own = np.median(hue[: (len(hue) + 1) // 2], axis=0)
    faded = np.clip(hue @ own / max(float(own @ own), 1e-9), 0, 1)[:, None] * own
    kept = curve.copy()
    other = np.flatnonzero(bright)[np.linalg.norm(hue - faded, axis=1) > _OTHER_HUE]
    kept[other] = at[other, None]
    return kept
