"""Optical flow files: Middlebury `.flo` and KITTI 16-bit PNG. Both hold (dx, dy) in px, as the package does."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ClipError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.naming import called

_FLO_MAGIC = 202021.25  # "PIEH" as a little-endian float
_UNKNOWN = 1e9  # a larger component means: flow unknown here (Middlebury)


def read_flo(path: str | Path) -> tuple[Tensor, Tensor]:
    """Middlebury `.flo` -> flow (1, 2, H, W) float32 px, 0 where unknown, and the mask (1, 1, H, W) bool of what is
    known.

    Raises ClipError when the file is not a whole `.flo`.
    """
    path = check_plain(path)
    data = path.read_bytes()
    if len(data) < 12 or struct.unpack_from("<f", data)[0] != _FLO_MAGIC:
        raise ClipError(
            f"{called('The flow file', path)} is not a Middlebury .flo file: its first four bytes are not PIEH."
        )
    width, height = struct.unpack_from("<ii", data, 4)
    if width < 1 or height < 1 or len(data) != 12 + 8 * width * height:
        raise ClipError(
            f"{called('The flow file', path)} is cut short or damaged: its size does not fit {width} x {height} flow vectors."
        )
    values = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2)
    known = np.isfinite(values).all(-1) & (np.abs(values) < _UNKNOWN).all(-1)
    flow = np.where(known[..., None], values, 0).astype(np.float32)
    return torch.from_numpy(flow).permute(2, 0, 1)[None].contiguous(), torch.from_numpy(known)[None, None]


def write_flo(path: str | Path, flow: Tensor, known: Tensor | None = None) -> None:
    """Write flow (1, 2, H, W) px as Middlebury `.flo`; where `known` (1, 1, H, W) is false, the format's mark for
    unknown."""
    values = flow[0].permute(1, 2, 0).contiguous().cpu().numpy().astype("<f4")
    if known is not None:
        values[~known[0, 0].cpu().numpy().astype(bool)] = 1.666666752e9
    height, width = values.shape[:2]
    Path(path).write_bytes(struct.pack("<fii", _FLO_MAGIC, width, height) + values.tobytes())


def read_kitti_png(path: str | Path) -> tuple[Tensor, Tensor]:
    """KITTI flow PNG (16-bit RGB: dx, dy as 64 v + 2^15, validity) -> flow (1, 2, H, W) px and mask (1, 1, H, W) bool.

    Raises ClipError when the file is not a 16-bit RGB PNG.
    """
    import av

    path = check_plain(path)
    fault = f"{called('The flow file', path)} is not a KITTI flow file: a PNG with three channels of 16 bits is needed."
    with one_sentence(fault):
        decoder = av.CodecContext.create("png", "r")
        frames = decoder.decode(av.Packet(path.read_bytes())) or decoder.decode(None)
    if not frames or frames[0].format.name not in ("rgb48be", "rgb48le"):
        raise ClipError(fault)
    values = torch.from_numpy(frames[0].to_ndarray().astype(np.float32)).permute(2, 0, 1)[None]
    known = values[:, 2:] > 0
    return (values[:, :2] - 2**15) / 64 * known, known


def write_kitti_png(path: str | Path, flow: Tensor, known: Tensor | None = None) -> None:
    """Write flow (1, 2, H, W) px as KITTI PNG: steps of 1/64 px within +-512 px (clipped); invalid where `known` is
    false."""
    import av

    height, width = flow.shape[2:]
    values = np.zeros((height, width, 3), np.uint16)
    valid = np.ones((height, width), bool) if known is None else known[0, 0].cpu().numpy().astype(bool)
    coded = (flow[0].permute(1, 2, 0).double().cpu().numpy() * 64 + 2**15).round().clip(0, 2**16 - 1)
    values[..., :2] = np.where(valid[..., None], coded, 0)
    values[..., 2] = valid
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "rgb48be", Fraction(1)
    frame = av.VideoFrame.from_ndarray(values, format="rgb48le").reformat(format="rgb48be")
    Path(path).write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
