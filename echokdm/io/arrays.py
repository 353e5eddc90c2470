"""Read NIfTI and .npz clips."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from echokdm.core.errors import ClipError
from echokdm.io.raw import DAMAGED, RawFrames, check_size


def read_npz(path: Path, max_frames: int | None) -> RawFrames:
    """`frames` (T, H, W), (T, H, W, 3) or (T, C, H, W), uint8, uint16 or float in [0, 1]; `fps` and `spacing_mm` (2,) where there.

    Raises ClipError: not an .npz, no `frames`, objects in it, or too large. Nothing is unpickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if "frames.npy" not in archive.namelist():
                raise ClipError("This .npz holds no array named `frames`: save it with np.savez(..., frames=...).")
            with archive.open("frames.npy") as file:
                shape, dtype = _npy_header(file)
        layout = _layout(shape)
        _check_layout(shape, layout, dtype, max_frames)
        with np.load(path, allow_pickle=False) as arrays:
            frames = arrays["frames"]
            fps = float(arrays["fps"]) if "fps" in arrays else None
            spacing = tuple(float(v) for v in arrays["spacing_mm"]) if "spacing_mm" in arrays else None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        raise ClipError(DAMAGED) from None
    if layout == "TCHW":
        frames = np.moveaxis(frames, 1, -1)
        frames = frames[..., 0] if frames.shape[-1] == 1 else frames
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        fps = None
    if spacing is not None and (len(spacing) != 2 or not all(np.isfinite(s) and s > 0 for s in spacing)):
        spacing = None
    facts = {"fps_source": "file"} if fps else {}
    return RawFrames(_to_unit_range(frames[:max_frames]), fps, spacing, meta=facts)


def read_nifti(path: Path, max_frames: int | None) -> RawFrames:
    """NIfTI-1 or -2 with axes (x, y, t), (x, y, 1, t) or (x, y): frames are transposed to (t, y, x), the apex turned up.

    mm a pixel from the header; the frame rate from a fourth axis in s, ms or us, else unknown.

    Raises ClipError: damaged, more than one slice, or too large.
    """
    import nibabel

    try:
        image = nibabel.load(str(path), mmap=False) if path.suffix in (".nii", ".gz") else _from_bytes(path)
        shape = image.shape
        if len(shape) < 2 or len(shape) > 4 or (len(shape) == 4 and shape[2] != 1):
            raise ClipError("This NIfTI file is not a clip of one plane: its axes must be (x, y, time) or (x, y, 1, time).")
        declared = shape[-1] if len(shape) > 2 else 1
        check_size(min(declared, max_frames) if max_frames else declared, shape[1], shape[0])
        stored = np.asanyarray(image.dataobj)
        zooms = [float(z) for z in image.header.get_zooms()]
        space_unit, time_unit = image.header.get_xyzt_units()
    except (OSError, ValueError, EOFError, zlib.error, nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError):
        raise ClipError(DAMAGED) from None
    if stored.dtype.names:  # RGB voxels
        stored = np.stack([stored[name] for name in stored.dtype.names[:3]], -1)
        frames = stored.reshape(shape[0], shape[1], -1, 3).transpose(2, 1, 0, 3)
    else:
        frames = stored.reshape(shape[0], shape[1], -1).transpose(2, 1, 0)
    frames = np.ascontiguousarray(frames[:max_frames])
    flipped = _is_apex_down(frames)
    if flipped:
        frames = np.ascontiguousarray(frames[:, ::-1])
    in_mm = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}.get(space_unit, 1.0)
    spacing = (zooms[1] * in_mm, zooms[0] * in_mm)
    in_seconds = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(time_unit)
    step = zooms[3] * in_seconds if len(shape) == 4 and in_seconds else 0.0
    fps = 1 / step if 0.001 <= step <= 2 else None
    facts: dict[str, Any] = {"fps_source": "header"} if fps else {}
    if flipped:
        facts["flipped"] = "vertical"
    return RawFrames(_to_unit_range(frames), fps, spacing if all(0.01 <= s <= 10 for s in spacing) else None, meta=facts)


def _from_bytes(path: Path) -> Any:
    """nibabel goes by the suffix; a file that has another is handed over as bytes."""
    import gzip

    import nibabel

    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    is_first = 348 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    return (nibabel.Nifti1Image if is_first else nibabel.Nifti2Image).from_bytes(data)


def _is_apex_down(frames: np.ndarray) -> bool:
    """Whether the picture's upper third is much wider than its lower third: a fan that stands on its apex."""
    shown = frames.max(0)
    shown = shown.max(-1) if shown.ndim == 3 else shown
    rows = (shown > shown.max() * 0.02).sum(1)
    filled = np.flatnonzero(rows > 0)
    if len(filled) < 9:
        return False
    rows = rows[filled[0] : filled[-1] + 1]
    third = len(rows) // 3
    # A fan's lower third holds about twice its upper third; a rectangle's thirds are equal.
    return bool(rows[:third].sum() > 1.3 * rows[-third:].sum())


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "THW"
    if len(shape) == 4 and shape[3] == 3:
        return "THWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "TCHW"
    raise ClipError(f"`frames` of this .npz has shape {shape}: it must be (T, H, W), (T, H, W, 3) or (T, C, H, W).")


def _check_layout(shape: tuple[int, ...], layout: str, dtype: np.dtype, max_frames: int | None) -> None:
    if dtype.kind not in "uif":
        raise ClipError("`frames` of this .npz holds no numbers: save it as uint8, or as float32 in [0, 1].")
    rows, columns = (shape[2], shape[3]) if layout == "TCHW" else (shape[1], shape[2])
    # The whole array is unpacked even where fewer frames are asked for.
    check_size(shape[0], rows, columns)


def _to_unit_range(frames: np.ndarray) -> np.ndarray:
    """uint8 as it is; integers by their own range's next power of two; floats in [0, 1] as they are, else by their greatest."""
    if frames.dtype == np.uint8:
        return frames
    if not np.isfinite(frames).all():
        raise ClipError("This clip holds values that are not numbers: save it again as uint8, or as float32 in [0, 1].")
    values = np.maximum(frames.astype(np.float32), 0)
    top = float(values.max())
    if frames.dtype.kind in "ui":
        return values / np.float32(2.0 ** np.ceil(np.log2(max(top, 254.0) + 1)) - 1)
    if top <= 1:
        return values
    return values / np.float32(255.0 if top <= 255 else top)
