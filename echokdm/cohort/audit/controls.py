"""Near-copies that an audit plants itself, to know that it would find those of others."""

from dataclasses import replace

import numpy as np
import torch

from echokdm.cohort.audit.clips import Opened
from echokdm.core.seeding import derive_seed


def disguise(clip: Opened, number: int) -> Opened:
    """A near-copy: other gain and gamma, noise, moved by up to 2 px, begun elsewhere, frames left out, every second one
    mirrored.

    number: what is drawn follows from it alone.
    """
    rng = np.random.default_rng(derive_seed(number, 0xC0B7))
    count = len(clip.frames)
    order = (np.arange(count) + rng.integers(count)) % count
    if count > 8:
        order = np.delete(order, rng.choice(count, count // 8, replace=False))
    frames = clip.frames[order] ** float(rng.uniform(0.75, 1.35)) * float(rng.uniform(0.85, 1.15))
    frames = frames + torch.from_numpy(rng.normal(0, 0.02, frames.shape).astype(np.float32))
    frames = (frames * clip.sector).clamp(0, 1)
    dy, dx = (int(v) for v in rng.integers(-2, 3, 2))
    frames, sector = frames.roll((dy, dx), (2, 3)), clip.sector.roll((dy, dx), (0, 1))
    if number % 2:
        frames, sector = frames.flip(3), sector.flip(1)
    return replace(clip, frames=frames, sector=sector)
