"""De-identification that is stopped, killed, started twice, or given a name that was its own staging folder's."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from echokdm.core.errors import OutputError
from echokdm.deid import deidentify_folder

SALT = b"a salt for the tests"


def put(folder: Path, scene, count: int = 1) -> None:
    """Sound clips of one patient, the same pixels in each."""
    folder.mkdir(parents=True, exist_ok=True)
    scene["echo"](scene["fan"](), SOPInstanceUID="1.2.3.0").save_as(folder / "0.dcm", enforce_file_format=True)
    for n in range(1, count):
        (folder / f"{n}.dcm").write_bytes((folder / "0.dcm").read_bytes())


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [".q.partial", ".q.echokdm-lock"])
def test_an_input_called_like_a_staging_folder_stays(tmp_path: Path, scene, name: str) -> None:
    put(tmp_path / name, scene)
    before = everything(tmp_path)
    try:
        summary = deidentify_folder(tmp_path / name, tmp_path / "q", salt=SALT)
        assert len(summary.outputs) == 1
    except OutputError as error:
        assert name == ".q.echokdm-lock" and "lies something else" in str(error)
    assert before.items() <= everything(tmp_path).items()
    assert {path.name for path in tmp_path.iterdir()} <= {name, "q"}


def test_an_input_among_what_a_killed_run_left_stays(tmp_path: Path, scene) -> None:
    staging = tmp_path / ".0123abcd.tmp.q"
    put(staging / "done", scene)
    (staging / "made-by-echokdm-deid").touch()
    before = everything(tmp_path)
    deidentify_folder(staging / "done", tmp_path / "q", salt=SALT)
    assert before.items() <= everything(tmp_path).items() and {path.name for path in tmp_path.iterdir()} == {
        staging.name,
        "q",
    }


def test_a_second_run_into_one_folder_is_refused(tmp_path: Path, scene) -> None:
    put(tmp_path / "in", scene)
    with (
        FileLock(tmp_path / ".q.echokdm-lock"),
        pytest.raises(OutputError, match=r"^Another run is at work in the output folder"),
    ):
        deidentify_folder(tmp_path / "in", tmp_path / "q")
    assert not (tmp_path / "q").exists()


def begin(folder: Path, *options: str) -> subprocess.Popen:
    """`echokdm deid in out` in a process of its own that has staged a file."""
    code = "from echokdm.cli.app import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "deid", "in", "out", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while process.poll() is None and not list(folder.glob(".*/done/*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    return process


def test_a_signal_ends_it_with_one_sentence_and_nothing_left(tmp_path: Path, scene) -> None:
    put(tmp_path / "in", scene, 400)
    run = begin(tmp_path)
    run.terminate()
    said = [
        line
        for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", run.communicate(timeout=60)[1]).splitlines()
        if line.strip()
    ]
    assert run.returncode == 128 + signal.SIGTERM and said[-1].startswith("Stopped by SIGTERM: ")
    assert not any("Traceback" in line or "Error" in line for line in said)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_after_a_kill_the_next_run_clears_what_was_left(tmp_path: Path, scene) -> None:
    put(tmp_path / "in", scene, 400)
    run = begin(tmp_path)
    run.kill()  # the process alone, not the one that reads the files
    run.communicate(timeout=60)
    until = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):  # which ends too
        while time.monotonic() < until:
            os.killpg(run.pid, 0)
            time.sleep(0.01)
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 3 and "out" not in left
    for path in list((tmp_path / "in").iterdir())[2:]:
        path.unlink()
    (tmp_path / ".0123abcd.tmp.out").mkdir()
    (tmp_path / ".0123abcd.tmp.out" / "thesis.txt").touch()
    deidentify_folder(tmp_path / "in", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", ".0123abcd.tmp.out"}
