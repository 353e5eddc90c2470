"""Arrays in numpy's own files, each looked at by its header before it is unpacked."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from echokdm.core.errors import ClipError, EchoKDMError, one_sentence
from echokdm.core.files import check_plain
from echokdm.io.raw import DAMAGED, MAX_BYTES, RawFrames, check_size, sane_rate, sane_spacing
from echokdm.io.values import to_unit_range

_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes; others may ask for any amount of memory
_ENCRYPTED = 0x1  # APPNOTE.TXT of the ZIP format, 4.4.4


def read_npz(path: Path, max_frames: int | None) -> RawFrames:
    """`frames` (T, H, W), (T, H, W, 3) or (T, C, H, W), uint8, uint16 or float in [0, 1]; `fps` and `spacing_mm` (2,)
    where there.

    Raises ClipError: not an .npz, no `frames`, objects in it, side arrays of another form, packed in another way, or
    too large. Nothing is unpickled.
    """
    with one_sentence(DAMAGED), zipfile.ZipFile(path) as archive:
        if "frames.npy" not in archive.namelist():
            raise ClipError("This .npz holds no array named `frames`: save it with np.savez(..., frames=...).")
        shape, dtype = _header(archive, "frames")
        layout = _layout(shape)
        _check_layout(shape, layout, dtype)
        rate = _numbers(archive, "fps", (), "one number")
        spacing = _numbers(archive, "spacing_mm", (2,), "two numbers, (row, column)")
        with archive.open("frames.npy") as file:
            frames = np.lib.format.read_array(file, allow_pickle=False)
    if layout == "TCHW":
        frames = np.moveaxis(frames, 1, -1)
        frames = frames[..., 0] if frames.shape[-1] == 1 else frames
    fps = None if rate is None else sane_rate(float(rate))
    spacing_mm = None if spacing is None else sane_spacing((float(spacing[0]), float(spacing[1])))
    return RawFrames(to_unit_range(frames[:max_frames]), fps, spacing_mm, meta={"fps_source": "file"} if fps else {})


def read_npy(path: Path, sentence: str, kind: type[EchoKDMError]) -> np.ndarray:
    """The array of real numbers in an .npy file. Raises `kind(sentence)` where it is none, or larger than a clip may
    be."""
    with one_sentence(sentence, kind), check_plain(path, kind).open("rb") as file:
        shape, dtype = _npy_header(file)
        if dtype.kind not in "uif" or int(np.prod(shape, dtype=object)) * dtype.itemsize > MAX_BYTES:
            raise kind(sentence)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    member = archive.getinfo(f"{name}.npy")
    if member.flag_bits & _ENCRYPTED:
        raise ClipError("This .npz is encrypted: save it without a password.")
    if member.compress_type not in _UNPACKED:
        raise ClipError("This .npz is not packed as numpy packs it: save it with np.savez_compressed.")
    with archive.open(member) as file:
        return _npy_header(file)


def _numbers(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], what: str) -> np.ndarray | None:
    """An array beside the frames as float64, None where there is none. Raises ClipError where it has another form."""
    if f"{name}.npy" not in archive.namelist():
        return None
    found, dtype = _header(archive, name)
    if found != shape or dtype.kind not in "uif":
        raise ClipError(f"`{name}` of this .npz must be {what}, not of the shape {found} and the type {dtype.kind!r}.")
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
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
    raise ClipError(f"`frames` of this .npz has the shape {shape}: it must be (T, H, W), (T, H, W, 3) or (T, C, H, W).")


def _check_layout(shape: tuple[int, ...], layout: str, dtype: np.dtype) -> None:
    if dtype.kind not in "uif":
        raise ClipError("`frames` of this .npz holds no numbers: save it as uint8, or as float32 in [0, 1].")
    rows, columns, channels = {"THW": (*shape[1:], 1), "THWC": shape[1:], "TCHW": (*shape[2:], shape[1])}[layout]
    # The whole array is unpacked even where fewer frames are asked for.
    check_size(shape[0], rows, columns, channels * dtype.itemsize)
