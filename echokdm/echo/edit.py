"""The frames that a trajectory asks for, at the source's own size: each source frame edited, or one frame alone
moved."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from echokdm.core.frames import Frames, Gathering, each, from_levels, to_levels
from echokdm.core.types import Clip
from echokdm.echo.bundle import Mover, Share, quiet
from echokdm.echo.derive import Derived
from echokdm.echo.plan import Trajectory
from echokdm.echo.wish import Sampling
from echokdm.io.frame import ModelClip, resize_like, to_model_frame
from echokdm.methods.kdm.drawing import Drawing

STILL_PX = 1e-3  # of the model's frame; key-points that move by less ask for nothing
FINEST_PX = 1.0  # sigma in the model's frame: what F2I redraws is coarser, and finer speckle is the source's own
AT_A_TIME = 8  # frames asked of the pipeline, a whole chunk of it, so that no number of them can change a byte


@dataclass(frozen=True)
class Edited:
    """clip: (N, C, H, W) at the source's size, marked synthetic in its meta, black outside the sector; the frames of a
    long one are rounded to the 256 levels that files hold. model: the same in the model's frame, not rounded. flow: (N,
    2, S, S) backward, px of that frame. warped: (N, 1, S, S), the source frames carried by it there.
    """

    clip: Clip
    model: ModelClip
    flow: Frames
    warped: Frames


def edit_clip(
    source: Derived, trajectory: Trajectory, pipeline: Mover, sampling: Sampling = Sampling(), made: Share = quiet
) -> Edited:
    """Make a trajectory's frames of the source's own pixels, carried by the flow from its own key-points to those asked
    for.

    Each frame is made from the source's of the same phase, `Trajectory.frames`, so that valves, atria, speckle and
    breathing stay the patient's own, and what is asked to stay as it is comes back as it was. With
    `sampling.from_frame` all are made from that one frame instead, as KDM does (Oh et al.), and F2I-net redraws what
    the flow can't know; at the source's size it enters as a change of brightness no finer than `FINEST_PX`. made: told
    the share of frames that there are, after each; what it raises ends the work.
    """
    from_frame = sampling.from_frame
    picks = trajectory.frames if from_frame is None else np.full(len(trajectory.frames), from_frame)
    model = source.model
    drawing = sampling.drawing() if from_frame is not None else replace(sampling.drawing(), without="f2i")
    gatherings = Gathering(to_levels, from_levels), Gathering(), Gathering(), Gathering()
    moves = _moves(source, trajectory, picks, pipeline, from_frame is not None, drawing)
    for number, (pick, (flow, warped, change)) in enumerate(zip(picks, moves, strict=True), 1):
        frame = source.native.carry(source.clip.frames[pick], flow)
        if change is not None:
            frame = source.native.add(frame, change)
        resized = resize_like(model, frame[None], source.sector)[0]
        for gathering, part in zip(gatherings, (frame, resized, flow, warped), strict=True):
            gathering.add(part.numpy())
        made(number / len(picks))
    frames, model_frames, flows, warped = (each(gathering.result(), torch.from_numpy) for gathering in gatherings)
    own_times = len(picks) == len(source.clip) and bool((trajectory.frames == np.arange(len(picks))).all())
    kept = ("region", "pixel_aspect", *(("frame_times_ms",) if own_times else ()))
    meta = {key: source.clip.meta[key] for key in kept if key in source.clip.meta} | {"synthetic": True}
    clip = Clip(frames, trajectory.fps, source.clip.spacing_mm, view=source.clip.view, meta=meta)
    return Edited(clip, to_model_frame(clip, source.sector, model.clip.size[0], model_frames), flows, warped)


def _moves(
    source: Derived, trajectory: Trajectory, picks: np.ndarray, pipeline: Mover, one: bool, drawing: Drawing
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Of each frame in turn: flow (2, S, S), the source frame `picks` (N,) carried by it (1, S, S), and what F2I redrew
    (1, S, S) or None.

    one: all are made of one source frame.
    """
    frames, size = source.model.clip.frames, source.model.clip.size
    moved = np.abs(trajectory.keypoints - source.keypoints[picks]).max((1, 2)) > STILL_PX
    made = _made(
        source, trajectory, picks, np.arange(len(picks)) if one else np.flatnonzero(moved), pipeline, one, drawing
    )
    for pick, asked in zip(picks, moved, strict=True):
        yield next(made) if one or asked else (torch.zeros(2, *size), frames[pick], None)


def _made(
    source: Derived,
    trajectory: Trajectory,
    picks: np.ndarray,
    rows: np.ndarray,
    pipeline: Mover,
    one: bool,
    drawing: Drawing,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """As `_moves`, of the frames at `rows` alone: what the pipeline makes of them."""
    frames, sector = source.model.clip.frames, torch.as_tensor(source.model.sector_mask)
    for first in range(0, len(rows), AT_A_TIME):
        some = rows[first : first + AT_A_TIME]
        start = picks[:1] if one else picks[some]
        own = torch.as_tensor(source.keypoints[start], dtype=torch.float32)
        made = pipeline(
            frames[torch.as_tensor(start)],
            own[0] if one else own,
            torch.as_tensor(trajectory.keypoints[some], dtype=torch.float32),
            sector=sector,
            drawing=drawing,
            valve_opening=torch.as_tensor(trajectory.valve_opening[some]),
        )
        flow, warped = made.flow.cpu(), made.warped.cpu()
        redrawn = one and drawing.without != "f2i"
        change = _coarse(made.frames.cpu() - warped) if redrawn else [None] * len(some)
        yield from zip(flow, warped, change, strict=True)


def _coarse(change: Tensor) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(change.numpy(), (0, 0, FINEST_PX, FINEST_PX)))
