"""Read any clip by its content: `read_clip`."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from echokdm.core.errors import ClipError
from echokdm.core.frames import Frames, LongFrames, each
from echokdm.core.types import Clip
from echokdm.io.raw import RawFrames, is_coloured
from echokdm.io.sniff import sniff

ASSUMED_FPS = 30.0


def read_clip(path: str | Path, max_frames: int | None = None, *, salt: str | None = None) -> Clip:
    """Read a clip: DICOM, AVI, MP4, MOV, GIF, NIfTI, .npz, one image, or a folder of PNG or JPEG frames.

    path: what to read; its content decides, not its name. max_frames: read only that many, from the first.
    salt: a secret of the user's. With it, `subject` is the same for all DICOM clips of one patient; without it,
    `subject` comes from the first frame's pixels alone, so that it says nothing of the patient.

    Returns a Clip whose frames keep their size and, where the picture is coloured, their colour; `fps` falls back to
    30 with `meta["fps_assumed"]` True; `spacing_mm` is (row, column) in mm a pixel where the file says so.
    The frames of a long clip are `core.frames.LongFrames`, which are read when they are asked for, few at a time; else
    a tensor. meta holds only: format, fps_assumed, fps_source, irregular_timing, frame_times_ms (DICOM's Frame Time
    Vector), region, colour_region, pixel_aspect, flipped.
    A single frame is read too; `require_motion` refuses it.

    Raises ClipError: not a clip, damaged, empty, or more than `raw.MAX_PIXELS` pixels in all; OutputError where a long
    clip finds no room among the temporary files.
    """
    if max_frames is not None and max_frames < 1:
        raise ClipError(f"A clip needs at least one frame to read, not max_frames = {max_frames}.")
    path = Path(path)
    kind = sniff(path)
    raw = _READERS[kind](path, max_frames)
    frames = _brightness(raw.frames)
    meta = {"format": kind, "fps_assumed": raw.fps is None, **raw.meta}
    subject = _subject(raw, salt)
    return Clip(frames, raw.fps or ASSUMED_FPS, raw.spacing_mm, subject, meta=meta)


def _brightness(frames: np.ndarray | LongFrames) -> Frames:
    """(T, H, W) or (T, H, W, 3) -> (T, C, H, W) float32 in [0, 1]; a gray picture stored as RGB becomes one channel."""
    full = 255.0 if frames.dtype == np.uint8 else 1.0
    gray = frames.ndim == 4 and not any(is_coloured(frame, full) for frame in frames)
    return each(frames, partial(_to_tensor, full=full, gray=gray))


def _to_tensor(frames: np.ndarray, full: float, gray: bool) -> torch.Tensor:
    """As `_brightness`. full: what is white. gray: whether (T, H, W, 3) become one channel."""
    if gray:
        # Luma rather than one channel: compression spreads a gray picture's noise over all three.
        luma = np.empty(frames.shape[:3], np.float32)
        for target, frame in zip(luma, frames, strict=True):
            np.clip(
                (
                    frame[..., 0] * np.float32(0.299)
                    + frame[..., 1] * np.float32(0.587)
                    + frame[..., 2] * np.float32(0.114)
                )
                / full,
                0,
                1,
                out=target,
            )
        return torch.from_numpy(luma).unsqueeze(1)
    tensor = torch.from_numpy(np.ascontiguousarray(frames))
    tensor = tensor.permute(0, 3, 1, 2) if frames.ndim == 4 else tensor.unsqueeze(1)
    return tensor.contiguous().float().div_(full).clamp_(0, 1)


def _subject(raw: RawFrames, salt: str | None) -> str:
    """16 hexadecimal digits: keyed hash of the patient where a salt is given, else of the first frame's pixels."""
    if salt and raw.patient:
        return hashlib.blake2b(raw.patient.encode(), key=salt.encode()[:64], digest_size=8).hexdigest()
    return hashlib.blake2b(
        np.ascontiguousarray(raw.frames[0]).tobytes(), person=b"echokdm-subject", digest_size=8
    ).hexdigest()


def _read_dicom(path: Path, max_frames: int | None) -> RawFrames:
    from echokdm.io.dicom import read_dicom

    return read_dicom(path, max_frames)


def _read_video(path: Path, max_frames: int | None) -> RawFrames:
    from echokdm.io.video import read_video

    return read_video(path, max_frames)


def _read_nifti(path: Path, max_frames: int | None) -> RawFrames:
    from echokdm.io.nifti import read_nifti

    return read_nifti(path, max_frames)


def _read_npz(path: Path, max_frames: int | None) -> RawFrames:
    from echokdm.io.npz import read_npz

    return read_npz(path, max_frames)


def _read_images(path: Path, max_frames: int | None) -> RawFrames:
    from echokdm.io.images import read_images

    return read_images(path, max_frames)


_READERS = {
    "dicom": _read_dicom,
    "video": _read_video,
    "gif": _read_video,
    "nifti": _read_nifti,
    "npz": _read_npz,
    "image": _read_images,
    "folder": _read_images,
}
