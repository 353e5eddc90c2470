"""Commands that are started twice into one folder, or asked to end while they work."""

import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from echokdm.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a clip that can't be read, which no command gets to, and a staging folder that a killed
    `synth` left."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.npz").write_bytes(b"")
    staging = tmp_path / ".0123abcd.tmp.out"
    (staging / "result").mkdir(parents=True)
    (staging / "result" / "synth.mp4").write_bytes(b"unreviewed")
    (staging / "made-by-echokdm-synth").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "lock"),
    [
        ("synth clips/a.npz --out out", ".out.echokdm-lock"),
        ("keypoints clips/a.npz --out out", ".out.echokdm-lock"),
        ("audit clips clips --out out", ".out.echokdm-lock"),
        ("evaluate --data clips --out out", ".out.echokdm-lock"),
        ("augment clips out", "out/.lock"),
    ],
)
def test_a_second_run_is_refused_before_any_work(here: Path, words: str, lock: str) -> None:
    (here / lock).parent.mkdir(exist_ok=True)
    with FileLock(here / lock):
        result = RUNNER.invoke(app, words.split())
    assert (
        result.exit_code == 2
        and result.stderr == "Error: Another run is at work in the output folder: wait for its end, or stop it.\n"
    )
    assert (here / ".0123abcd.tmp.out" / "result" / "synth.mp4").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_sentence_and_leaves_nothing(here: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*_: object, **__: object) -> None:
        # what the killed run left is gone
        assert sorted(path.name for path in here.iterdir()) == [".out.echokdm-lock", "clips"]
        os.kill(os.getpid(), number)

    monkeypatch.setattr("echokdm.echo.wish.Wish.check", stops)
    result = RUNNER.invoke(app, ["synth", "clips/a.npz", "--out", "out"])
    assert result.exit_code == 128 + number and result.stderr.startswith(f"Stopped by {signal.Signals(number).name}: ")
    assert len(result.stderr.splitlines()) == 1 and [path.name for path in here.iterdir()] == ["clips"]


def test_another_command_leaves_what_is_not_its_own(here: Path) -> None:
    result = RUNNER.invoke(app, ["keypoints", "clips/a.npz", "--out", "out"])
    assert result.exit_code == 2 and (here / ".0123abcd.tmp.out").is_dir()
    result = RUNNER.invoke(app, ["synth", ".0123abcd.tmp.out/result/synth.mp4", "--out", "out"])
    assert result.exit_code == 2 and (here / ".0123abcd.tmp.out" / "result" / "synth.mp4").exists()  # nor its own input
