"""The frames that a trajectory asks for, at the source's own size: each source frame edited, or one frame alone moved."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.types import Clip
from echokdm.derive import Derived
from echokdm.io.frame import ModelClip, to_model_frame
from echokdm.ops.native import NativeFrame
from echokdm.wish import Trajectory

STILL_PX = 1e-3  # of the model's frame; key-points that move by less ask for nothing
FINEST_PX = 1.0  # sigma in the model's frame: what F2I redraws is coarser, and finer speckle is the source's own


@dataclass(frozen=True)
class Edited:
    """clip: (N, C, H, W) at the source's size, marked synthetic in its meta, black outside the sector. model: the same in the model's
    frame. flow: (N, 2, S, S) backward, px of that frame. warped: (N, 1, S, S), the source frames carried by it there.
    """

    clip: Clip
    model: ModelClip
    flow: Tensor
    warped: Tensor


def edit_clip(source: Derived, trajectory: Trajectory, pipeline: Any, *, from_frame: int | None = None, steps: int = defaults.STEPS,
              strength: float = defaults.STRENGTH, seed: int = defaults.SEED, without: str | None = None) -> Edited:
    """Make a trajectory's frames of the source's own pixels, carried by the flow from its own key-points to those asked for.

    Each frame is made from the source's of the same phase, `Trajectory.frames`, so that valves, atria, speckle and breathing stay the
    patient's own, and what is asked to stay as it is comes back as it was. from_frame: from that one frame instead, as KDM does (Oh et
    al.), and F2I-net redraws what the flow can't know; at the source's size it enters as a change of brightness no finer than
    `FINEST_PX`. steps, strength, without: of that one-frame mode, see KDMPipeline. seed: of K2F's and F2I's noise.
    """
    picks = trajectory.frames if from_frame is None else np.full(len(trajectory.frames), from_frame)
    model, size = source.model, source.model.clip.size
    moved = np.flatnonzero(np.abs(trajectory.keypoints - source.keypoints[picks]).max((1, 2)) > STILL_PX)
    flow, warped = torch.zeros(len(picks), 2, *size), model.clip.frames[torch.as_tensor(picks)].clone()
    change: Tensor | None = None
    rows = moved if from_frame is None else np.arange(len(picks))
    if len(rows):
        start = picks[rows] if from_frame is None else picks[:1]
        own = torch.as_tensor(source.keypoints[start], dtype=torch.float32)
        made = pipeline(model.clip.frames[torch.as_tensor(start)], own if from_frame is None else own[0],
                        torch.as_tensor(trajectory.keypoints[rows], dtype=torch.float32), sector=torch.as_tensor(model.sector_mask),
                        valve_opening=torch.as_tensor(trajectory.valve_opening[rows]), steps=steps, strength=strength, seed=seed,
                        without="f2i" if from_frame is None else without)
        flow[rows], warped[rows] = made.flow.cpu(), made.warped.cpu()
        if from_frame is not None and without != "f2i":
            change = _coarse(made.frames.cpu() - made.warped.cpu())
    native = NativeFrame(np.asarray(source.sector.mask), model.origin, model.step)
    frames = torch.empty(len(picks), *source.clip.frames.shape[1:])
    for n, pick in enumerate(picks):
        frames[n] = native.carry(source.clip.frames[pick], flow[n])
        if change is not None:
            frames[n] = native.add(frames[n], change[n])
    own_times = len(picks) == len(source.clip) and bool((trajectory.frames == np.arange(len(picks))).all())
    kept = ("region", "pixel_aspect", *(("frame_times_ms",) if own_times else ()))
    meta = {key: source.clip.meta[key] for key in kept if key in source.clip.meta} | {"synthetic": True}
    clip = Clip(frames, trajectory.fps, source.clip.spacing_mm, view=source.clip.view, meta=meta)
    return Edited(clip, to_model_frame(clip, source.sector, size[0]), flow, warped)


def _coarse(change: Tensor) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(change.numpy(), (0, 0, FINEST_PX, FINEST_PX)))
