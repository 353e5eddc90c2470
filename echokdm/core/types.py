"""The two things everything passes around: clips and key-point schemas."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from echokdm.core.errors import ClipError


@dataclass(frozen=True)
class Clip:
    """A video.

    frames: (T, C, H, W) float32 in [0, 1], C = 1 or 3.
    fps: frames per second. spacing_mm: (row, column) mm a pixel, or None where unknown.
    subject: a salted hash, never a name. view: for instance "A4C".
    meta: whitelisted facts only, such as {"fps_assumed": True}; never patient data or paths.
    """

    frames: Tensor
    fps: float
    spacing_mm: tuple[float, float] | None = None
    subject: str = ""
    view: str = "A4C"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        f = self.frames
        if f.ndim != 4 or f.shape[1] not in (1, 3) or f.dtype != torch.float32:
            raise ClipError(f"A clip needs float32 frames of shape (T, C, H, W) with C 1 or 3, not {tuple(f.shape)} {f.dtype}.")
        if not self.fps > 0:
            raise ClipError(f"A clip needs a positive frame rate, not {self.fps}.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.frames.shape[2], self.frames.shape[3]

    @property
    def gray(self) -> Tensor:
        """(T, 1, H, W) luma; the frames themselves where they are gray already."""
        if self.frames.shape[1] == 1:
            return self.frames
        weights = self.frames.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return (self.frames * weights).sum(1, keepdim=True)

    def with_frames(self, frames: Tensor, **changes: Any) -> "Clip":
        """The same clip with other frames, and other fields where named."""
        return replace(self, frames=frames, **changes)


@dataclass(frozen=True)
class KeypointSchema:
    """What N key-points mean: names, the lines that join them, their colours, left-right pairs.

    edges: index pairs. colours: one RGB in [0, 1] an edge. closed: the points, in order, bound one region.
    """

    name: str
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    colours: tuple[tuple[float, float, float], ...]
    pairs: tuple[tuple[int, int], ...] = ()
    closed: bool = False

    def __len__(self) -> int:
        return len(self.names)


def _bloodpool_40() -> KeypointSchema:
    """Points 0-19: first ends of chords 1-20, apex to base; 20-39: second ends, base to apex, so the order is a polygon."""
    names = tuple(f"a{i}" for i in range(20)) + tuple(f"b{i}" for i in reversed(range(20)))
    edges = tuple((i, (i + 1) % 40) for i in range(40))

    def colour(i: int) -> tuple[float, float, float]:
        depth = (i if i < 20 else 39 - i) / 19  # 0 at the apex, 1 at the base
        return (1.0 if i < 20 else 0.0, depth, 1.0 - depth)

    return KeypointSchema("a4c-bloodpool-40", names, edges, tuple(colour(i) for i in range(40)),
                          tuple((i, 39 - i) for i in range(20)), closed=True)


A4C_BLOODPOOL_40 = _bloodpool_40()
