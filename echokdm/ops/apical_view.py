"""Is it an apical four-chamber view: is a right heart beside the left one, and does that lead away from the probe?"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ViewError
from echokdm.core.frames import Frames, parts
from echokdm.core.labels import Label

LIMITS: Mapping[str, float] = {
    # Least. Of 200 frames of ordinary four-chamber views (CAMUS) the least is .21, the 1st percentile .30. A segmenter
    # that only ever saw four chambers puts a right heart into most two-chamber views too; one that doesn't can be held
    # to more.
    "right": 0.2,
    # Most, degrees. On the same, of two frames a clip, at most 30; in a parasternal view the ventricle lies across.
    "tilt": 60.0,
}
"""Of `view_figures`, what a four-chamber view keeps to."""


def view_figures(masks: Tensor, probabilities: Frames) -> dict[str, float]:
    """The figures that `LIMITS` names, each a median over the frames with a ventricle.

    masks (T, H, W) bool: the left ventricle. probabilities (T, classes, H, W), classes in the order of the segmenter's
    `CLASSES`. right: area called right ventricle or right atrium, over the left ventricle's; infinite where the
    segmenter knows neither. tilt: of the ventricle's longer axis from straight down, degrees.
    """
    areas = []
    for part in parts(probabilities):
        labels = part.argmax(1)
        right_heart = (labels == Label.RV) | (labels == Label.RA)
        areas.append(torch.stack([right_heart.sum((1, 2)), (labels == Label.LV).sum((1, 2))]).cpu().numpy())
    right, left = np.concatenate(areas, 1)
    seen = [t for t, mask in enumerate(masks.cpu().numpy()) if mask.sum() >= 10]
    tilts = [_tilt(masks[t].cpu().numpy()) for t in seen]
    known = probabilities.shape[1] > Label.RA
    return {
        "right": float(np.median(right[seen] / np.maximum(left[seen], 1))) if known and seen else np.inf,
        "tilt": float(np.median(tilts)) if seen else 0.0,
    }


def check_view(figures: Mapping[str, float]) -> None:
    """Raise ViewError, which says what is wrong, unless `view_figures` are those of an apical four-chamber view."""
    if figures["tilt"] > LIMITS["tilt"]:
        raise ViewError("The left ventricle lies across the probe's direction, as in a parasternal view.")
    if figures["right"] < LIMITS["right"]:
        raise ViewError(
            "No right heart is seen beside the left ventricle, as in a two-chamber, long-axis or parasternal view."
        )


def _tilt(ventricle: np.ndarray) -> float:
    """Of the longer axis of a mask (H, W) from the image's columns, degrees, 0 to 90."""
    y, x = np.nonzero(ventricle)
    axis = np.linalg.eigh(np.cov(np.stack([x, y])))[1][:, 1]
    return float(np.degrees(np.arctan2(abs(axis[0]), abs(axis[1]))))
