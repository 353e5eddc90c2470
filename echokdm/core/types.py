"""What everything passes around: clips, key-point schemas, and sequences of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from echokdm.core.errors import ClipError, GeometryError
from echokdm.core.frames import Frames, each


def luma(images: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) -> (B, 1, H, W): the brightness of red, green and blue (ITU-R BT.601); gray stays gray."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


@dataclass(frozen=True)
class Clip:
    """A video.

    frames: (T, C, H, W) float32 in [0, 1], C = 1 or 3; of a long clip read when they are asked for, see
    `core.frames.LongFrames`, and `frames[:]` is a tensor of all.
    fps: frames per second. spacing_mm: (row, column) mm a pixel, or None where unknown.
    subject: a salted hash, never a name. view: for instance "A4C".
    meta: whitelisted facts only, such as {"fps_assumed": True}; never patient data or paths.
    """

    frames: Frames
    fps: float
    spacing_mm: tuple[float, float] | None = None
    subject: str = ""
    view: str = "A4C"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        f = self.frames
        if f.ndim != 4 or f.shape[1] not in (1, 3) or f.dtype != torch.float32:
            raise ClipError(
                f"A clip needs float32 frames of shape (T, C, H, W) with C 1 or 3, not {tuple(f.shape)} {f.dtype}."
            )
        if not self.fps > 0:
            raise ClipError(f"A clip needs a positive frame rate, not {self.fps}.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.frames.shape[2], self.frames.shape[3]

    @property
    def gray(self) -> Frames:
        """(T, 1, H, W) luma; the frames themselves where they are gray already."""
        return self.frames if self.frames.shape[1] == 1 else each(self.frames, luma)

    def with_frames(self, frames: Frames, **changes: Any) -> "Clip":
        """The same clip with other frames, and other fields where named."""
        return replace(self, frames=frames, **changes)


@dataclass(frozen=True)
class KeypointSchema:
    """What N key-points mean: names, the lines that join them, their colours, left-right pairs.

    edges: index pairs. colours: one RGB in [0, 1] an edge. closed: the points, in order, bound one region. plane: of a
    closed schema, the edge that joins its ends across a plane, so that only points between them tell how the plane
    moves. valves: of a heart, whose valves open and shut, which F2I-net is told, since one outline is met with either.
    openings: of what hides its inside while it is shut, as an eye or a mouth, the points of the upper edge from corner
    to corner, and of the lower edge back. carrier: points that carry more than any point marks, as a face its hair.
    """

    name: str
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    colours: tuple[tuple[float, float, float], ...]
    pairs: tuple[tuple[int, int], ...] = ()
    closed: bool = False
    plane: int | None = None
    valves: bool = False
    openings: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    carrier: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def swap(self, points: Tensor) -> Tensor:
        """Key-points (..., N, 2) with the left-right pairs exchanged."""
        order = list(range(len(self)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return points[..., order, :]

    def mirror(self, points: Tensor, width: int) -> Tensor:
        """Key-points (..., N, 2) px as they lie in the picture, `width` px wide, mirrored left-right: each is named as
        before."""
        x, y = self.swap(points).unbind(-1)
        return torch.stack([width - 1 - x, y], -1)


@dataclass(frozen=True)
class Sequence:
    """What an adapter reads of a data set: frames, and what is known of them.

    frames: (T, C, H, W) float32 in [0, 1], C = 1 or 3. keypoints: (T, N, 2) float32, (x, y) in pixels, N as in
    `schema`, or None where the data set has none. visible: (T, N) bool, False where a key-point is not known; its place
    is then (0, 0). labels: the data set's own facts, such as "EF" in percent, "fps", "spacing_mm" (row, column);
    "condition" is a picture (T, C', H, W) float32 in [0, 1] that belongs to the frames, such as edges or classes;
    "tissue" (T, H, W) uint8 are an expert's labels. Never patient data or paths.

    Raises ClipError for frames and GeometryError for key-points that are not so.
    """

    frames: Tensor
    keypoints: Tensor | None = None
    visible: Tensor | None = None
    schema: KeypointSchema | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        f, k, v = self.frames, self.keypoints, self.visible
        if f.ndim != 4 or f.shape[1] not in (1, 3) or f.dtype != torch.float32 or not f.numel():
            raise ClipError(
                f"A sequence needs float32 frames of shape (T, C, H, W) with C 1 or 3, not {tuple(f.shape)} {f.dtype}."
            )
        if (k is None) != (v is None) or (k is None) != (self.schema is None):
            raise GeometryError("A sequence has key-points, their visibility and a schema, or none of them.")
        if k is not None and v is not None and self.schema is not None:
            shape = (len(f), len(self.schema))
            if k.shape != (*shape, 2) or v.shape != shape or k.dtype != torch.float32 or v.dtype != torch.bool:
                raise GeometryError(
                    f"{self.schema.name} on {len(f)} frames needs float32 key-points {(*shape, 2)} and bool {shape}, "
                    f"not {tuple(k.shape)} {k.dtype} and {tuple(v.shape)} {v.dtype}."
                )
            if not torch.isfinite(k).all():
                raise GeometryError("A sequence has key-points that are not finite.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.frames.shape[2], self.frames.shape[3]


def _bloodpool_40() -> KeypointSchema:
    """Points 0-19: first ends of chords 1-20, apex to base; 20-39: second ends, base to apex, so the order is a
    polygon."""
    names = tuple(f"a{i}" for i in range(20)) + tuple(f"b{i}" for i in reversed(range(20)))
    edges = tuple((i, (i + 1) % 40) for i in range(40))

    def colour(i: int) -> tuple[float, float, float]:
        depth = (i if i < 20 else 39 - i) / 19  # 0 at the apex, 1 at the base
        return (1.0 if i < 20 else 0.0, depth, 1.0 - depth)

    return KeypointSchema(
        "a4c-bloodpool-40",
        names,
        edges,
        tuple(colour(i) for i in range(40)),
        tuple((i, 39 - i) for i in range(20)),
        closed=True,
        plane=19,
        valves=True,
    )


A4C_BLOODPOOL_40 = _bloodpool_40()
