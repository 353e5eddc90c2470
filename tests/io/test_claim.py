"""One run at a time for one output; what killed runs left goes, and nothing else does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from echokdm.core.errors import OutputError
from echokdm.io.atomic import atomic_folder, claim, clear_files

KILLED = """
import os, signal, sys
from echokdm.io.atomic import atomic_file, atomic_folder, claim
with {block}:
    {inside}
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(block: str, inside: str = "pass") -> None:
    """Run the block in a process that kills itself at the end of it."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(block=block, inside=inside)], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_by(command: str, out: Path, digits: str = "0123abcd") -> Path:
    """A staging folder as a killed run leaves it."""
    staging = out.with_name(f".{digits}.tmp.{out.name}")
    (staging / "result").mkdir(parents=True)
    (staging / f"made-by-echokdm-{command}").touch()
    (staging / "result" / "half").write_text("unreviewed")
    return staging


def test_a_second_run_is_refused_and_a_claim_within_a_claim_is_not(tmp_path: Path) -> None:
    for inside, lock in ((False, ".out.echokdm-lock"), (True, "out/.lock")):
        with claim(tmp_path / "out", "synth", inside=inside):
            with claim(tmp_path / "out", "synth", inside=inside):
                pass
            other = FileLock(tmp_path / lock, timeout=0)
            with pytest.raises(TimeoutError):
                other.acquire()
        assert names(tmp_path) == []
        (tmp_path / lock).parent.mkdir(exist_ok=True)
        with (
            FileLock(tmp_path / lock),
            pytest.raises(OutputError, match="^Another run is at work in the output folder: "),
            claim(tmp_path / "out", "synth", inside=inside),
        ):
            pytest.fail("the block must not run")
        (tmp_path / lock).unlink(missing_ok=True)
        if inside:
            (tmp_path / "out").rmdir()


def test_a_killed_process_holds_nothing_and_its_staging_goes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(f"atomic_folder({str(out)!r}, 'synth') as folder", "(folder / 'half').write_text('unreviewed')")
    left = names(tmp_path)
    assert len(left) == 2 and not out.exists()
    with atomic_folder(out, "synth") as folder:
        assert not set(left) - {".out.echokdm-lock"} & set(names(tmp_path))
        (folder / "whole").touch()
    assert names(tmp_path) == ["out"] and names(out) == ["whole"]


def test_only_what_the_same_command_left_for_the_same_output_goes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    others = [left_by("keypoints", out), left_by("synth", tmp_path / "other"), left_by("synth", tmp_path / "x.out")]
    mine = out.with_name(".89abcdef.tmp.out")
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (tmp_path / ".01234567.tmp.out.txt").write_text("mine")
    (tmp_path / ".out.partial").mkdir()
    kept = names(tmp_path)
    left_by("synth", out, "ffffffff")
    out.with_name(".eeeeeeee.tmp.out").mkdir()  # killed before its mark was made
    with atomic_folder(out, "synth") as folder:
        (folder / "whole").touch()
    assert names(tmp_path) == sorted([*kept, "out"]) and all((path / "result" / "half").exists() for path in others)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_input_among_what_was_left_stays(tmp_path: Path) -> None:
    out, staging = tmp_path / "out", left_by("synth", tmp_path / "out")
    with claim(out, "synth", apart=[staging / "result" / "half"]):
        with atomic_folder(out, "synth") as folder:
            assert folder.parent != staging
    assert (staging / "result" / "half").exists()
    with claim(out, "synth"):
        pass
    assert names(tmp_path) == ["out"]


def test_work_that_lasts_is_gone_on_with_after_a_kill_and_spent_staging_goes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed(
        f"atomic_folder({str(out)!r}, 'deid', lasting=True) as folder",
        "(folder / 'half').touch(); (folder.with_name('done')).mkdir(); (folder.with_name('done') / '1').touch()",
    )
    with pytest.raises(KeyboardInterrupt), atomic_folder(out, "deid", lasting=True) as folder:
        assert names(folder) == [] and names(folder.with_name("done")) == ["1"]
        raise KeyboardInterrupt
    with atomic_folder(out, "deid", lasting=True) as folder:
        os.replace(folder.with_name("done") / "1", folder / "1")
    assert names(tmp_path) == ["out"] and names(out) == ["1"]
    spent = out.with_name(".0123abcd.tmp.out")  # killed between the move and the end
    spent.mkdir()
    (spent / "made-by-echokdm-deid").touch()
    with pytest.raises(OutputError, match="exists already"), atomic_folder(out, "deid", lasting=True):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["out"]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "new", "deid", lasting=True):
        raise ZeroDivisionError  # before it did anything that could be gone on with
    assert names(tmp_path) == ["out"]


def test_something_else_in_the_locks_place_stays(tmp_path: Path) -> None:
    for lock in (".out.echokdm-lock", "grown/.lock"):
        place = tmp_path / lock
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"a clip, say")
        with (
            pytest.raises(OutputError, match="lies something else"),
            claim(tmp_path / ("grown" if "/" in lock else "out"), "run", inside="/" in lock),
        ):
            pytest.fail("the block must not run")
        assert place.read_bytes() == b"a clip, say"


def test_half_written_files_go_from_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "Videos").mkdir()
    killed(f"atomic_file({str(tmp_path / 'Videos' / 'a.avi')!r}) as path", "path.touch()")
    for name in (".notes.tmp.txt", "b.avi", ".0123456.tmp.b.avi"):
        (tmp_path / "Videos" / name).touch()
    clear_files(tmp_path)
    assert names(tmp_path / "Videos") == [".0123456.tmp.b.avi", ".notes.tmp.txt", "b.avi"]


def test_a_folder_that_appears_meanwhile_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), atomic_folder(tmp_path / "out", "synth") as folder:
        (folder / "a").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a").write_text("another's")
    assert names(tmp_path) == ["out"] and (tmp_path / "out" / "a").read_text() == "another's"
