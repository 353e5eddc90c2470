"""Frames that are read when they are asked for, so that memory does not grow with a clip's length."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ClipError, OutputError

IN_MEMORY = 2**25
"""Values up to which frames stay in memory, as an array or a tensor: 109 gray frames of 640 x 480, 128 MiB as
float32."""
AT_ONCE = 3 * 2**28
"""Values of long frames that may be asked for at once: 3 GiB as float32, 100 coloured frames of 1920 x 1080."""

_PART = 2**22  # values of the parts that frames are worked through in, 13 frames of 640 x 480
_LASTING = "/var/tmp"  # where large temporary files belong (FHS 5.15); on many machines /tmp is memory


class LongFrames:
    """Frames (T, ...) too many for memory, of which some are read at a time. It is what `Clip.frames` is for a long
    clip.

    As of a tensor or an array: len, shape, dtype, ndim, iteration, and an index on the first axis, an int, a slice or
    several ints. `frames[:]` is all of them at once. read: gives the frames at indices (N,), as a tensor or as an
    array.
    Raises ClipError where more than `AT_ONCE` values are asked for.
    """

    def __init__(self, count: int, read: Callable[[np.ndarray], Any]) -> None:
        self._read = read
        first = read(np.zeros(1, int))
        self.shape, self.dtype, self.ndim = (count, *first.shape[1:]), first.dtype, first.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | range | list[int] | np.ndarray | Tensor) -> Any:
        rows = np.arange(len(self))[np.asarray(index) if isinstance(index, Tensor) else index]
        if rows.size * int(np.prod(self.shape[1:])) > AT_ONCE:
            raise ClipError(
                f"This clip is too long for what is asked of it, which takes all {len(self)} frames at once: cut it first."
            )
        return self._read(rows) if rows.ndim else self._read(rows[None])[0]

    def __iter__(self) -> Iterator[Any]:
        return (frame for part in parts(self) for frame in part)

    def split(self, count: int) -> Iterator[Any]:
        """Parts of `count` frames, the last perhaps of fewer."""
        return (self[start : start + count] for start in range(0, len(self), count))


Frames = Tensor | LongFrames
"""Of a clip: (T, C, H, W) float32 in [0, 1]."""


def parts(frames: Any) -> Iterator[Any]:
    """Frames (T, ...), long or not, in order, some at a time."""
    count = max(_PART // max(int(np.prod(frames.shape[1:])), 1), 1)
    return (frames[start : start + count] for start in range(0, len(frames), count))


def each(frames: Any, change: Callable[[Any], Any]) -> Any:
    """What `change` makes of frames (N, ...): of long ones when they are read, of others now. It must look at each
    frame by itself."""
    return (
        LongFrames(len(frames), lambda rows: change(frames[rows])) if isinstance(frames, LongFrames) else change(frames)
    )


def chosen(frames: Any, rows: np.ndarray) -> Any:
    """The frames at `rows` (N,), which may repeat; read when they are asked for where they are more than `IN_MEMORY`
    values."""
    if len(rows) * int(np.prod(frames.shape[1:])) <= IN_MEMORY:
        return frames[rows]
    return LongFrames(len(rows), lambda places: frames[rows[places]])


class Gathering:
    """Arrays of one shape and type as they come, in memory or, where they are more than `IN_MEMORY` values, in a file
    of their own.

    The file has no name and goes with the process, see `temporary_file`. pack: what is stored there of an array;
    unpack: what several become when they are read.
    """

    def __init__(
        self,
        pack: Callable[[np.ndarray], np.ndarray] | None = None,
        unpack: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._pack, self._unpack = pack, unpack
        self._memory: np.ndarray | None = None
        self._file: IO[bytes] | None = None
        self._count = 0

    def add(self, array: np.ndarray) -> None:
        """The next one. Raises OutputError where there is no room for it, ValueError where it is unlike the ones
        before."""
        if self._memory is None:
            # What is not written of it takes no memory; arrays kept one by one would leave gaps between what comes and
            # goes beside them.
            self._memory = np.empty((max(IN_MEMORY // max(array.size, 1), 1), *array.shape), array.dtype)
        if (array.shape, array.dtype) != (self._memory.shape[1:], self._memory.dtype):
            raise ValueError("Frames of several kinds.")
        if self._count < len(self._memory):
            self._memory[self._count] = array
        else:
            if self._file is None:
                self._file = temporary_file()
                for kept in self._memory:
                    self._store(kept)
                self._memory = self._memory[:0].copy()
            self._store(array)
        self._count += 1

    def _store(self, array: np.ndarray) -> None:
        assert self._file is not None  # `add` has opened it
        write(self._file, array if self._pack is None else self._pack(array))

    def result(self) -> np.ndarray | LongFrames:
        """All of them, (T, ...). Raises ValueError where there is none."""
        if self._memory is None:
            raise ValueError("There are no frames.")
        if self._file is None:
            self._memory.resize((self._count, *self._memory.shape[1:]), refcheck=False)
            return self._memory
        file, like = self._file, np.zeros(self._memory.shape[1:], self._memory.dtype)
        like = like if self._pack is None else self._pack(like)

        def read(rows: np.ndarray) -> np.ndarray:
            out = np.empty((len(rows), *like.shape), like.dtype)
            for target, row in zip(out, rows, strict=True):
                file.seek(int(row) * like.nbytes)
                file.readinto(target.data)  # type: ignore[attr-defined]
            return out

        stored = LongFrames(self._count, read)
        return stored if self._unpack is None else each(stored, self._unpack)


def gather(arrays: Iterable[np.ndarray]) -> np.ndarray | LongFrames:
    """Arrays of one shape and type -> (T, ...), kept as `Gathering` does."""
    gathering = Gathering()
    for array in arrays:
        gathering.add(array)
    return gathering.result()


def collect(several: Iterable[Tensor]) -> Frames:
    """Parts (N, ...) of frames as they come, on the CPU -> (T, ...), kept as `Gathering` does."""
    return each(gather(frame.numpy() for part in several for frame in part), torch.from_numpy)


def temporary_file() -> IO[bytes]:
    """A file without a name, which goes with the process, in the folder for large temporary files or, where it is set,
    in TMPDIR."""
    return tempfile.TemporaryFile(dir=None if "TMPDIR" in os.environ or not os.access(_LASTING, os.W_OK) else _LASTING)


def write(file: IO[bytes], array: np.ndarray) -> None:
    """Append an array's bytes to a temporary file. Raises OutputError where there is no room for them."""
    try:
        file.write(np.ascontiguousarray(array).data)
        file.flush()
    except OSError:
        raise OutputError(
            "The disk is full: there is no room for a clip of this length among the temporary files; free some space, or "
            "name a folder on another disk in TMPDIR."
        ) from None


def to_levels(picture: np.ndarray) -> np.ndarray:
    """Brightness in [0, 1] -> 0 to 255, uint8; rounded, clamped."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def from_levels(levels: np.ndarray) -> np.ndarray:
    """0 to 255 -> brightness in [0, 1], float32."""
    return levels.astype(np.float32) / np.float32(255)
