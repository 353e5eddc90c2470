"""Long frames: the same numbers as in memory, from a file that nobody else sees, and never all by accident."""

import tempfile

import numpy as np
import pytest
import torch

from echokdm.core import frames as module
from echokdm.core.errors import ClipError, OutputError
from echokdm.core.frames import Gathering, LongFrames, chosen, collect, each, from_levels, gather, parts, to_levels


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little stays in memory, and parts are of two frames."""
    monkeypatch.setattr(module, "IN_MEMORY", 100)
    monkeypatch.setattr(module, "_PART", 40)


@pytest.fixture
def arrays() -> np.ndarray:
    return np.random.default_rng(0).random((9, 4, 5)).astype(np.float32)


def test_what_is_short_stays_an_array(arrays: np.ndarray) -> None:
    assert isinstance(gather(arrays), np.ndarray) and np.array_equal(gather(arrays), arrays)
    assert isinstance(collect([torch.from_numpy(arrays)]), torch.Tensor)


@pytest.mark.usefixtures("few")
def test_what_is_long_is_read_again_as_it_was(arrays: np.ndarray) -> None:
    long = gather(iter(arrays))
    assert isinstance(long, LongFrames) and long.shape == arrays.shape and long.dtype == arrays.dtype and long.ndim == 3
    for index in (
        3,
        -1,
        slice(None),
        slice(1, 8, 3),
        slice(2, 2),
        [4, 0, 4],
        np.array([1, 2]),
        torch.tensor([5, 6]),
        np.arange(9) > 6,
    ):
        assert np.array_equal(long[index], arrays[np.asarray(index) if isinstance(index, torch.Tensor) else index])
    assert np.array_equal(np.stack(list(long)), arrays) and len(list(parts(long))) == 5
    assert np.array_equal(np.concatenate(list(long.split(4))), arrays)
    with pytest.raises(IndexError):
        long[9]


@pytest.mark.usefixtures("few")
def test_changes_wait_until_they_are_read(arrays: np.ndarray) -> None:
    read = []
    long = each(gather(arrays), lambda some: read.append(len(some)) or some.sum(2))
    assert long.shape == (9, 4) and read == [1]  # one, to see its form
    assert np.array_equal(long[2:5], arrays[2:5].sum(2)) and read == [1, 3]
    assert np.array_equal(each(arrays, lambda some: some + 1), arrays + 1)


@pytest.mark.usefixtures("few")
def test_frames_that_repeat_are_read_when_they_are_asked_for(arrays: np.ndarray) -> None:
    rows = np.array([8, 0, 0, 3, 8, 1, 2])
    assert isinstance(chosen(arrays, rows[:5]), np.ndarray) and isinstance(chosen(arrays, rows), LongFrames)
    for frames in (arrays, gather(arrays)):
        assert np.array_equal(chosen(frames, rows)[:], arrays[rows])


@pytest.mark.usefixtures("few")
def test_pictures_are_kept_in_the_levels_that_files_hold(arrays: np.ndarray) -> None:
    gathering = Gathering(to_levels, from_levels)
    for array in arrays:
        gathering.add(array)
    kept = gathering.result()
    assert kept.dtype == np.float32 and np.abs(kept[:] - arrays).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(to_levels(kept[:]), to_levels(arrays))


@pytest.mark.usefixtures("few")
def test_what_is_no_clip_is_refused(arrays: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for kinds in ([*arrays, arrays[0, :2]], [arrays[0], arrays[0, :2]], [arrays[0], arrays[1].astype(float)]):
        with pytest.raises(ValueError, match="several kinds"):
            gather(kinds)
    with pytest.raises(ValueError, match="no frames"):
        gather([])
    long = gather(arrays)
    monkeypatch.setattr(module, "AT_ONCE", 100)
    assert len(long[:5]) == 5
    with pytest.raises(ClipError, match="too long"):
        long[:]


@pytest.mark.usefixtures("few")
def test_a_full_disk_is_told(arrays: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b"))
    with pytest.raises(OutputError, match="TMPDIR"):
        gather(arrays)


@pytest.mark.usefixtures("few")
def test_nothing_is_seen_in_the_temporary_folder(arrays: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    long = gather(arrays)
    assert not list(tmp_path.iterdir()) and np.array_equal(long[:], arrays)
