"""Outputs appear whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from echokdm.core.errors import OutputError
from echokdm.io.atomic import atomic_file, atomic_folder


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_file_appears_at_the_end_with_its_suffix(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "new" / "a.nii.gz") as temporary:
        temporary.write_text("whole")
        assert temporary.name.endswith(".nii.gz")
        assert not (tmp_path / "new" / "a.nii.gz").exists()
    assert names(tmp_path) == ["new", "new/a.nii.gz"]
    assert (tmp_path / "new" / "a.nii.gz").read_text() == "whole"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, SystemExit])
def test_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path: Path, fault: type[BaseException]) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(fault), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise fault
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_interrupted_folder_leaves_nothing_not_even_parents(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "x" / "y", "synth") as temporary:
        (temporary / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_existing_output_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="--overwrite"), atomic_folder(tmp_path / "out", "synth"):
        pytest.fail("the block must not run")
    (tmp_path / "f").write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), atomic_file(tmp_path / "f", overwrite=False):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="is a file"), atomic_folder(tmp_path / "f", "synth", overwrite=True):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="is a folder"), atomic_file(tmp_path / "out"):
        pytest.fail("the block must not run")


def test_overwrite_replaces_namesakes_and_keeps_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "frames").mkdir(parents=True)
    (out / "frames" / "stale.png").write_text("old")
    (out / "run.json").write_text("old")
    (out / "notes.txt").write_text("mine")
    with atomic_folder(out, "synth", overwrite=True) as temporary:
        (temporary / "frames").mkdir()
        (temporary / "frames" / "0.png").write_text("new")
        (temporary / "run.json").write_text("new")
    assert names(tmp_path) == ["out", "out/frames", "out/frames/0.png", "out/notes.txt", "out/run.json"]
    assert (out / "run.json").read_text() == "new" and (out / "notes.txt").read_text() == "mine"


def test_overwrite_that_fails_keeps_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(out, "synth", overwrite=True) as temporary:
        (temporary / "run.json").write_text("new")
        raise ZeroDivisionError
    assert names(tmp_path) == ["out", "out/run.json"] and (out / "run.json").read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_sentence(tmp_path: Path, number: int) -> None:
    with pytest.raises(OutputError, match="disk is full"), atomic_folder(tmp_path / "out", "synth") as temporary:
        (temporary / "half").write_text("half")
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


def test_full_disk_told_without_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some writers raise an exception of their own; the space left tells."""
    monkeypatch.setattr("echokdm.io.atomic.shutil.disk_usage", lambda folder: type("Usage", (), {"free": 0}))
    with pytest.raises(OutputError, match="disk is full"), atomic_file(tmp_path / "a"):
        raise RuntimeError("failed writing file")


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a"):
        (tmp_path / "nowhere").read_text()
    with pytest.raises(PermissionError), atomic_file(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/source.dcm")


def test_forbidden_place_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no permission"), atomic_file(tmp_path / "a") as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with atomic_file(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="the size limit of a process is a Unix feature")
def test_every_writer_tells_of_a_full_disk_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: each library reports it in a way of its own."""
    code = f"""
import resource
from pathlib import Path
import torch
from echokdm.core.errors import OutputError
from echokdm.io import dicom_out, write
from echokdm.core.types import Clip
from echokdm.io.atomic import atomic_file
clip, out = torch.rand(20, 1, 112, 112), Path({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
def save_safetensors(path):
    from safetensors.torch import save_file
    with atomic_file(path) as temporary:
        save_file({{"clip": clip}}, temporary)
for name, call in {{
    "a.mp4": lambda p: write.write_mp4(p, clip, 30), "a.avi": lambda p: write.write_avi(p, clip, 30),
    "a.gif": lambda p: write.write_gif(p, clip, 30), "a.png": lambda p: write.write_png_strip(p, clip),
    "a.nii.gz": lambda p: write.write_nifti(p, clip[:, 0]),
    "a.dcm": lambda p: dicom_out.write_dicom(p, Clip(clip, 30), dicom_out.Origin("")),
    "a.safetensors": save_safetensors,
}}.items():
    try:
        call(out / name)
        print(name, "was written")
    except OutputError as error:
        assert "disk is full" in str(error) and "\\n" not in str(error), error
    except Exception as error:
        print(name, repr(error)[:200])
print(sorted(p.name for p in out.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stdout + done.stderr
