"""How sure a frame's outline is: signs that go with its Dice, and the map from them to the probability that its Dice is
at least `GOOD`.

No sign asks for another look of the network: all come of the two views that `ops.segmentation.clip_probabilities`
averages. The map is a logistic one (Platt 1999), fitted by `benchmarks/confidence.py` on frames that the segmenter had
not seen, as they are and degraded as clinics' are, and kept with the bundle, since it holds for one segmenter alone.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from echokdm.core.errors import BundleError
from echokdm.core.frames import Frames

GOOD = 0.8  # Dice
# On 99 CAMUS patients, each half by the other's fit, one in 28 good frames lies below as they come, one in 8 degraded;
# 63 % of the bad.
FLAGGED_BELOW = 0.88
LIMIT = f"{100 * FLAGGED_BELOW:.0f} %"
AROUND_PX = 8.0  # at 112 px: the wall
SIGNS = ("doubt", "doubt around", "mirrored otherwise")
BIAS = "bias"


def frame_signs(masks: Tensor, probabilities: Frames, agreement: Tensor) -> dict[str, Tensor]:
    """What tells good outlines from bad ones, (T,) each, nan in a frame without a ventricle.

    masks (T, H, W) bool, probabilities (T, classes, H, W) and agreement (T,) of `ops.segmentation.segment_clip`. doubt:
    log of the mean entropy of the class probabilities inside the mask, as a share of the highest that there can be.
    doubt around: that entropy's mean up to `AROUND_PX` outside; where much of it is found there, doubt inside means
    less. mirrored otherwise: log of what the agreement lacks of 1.
    """
    highest = math.log(probabilities.shape[1])
    rows = np.full((len(masks), len(SIGNS)), np.nan)
    for t, (mask, likely) in enumerate(zip(masks.cpu().numpy(), probabilities, strict=True)):
        if mask.any():
            entropy = (-(likely * likely.clamp(min=1e-6).log()).sum(0) / highest).cpu().numpy()
            around = (ndimage.distance_transform_edt(~mask) <= AROUND_PX) & ~mask
            rows[t] = (
                math.log(max(entropy[mask].mean(), 1e-6)),
                entropy[around].mean(),
                math.log(max(1 - float(agreement[t]), 1e-4)),
            )
    return dict(zip(SIGNS, torch.from_numpy(rows).unbind(1), strict=True))


def flagged_frames(confidence: ArrayLike) -> list[int]:
    """The frames, of confidence (T,), whose outline is to be looked at."""
    return np.flatnonzero(np.asarray(confidence) < FLAGGED_BELOW).tolist()


def told(confidence: ArrayLike) -> str:
    """One sentence on a clip's outlines. confidence: (T,) of its frames."""
    sure, flagged = np.asarray(confidence, float), flagged_frames(confidence)
    share = f"confidence of the clip {100 * sure.mean():.0f} %"
    if not flagged:
        return f"The outline is trusted in every frame: {share}, and of no frame below {LIMIT}."
    return f"Look at the outline: in {len(flagged)} of {len(sure)} frames it may be off ({_runs('frame', flagged)}), {share}."


def told_of_clips(confidences: Mapping[int, float]) -> str:
    """One sentence on the outlines of several clips. confidences: of each, by its number, the mean over its frames; ""
    of none."""
    if not confidences:
        return ""
    low = sorted(number for number, sure in confidences.items() if sure < FLAGGED_BELOW)
    if not low:
        return f"The outlines of all {len(confidences)} clips are trusted: their confidence is {LIMIT} or more."
    return (
        f"Look at the outlines of {len(low)} of {len(confidences)} clips, whose confidence is below {LIMIT} "
        f"({_runs('clip', low)})."
    )


def _runs(what: str, numbers: list[int]) -> str:
    """Rising numbers as "frame 3" or "frames 3-5, 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
    return f"{what}{'s' * (len(numbers) > 1)} {words}"


class Calibration:
    """The map of one segmenter. weights: a weight for each sign it looks at, and "bias".

    Raises BundleError where they are not numbers by the names of `frame_signs`.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        if set(weights) != {*SIGNS, BIAS} or not all(
            isinstance(w, int | float) and math.isfinite(w) for w in weights.values()
        ):
            raise BundleError(
                "What the bundle says of its confidence is not a number for each sign; fit it anew, or remove it."
            )
        self.weights = dict(weights)

    def __call__(self, signs: Mapping[str, Tensor]) -> Tensor:
        """Confidence (T,) in [0, 1] of `frame_signs`; 0 where there is no ventricle."""
        logit = (
            sum((weight * signs[name] for name, weight in self.weights.items() if name != BIAS), torch.zeros(()))
            + self.weights[BIAS]
        )
        return torch.sigmoid(logit).nan_to_num(0.0)
