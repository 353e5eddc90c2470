"""Small files that adapters read: pictures and videos of known colour, tracings of a known ellipse."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from echokdm.core.errors import DataError
from echokdm.data.adapters import find_adapter


def picture(path: Path, width: int = 16, height: int = 16, colour: object = (200, 30, 30)) -> Path:
    """A PNG or JPEG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def video(path: Path, frames: int = 4, width: int = 112, height: int = 112) -> Path:
    """An AVI, MP4 or GIF of gray frames, brighter from the top to the bottom, by its ending."""
    from echokdm.io.write import write_avi, write_gif, write_mp4

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.linspace(0.1, 0.9, height, dtype=np.float32)[:, None]
    array = np.tile(rows, (frames, 1, 1, width)).copy()
    array[:, :, :8, :8] += np.arange(frames, dtype=np.float32)[:, None, None, None] / 50  # no two frames alike
    if path.suffix == ".avi":
        write_avi(path, array, 25.0, size=None)
    elif path.suffix == ".gif":
        write_gif(path, array, 25.0)
    else:
        write_mp4(path, array, 25.0)
    return path


def ellipse_tracing(
    cx: float = 56, cy: float = 60, a: float = 15, b: float = 30
) -> list[tuple[float, float, float, float]]:
    """Axis, then 20 chords, of an ellipse with half-axes a (across) and b (along), apex up."""
    depth = -b + 2 * b * (np.arange(20) + 0.5) / 20
    half = a * np.sqrt(1 - (depth / b) ** 2)
    return [(cx, cy - b, cx, cy + b)] + [(cx - h, cy + d, cx + h, cy + d) for h, d in zip(half, depth, strict=True)]


def found_by(name: str, root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """(problems, sequences that are sound) of a folder that has problems."""
    with pytest.raises(DataError) as caught:
        find_adapter(name).index(root)
    assert str(root.parent) not in str(caught.value)
    return caught.value.problems, list(caught.value.usable["sequence"])


@pytest.fixture
def make() -> SimpleNamespace:
    """The makers of small files."""
    return SimpleNamespace(picture=picture, video=video, ellipse_tracing=ellipse_tracing, found_by=found_by)
