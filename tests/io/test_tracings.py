"""Tracings in EchoNet's form and masks from NIfTI."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from echokdm.core.errors import GeometryError
from echokdm.io.tracings import read_masks, read_tracings, write_tracings
from echokdm.io.write import write_nifti

HEADER = "FileName,X1,Y1,X2,Y2,Frame\n"


def tracing(rows: int = 21, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 112, (rows, 4))


def test_round_trip_in_the_exact_form(tmp_path: Path) -> None:
    tracings = {"0XABC": {46: tracing(), 61: tracing(22, 1)}, "0XDEF": {0: tracing(2, 2)}}
    write_tracings(tmp_path / "VolumeTracings.csv", tracings)
    lines = (tmp_path / "VolumeTracings.csv").read_text().splitlines()
    assert lines[0] == "FileName,X1,Y1,X2,Y2,Frame" and len(lines) == 1 + 21 + 22 + 2
    assert lines[1].startswith("0XABC.avi,") and lines[1].endswith(",46")
    back = read_tracings(tmp_path / "VolumeTracings.csv")
    assert {name: list(frames) for name, frames in back.items()} == {"0XABC": [46, 61], "0XDEF": [0]}
    for name, frames in tracings.items():
        for frame, rows in frames.items():
            np.testing.assert_allclose(back[name][frame], rows, atol=1e-6)


def test_reads_files_from_elsewhere(tmp_path: Path) -> None:
    """Another column order, a byte-order mark, Windows line ends, spaces, frames interleaved and written as 7.0."""
    rows = [
        "Frame, FileName,X1,Y1,X2,Y2,Note",
        "7.0,a.AVI,1,2,3,4,axis",
        "2,a.avi,0,0,9,9,",
        "7,a.avi,5,6,7,8,",
        "2,a.avi,1,1,2,2,",
        "",
    ]
    (tmp_path / "t.csv").write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    back = read_tracings(tmp_path / "t.csv")
    assert list(back) == ["a"] and list(back["a"]) == [2, 7]
    assert back["a"][7].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the column FileName"),
        (HEADER, "holds no tracing"),
        ("FileName,X,Y,Frame\na.avi,1,2,3\n", "polygon"),
        ("FileName,X1,Y1,X2,Y2\na.avi,1,2,3,4\n", "lacks the column Frame"),
        (HEADER + "a.avi,1,2,3,4,0\na.avi,1,two,3,4,0\n", "line 3: Y1 is not a number"),
        (HEADER + "a.avi,1,2,3,4\n", "line 2: Frame is not a number"),
        (HEADER + "a.avi,1,nan,3,4,0\n", "Y1 is not finite"),
        (HEADER + "a.avi,1,2,3,4,-1\n", "whole number"),
        (HEADER + "a.avi,1,2,3,4,1.5\n", "whole number"),
        (HEADER + ",1,2,3,4,0\n", "FileName is empty"),
        (HEADER + "a.avi,1,2,3,4,0\n", "no chord"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(GeometryError, match=says) as caught:
        read_tracings(tmp_path / "t.csv")
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


def test_not_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(bytes(range(256)))
    with pytest.raises(GeometryError, match="no readable text file"):
        read_tracings(tmp_path / "t.csv")
    with pytest.raises(GeometryError, match="does not exist"):
        read_tracings(tmp_path / "none.csv")


@pytest.mark.parametrize("rows", [np.zeros((1, 4)), np.zeros((3, 3)), np.full((3, 4), np.nan)])
def test_bad_rows_are_not_written(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(GeometryError):
        write_tracings(tmp_path / "t.csv", {"a": {0: rows}})
    assert not list(tmp_path.iterdir())


def test_masks_read_back_as_written(tmp_path: Path) -> None:
    labels = np.zeros((3, 5, 7), np.uint8)
    labels[1, 1:3, 2:6] = 1
    labels[2, 0, 0] = 2
    write_nifti(tmp_path / "m.nii.gz", labels, fps=30)
    np.testing.assert_array_equal(read_masks(tmp_path / "m.nii.gz", size=(5, 7)), labels == 1)
    np.testing.assert_array_equal(read_masks(tmp_path / "m.nii.gz", label=2), labels == 2)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 4), (7, 5, 1, 4)])
def test_mask_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "m.nii")
    assert read_masks(tmp_path / "m.nii").shape == ((4 if len(shape) > 2 else 1), 5, 7)


def test_mask_faults_are_named(tmp_path: Path) -> None:
    write_nifti(tmp_path / "m.nii", np.ones((1, 5, 7), bool))
    with pytest.raises(GeometryError, match="7 x 5 pixels, the clip 5 x 7"):
        read_masks(tmp_path / "m.nii", size=(7, 5))
    with pytest.raises(GeometryError, match="label 3"):
        read_masks(tmp_path / "m.nii", label=3)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 2, 2), np.uint8), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(GeometryError, match="axes"):
        read_masks(tmp_path / "v.nii")
    (tmp_path / "x.nii").write_bytes(b"not NIfTI")
    with pytest.raises(GeometryError, match="no.*readable NIfTI"):
        read_masks(tmp_path / "x.nii")
    with pytest.raises(GeometryError, match="does not exist"):
        read_masks(tmp_path / "none.nii")
