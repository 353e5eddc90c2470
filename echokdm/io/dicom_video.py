"""DICOM whose pixels are one video stream (PS3.5 8.2.5 to 8.2.8 and A.4.5 to A.4.12), read through PyAV."""

import io
from typing import TYPE_CHECKING

import numpy as np

from echokdm.core.errors import ClipError
from echokdm.core.frames import LongFrames
from echokdm.io.raw import DAMAGED
from echokdm.io.video import decode, has_decoder

if TYPE_CHECKING:
    from pydicom import Dataset

_PREFIX = "1.2.840.10008.1.2.4."
_CODECS = {
    ("mpeg2video", "MPEG-2"): ("100", "100.1", "101", "101.1"),
    ("h264", "MPEG-4 AVC/H.264"): tuple(f"{number}{end}" for number in range(102, 107) for end in ("", ".1")),
    ("hevc", "HEVC/H.265"): ("107", "108"),
}

VIDEO: dict[str, tuple[str, str]] = {_PREFIX + end: codec for codec, ends in _CODECS.items() for end in ends}
"""Transfer syntax (".1": in fragments) -> (FFmpeg's name of the codec, its own)."""

# What such a stream may come in: an MPEG transport or programme stream, MP4, or nothing.
_CONTAINERS = "mpegts,mpeg,mpegvideo,h264,hevc,mov,mp4,m4a,3gp,3g2,mj2"


def decode_video(dataset: "Dataset", count: int) -> np.ndarray | LongFrames:
    """The first `count` frames, (T, H, W) or (T, H, W, 3) uint8. Raises ClipError: no decoder, by name, or another size
    than declared."""
    from pydicom.encaps import generate_fragments, parse_basic_offsets

    codec, name = VIDEO[dataset.file_meta.TransferSyntaxUID]
    if not has_decoder(codec):
        raise ClipError(
            f"This DICOM file is {name} video, which has no decoder here: export the clip as JPEG or uncompressed."
        )
    pixels = io.BytesIO(dataset.PixelData)
    parse_basic_offsets(pixels)
    stream = b"".join(generate_fragments(pixels))
    size = int(dataset.Rows), int(dataset.Columns)
    frames = decode(io.BytesIO(stream), count, _CONTAINERS, size).frames
    if len(frames) < count:
        raise ClipError(DAMAGED)
    return frames
