"""What an image codec loses."""

from collections.abc import Mapping

import numpy as np
import torch
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor

from echokdm.metrics.image import Distance, image_scores
from echokdm.networks.codec import decode, encode


@torch.no_grad()
def round_trip(codec: VQModel, frames: Tensor, sector: Tensor, quantize: bool = True, batch_size: int = 8) -> Tensor:
    """Frames (T, 1, H, W) in [0, 1] encoded and decoded -> (T, 1, H, W); sector (H, W) bool, black outside it."""
    made = [(decode(codec, encode(codec, part * 2 - 1), quantize) + 1) / 2 for part in frames.split(batch_size)]
    return (torch.cat(made) * sector).clamp(0, 1)


def codec_scores(
    codec: VQModel, frames: Tensor, sector: Tensor, distances: Mapping[str, Distance], quantize: bool = True
) -> dict[str, np.ndarray]:
    """`image_scores` of the round trip against the frames (T, 1, H, W), inside the sector (H, W) bool."""
    made = round_trip(codec, frames, sector, quantize)
    return image_scores(made, frames, sector.expand(len(frames), 1, -1, -1), distances)
