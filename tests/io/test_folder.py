"""Every command finds the same clips of a folder, in sub-folders too, by their content, and what `echokdm` wrote is no
source."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echokdm.cohort.audit.clips import list_clips
from echokdm.core.errors import ClipError, DataError
from echokdm.core.folders import candidates
from echokdm.data.adapters import find_adapter
from echokdm.io.folder import clip_files


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, frames=np.zeros((2, 8, 8), np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, one of them frames, below a folder that holds much else."""
    clip(tmp_path / "b.npz")
    clip(tmp_path / "a" / "deep" / "one.npz")
    for name in ("frames/0.png", "frames/1.jpg", "a/single.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    for name in ("notes.txt", "a/report.pdf"):
        (tmp_path / name).write_text("no clip")
    for made, records in (
        ("keypoints-1", ("keypoints.csv", "measures.json")),
        ("synth-1", ("keypoints.csv", "run.json")),
        ("c-keypoints", ("keypoints.csv", "volumes.csv")),
        ("generate-1", ("generated.mp4", "run.json")),
        ("cohort", ("manifest.csv", "run.json")),
        ("begun", ("cohort-parts/run.json",)),
    ):
        clip(tmp_path / made / "Videos" / "made.npz")
        for name in records:
            (tmp_path / made / name).parent.mkdir(exist_ok=True)
            (tmp_path / made / name).write_text("x")
    clip(tmp_path / ".hidden" / "c.npz")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    return tmp_path


FOUND = ["a/deep/one.npz", "b.npz", "frames"]


def test_clips_are_found_at_any_depth(folder: Path) -> None:
    assert [str(path.relative_to(folder)) for path in clip_files(folder)] == FOUND
    assert [str(item.path.relative_to(folder)) for item in list_clips(folder, "real")] == FOUND
    index = find_adapter("clips").index(folder)
    assert [str(Path(path).relative_to(folder)) for path in index["path"] if not path.endswith("single.png")] == FOUND


def test_one_clip_is_itself(folder: Path) -> None:
    assert clip_files(folder / "b.npz") == [folder / "b.npz"] and clip_files(folder / "frames") == [folder / "frames"]


def test_a_text_called_a_clip_is_none(folder: Path) -> None:
    (folder / "a" / "fake.dcm").write_text("no clip")
    assert folder / "a" / "fake.dcm" in list(candidates(folder)) and folder / "a" / "fake.dcm" not in clip_files(folder)


def test_the_sentence_is_the_command_s(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^The folder of x does not exist; do y.$"):
        clip_files(tmp_path / "none", "The folder of x", "do y", DataError)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="^The folder of clips holds no clip, nor does a folder in it"):
        clip_files(tmp_path / "empty")
