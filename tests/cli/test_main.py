"""`python -m echokdm` is the command."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "Usage: echokdm "),
        (["--version"], 0, "echokdm "),
        (["keypoints", "no-such-clip.dcm"], 2, "Error: "),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_the_module_is_the_command(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "echokdm", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == code and said in (done.stderr if code else done.stdout)
    assert "Traceback" not in done.stderr
