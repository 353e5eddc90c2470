"""Read one PNG or JPEG image, or a folder of them as a clip."""

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from echokdm.core.errors import ClipError, one_sentence
from echokdm.io.raw import DAMAGED, RawFrames, check_size

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")


def open_picture(file: Path | IO[bytes]) -> "Image":
    """A PNG or JPEG by its content, not decoded yet. Pillow's other formats are never tried: one of them starts
    Ghostscript.

    Raises what Pillow does where it is neither.
    """
    from PIL import Image

    return Image.open(file, formats=_FORMATS)


def read_images(path: Path, max_frames: int | None) -> RawFrames:
    """One image, or a folder's images in natural order (frame2 before frame10). 16-bit PNG keeps its depth.

    Raises ClipError: no image in the folder, sizes differ, damaged, or too large.
    """
    files = sorted(_images_in(path), key=_natural_key)[:max_frames] if path.is_dir() else [path]
    if not files:
        raise ClipError("This folder holds no PNG or JPEG frames: give a folder of frames, or the clip's file.")
    frames: list[np.ndarray] = []
    size = None
    with one_sentence(DAMAGED):
        for file in files:
            with open_picture(file) as image:
                if size is None:
                    check_size(len(files), image.height, image.width)
                array = _to_array(_upright(image))
                size = array.shape[:2] if size is None else size
                if array.shape[:2] != size:
                    raise ClipError("The frames of this folder differ in size: give frames of one clip.")
                frames.append(array)
    if len({(f.ndim, f.dtype) for f in frames}) > 1:
        raise ClipError("The frames of this folder differ in colour or depth: give frames of one clip.")
    return RawFrames(np.stack(frames))


def _images_in(folder: Path) -> list[Path]:
    return [
        f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file() and not f.name.startswith(".")
    ]


def _natural_key(file: Path) -> list[tuple[int, int, str]]:
    """Digits compare as numbers, the rest as text."""
    parts = re.findall(r"\d+|\D+", file.stem)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts] + [(2, 0, file.name)]


def _upright(image: "Image") -> "Image":
    """As a camera held it: turned and mirrored as its Exif orientation says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _to_array(image: "Image") -> np.ndarray:
    mode = image.mode
    if mode.startswith("I"):
        return np.asarray(image, dtype=np.float32) / 65535
    return np.asarray(image.convert("L" if mode in ("1", "L", "LA") else "RGB"))
