"""Read AVI, MP4, MOV, MKV and GIF through PyAV."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echokdm.core.errors import ClipError, one_sentence
from echokdm.core.frames import gather
from echokdm.io.raw import DAMAGED, RawFrames, check_size, is_coloured, sane_aspect, sane_rate

if TYPE_CHECKING:
    from av import VideoFrame


# Demuxers and protocols that PyAV may choose from: a playlist, or a name such as concat:a|b, would have it open other
# files or the network.
_CONTAINERS = "avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif"
_PROTOCOLS = "file"


def read_video(path: Path, max_frames: int | None) -> RawFrames:
    """Decode the first video stream, gray where no frame has colour. fps from the stream's rate, for GIF from the
    frames' times.

    Raises ClipError: no video in it, no decoder, damaged, or too large.
    """
    with one_sentence(DAMAGED):
        return decode(path, max_frames, _CONTAINERS)


def has_decoder(codec: str) -> bool:
    """Whether PyAV decodes the codec of that name of FFmpeg's."""
    import av

    try:
        av.codec.Codec(codec, "r")
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def decode(
    source: Path | BytesIO, max_frames: int | None, containers: str, size: tuple[int, int] | None = None
) -> RawFrames:
    """The first video stream of a file or of bytes. containers: FFmpeg's names of the demuxers it may be. size: (H, W)
    that it must have.

    Raises ClipError, and what PyAV does where it is damaged.
    """
    # Gray is decoded several times faster; the first coloured frame calls for a second pass.
    try:
        return _decode(source, max_frames, containers, size, "gray")
    except _Coloured:
        return _decode(source, max_frames, containers, size, "rgb24")


class _Coloured(Exception):
    """A frame has colour, and "gray" was asked for."""


def _decode(
    source: Path | BytesIO, max_frames: int | None, containers: str, size: tuple[int, int] | None, pixels: str
) -> RawFrames:
    """The frames in PyAV's format `pixels`. Raises _Coloured."""
    import av

    times: list[float] = []
    meta: dict[str, Any] = {}
    if isinstance(source, BytesIO):
        source.seek(0)
    opened = source if isinstance(source, BytesIO) else str(source.resolve())  # a whole path is no protocol
    with av.open(opened, "r", options={"format_whitelist": containers, "protocol_whitelist": _PROTOCOLS}) as container:
        if not container.streams.video:
            raise ClipError("This file holds no video: give the clip itself.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ClipError("This video's compression has no decoder here: convert it to H.264 or Motion JPEG.")
        if size is not None and (stream.height, stream.width) != size:
            raise ClipError(DAMAGED)
        stream.thread_type = "AUTO"
        declared = stream.frames or 1
        check_size(min(declared, max_frames) if max_frames else declared, stream.height, stream.width)
        is_gif = container.format.name == "gif"
        rate = None if is_gif or not stream.average_rate else float(stream.average_rate)
        if stream.sample_aspect_ratio and stream.sample_aspect_ratio != 1:
            # Sample aspect is width : height of a pixel; ours is row spacing / column spacing.
            if aspect := sane_aspect(1 / float(stream.sample_aspect_ratio)):
                meta["pixel_aspect"] = aspect
        frames = gather(_pictures(container.decode(stream), max_frames, 0 if is_gif else stream.frames, pixels, times))
    if rate is None and len(times) == len(frames) > 1 and times[-1] > times[0]:
        rate = (len(times) - 1) / (times[-1] - times[0])
    # One frame has no rate, and a rate beyond any scanner's is a missing one.
    if rate is None or len(frames) == 1 or not sane_rate(rate):
        return RawFrames(frames, meta=meta)
    return RawFrames(frames, rate, meta={"fps_source": "container", **meta})


def _pictures(
    decoded: "Iterator[VideoFrame]", most: int | None, declared: int, pixels: str, times: list[float]
) -> Iterator[np.ndarray]:
    """Up to `most` frames as arrays; their times, s, are appended to `times`. declared: how many there are, 0 where it
    is not known."""
    count = 0
    for frame in decoded:
        count += 1
        check_size(count, frame.height, frame.width)
        if pixels == "gray" and _has_colour(frame):
            raise _Coloured
        if frame.time is not None:
            times.append(float(frame.time))
        yield frame.to_ndarray(format=pixels)
        if count == most:
            return
    # A file cut short still opens: its header declares more frames than come out (one or two may be a coder's delay).
    if declared and count < declared - 2:
        raise ClipError(DAMAGED)


def _has_colour(frame: "VideoFrame") -> bool:
    """Looked at a quarter of the size, which keeps any coloured area and costs a sixteenth."""
    if frame.format.name.startswith("gray"):
        return False
    small = frame.reformat(width=max(frame.width // 4, 16), height=max(frame.height // 4, 16), format="rgb24")
    return is_coloured(small.to_ndarray(), 255)
