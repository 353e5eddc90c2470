"""Whether a clip shows an apical four-chamber view: is there a ventricle of plausible shape, place and motion?"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from echokdm.core.errors import EchoKDMError
from echokdm.core.types import Clip

LOOKED_AT = 16  # frames, evenly spread

# Of a left ventricle in this view, wide enough for every phantom's and both real clips': a doubt is settled by a
# person.
_LENGTH_OVER_WIDTH = (1.1, 3.6)
_AREA = (0.02, 0.4)  # share of the sector
_MOST_TILT = 60.0  # degrees between the long axis and the probe's
_EJECTION = (5.0, 90.0)  # percent

Verdict = Literal["kept", "doubtful", "refused"]


@dataclass(frozen=True)
class View:
    """reason: why it is not kept, else "". frame (H, W) and keypoints (40, 2): the first frame looked at, in the
    model's frame."""

    verdict: Verdict
    reason: str
    frame: np.ndarray | None = None
    keypoints: np.ndarray | None = None


def judge_view(clip: Clip, pipeline: Any) -> View:
    """Look for the left ventricle in some frames of a masked clip. Nothing found, or no sector: refused; found but odd:
    doubtful."""
    from echokdm.echo.derive import derive_keypoints
    from echokdm.io import require_motion

    picks = np.unique(np.linspace(0, len(clip) - 1, min(len(clip), LOOKED_AT)).round().astype(int))
    few = replace(clip.with_frames(clip.frames[picks]), fps=max(clip.fps * len(picks) / len(clip), 1e-3))
    try:
        require_motion(few)
        # Some frames don't tell print from tissue: who writes pixels has searched all of them.
        derived = derive_keypoints(few, any_view=True, allow_print=True, bundle=pipeline)
    except EchoKDMError as error:
        return View("refused", str(error))
    frame, points = derived.model.clip.frames[0][0].numpy(), derived.keypoints[0]
    reason = derived.doubt or _doubt(derived)
    return View("doubtful" if reason else "kept", reason, frame, points)


def _doubt(derived: Any) -> str:
    from echokdm.ops.ventricle import axis_from_keypoints, keypoints_to_mask

    points = derived.keypoints
    axes = np.stack([np.stack(axis_from_keypoints(p)) for p in points])  # (T, 2, 2): apex, mid-base
    along = axes[:, 1] - axes[:, 0]
    lengths = np.hypot(*along.T)
    widths = np.linalg.norm(points[:, :20] - points[:, :19:-1], axis=2).max(1)
    ratio = float(np.median(lengths / widths))
    tilt = float(np.degrees(np.arctan2(np.abs(np.median(along[:, 0])), np.median(along[:, 1]))))
    mask = derived.model.sector_mask
    area = float(np.mean([keypoints_to_mask(p, *mask.shape).sum() for p in points]) / mask.sum())
    ejection = derived.ejection_fraction
    if tilt > _MOST_TILT:
        return "the long axis of what was found does not lead away from the probe"
    if not _LENGTH_OVER_WIDTH[0] <= ratio <= _LENGTH_OVER_WIDTH[1]:
        return f"what was found is {ratio:.1f} times as long as wide"
    if not _AREA[0] <= area <= _AREA[1]:
        return f"what was found fills {100 * area:.0f} % of the sector"
    if not _EJECTION[0] <= ejection <= _EJECTION[1]:
        return f"the volume of what was found changes by {ejection:.0f} %"
    return ""
