"""What was made of a square of a picture, at the picture's own size: its own pixels carried by the enlarged flow."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from echokdm.core.frames import Frames, collect
from echokdm.core.types import luma
from echokdm.data.frames import Square
from echokdm.methods.base import Carried
from echokdm.ops.native import NativeFrame
from echokdm.ops.resample import doubled


def carry_photo(picture: Tensor, square: Square, carried: Carried) -> Frames:
    """Frames (T, 3, H, W) in [0, 1] of a picture (3, H, W), of which a model saw a square; what lies outside that stays
    as it is."""
    size = carried.drawn.shape[-1]
    step = 1 / square.ratio[0], 1 / square.ratio[1]
    left, top = (square.corner[i] - square.offset[i] * step[i] for i in range(2))
    rows, columns = (
        slice(max(0, round(low)), min(round(low + size * each), most))
        for low, each, most in zip((top, left), step[::-1], picture.shape[1:], strict=True)
    )
    part = picture[:, rows, columns]
    whole = np.ones(part.shape[1:], bool)
    origin = left - 0.5 - columns.start, top - 0.5 - rows.start
    share = size / carried.flow.shape[-1]
    own = NativeFrame(whole, origin, step)
    fine = NativeFrame(whole, origin, (step[0] * share, step[1] * share))

    finest = doubled(part)
    gray = bool((part == part[:1]).all())

    def made() -> Iterator[Tensor]:
        for flow, hidden, drawn in zip(carried.flow, carried.hidden, carried.drawn, strict=True):
            moved = fine.carry(part, flow, finest)
            if bool(hidden.any()):
                redrawn = fine.enlarge(hidden, "bilinear")
                own_colours = luma(drawn[None])[0].expand_as(drawn) if gray else drawn
                moved = moved + redrawn * (own.enlarge(own_colours).clamp(0, 1) - moved)
            frame = picture.clone()
            frame[:, rows, columns] = moved
            yield frame[None]

    return collect(made())
