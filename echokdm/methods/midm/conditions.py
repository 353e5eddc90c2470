"""The condition I_X, made from a frame: its key-points drawn, its edges, or the picture that its data set has for
it."""

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.types import KeypointSchema, luma
from echokdm.methods.midm.config import Kind
from echokdm.ops.render import render_keypoints

LINE_WIDTH = 0.5  # px; half of what a line takes at full strength


def edge_images(frames: Tensor, sigma: float = 1.0) -> Tensor:
    """Canny edges (Canny 1986) of frames (B, 3, H, W) in [0, 1], white on black in three channels; as the paper's
    CelebA-HQ."""
    from skimage.feature import canny

    found = np.stack([canny(gray, sigma=sigma) for gray in luma(frames)[:, 0].cpu().numpy()])
    return torch.from_numpy(found).to(frames)[:, None].expand(-1, 3, -1, -1)


def keypoint_images(keypoints: Tensor, schema: KeypointSchema, size: int) -> Tensor:
    """Coloured lines (B, 3, size, size) in [0, 1] of key-points (B, N, 2) px, nan where not seen."""
    return render_keypoints(keypoints, schema, size, size, LINE_WIDTH)[:, :3]


def condition_images(
    kind: Kind, frames: Tensor, keypoints: Tensor | None, given: Tensor | None, schema: KeypointSchema | None
) -> Tensor:
    """Conditions (B, 3, H, W) in [0, 1] of frames (B, 3, H, W).

    keypoints (B, N, 2) px and their schema are needed for "keypoints", the data set's own pictures `given` (B, 3, H, W)
    for "data". Raises ConfigError where they are missing.
    """
    if kind == "edges":
        return edge_images(frames)
    if kind == "data":
        if given is None:
            raise ConfigError("This data set has no condition pictures; choose condition: keypoints or edges.")
        return given
    if keypoints is None or schema is None:
        raise ConfigError("This data set has no key-points; choose condition: edges or data.")
    return keypoint_images(keypoints, schema, frames.shape[-1])


def truth_and_exemplar(item: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(..., 3, S, S) each of an item or a batch: its frame 0, and the first frame of others or, where it has none, its
    frame 1."""
    frames = item["frames"]
    return frames[..., 0, :, :, :], (
        item["other_frames"][..., 0, :, :, :] if "other_frames" in item else frames[..., 1, :, :, :]
    )


def pair_images(batch: dict[str, Tensor], kind: Kind, schema: KeypointSchema | None) -> tuple[Tensor, Tensor, Tensor]:
    """Condition, exemplar and truth, (B, 3, S, S) each: the truth gives the condition."""
    truth, exemplar = truth_and_exemplar(batch)
    points, given = (batch[k][:, 0] if k in batch else None for k in ("keypoints", "conditions"))
    return condition_images(kind, truth, points, given, schema), exemplar, truth
