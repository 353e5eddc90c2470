"""Videos as other programs write them, in any codec and container."""

from fractions import Fraction

import av
import numpy as np


def write_video(file, frames, codec, pixels="yuv420p", fps=25, container=None, **options):
    """Frames (T, H, W) or (T, H, W, 3) uint8, in a file of that name or one that is open."""
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = pixels, {k: str(v) for k, v in options.items()}
        for frame in frames:
            rgb = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, -1)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))
        out.mux(stream.encode())
