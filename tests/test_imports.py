"""`import echokdm` and `echokdm --help` are instant: nothing heavy is loaded before it is needed."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "pandas",
    "diffusers",
    "monai",
    "torchvision",
    "pydicom",
    "matplotlib",
    "av",
    "lpips",
    "skimage",
    "scipy",
    "nibabel",
    "PIL",
    "accelerate",
    "torchmetrics",
    "tensorboard",
    "highdicom",
)


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded by `code` in a fresh interpreter."""
    program = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def command(*words: str) -> str:
    return f"""
sys.argv = ["echokdm", *{words!r}]
from echokdm.cli.app import app
try:
    app()
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import echokdm",
        "import echokdm; dir(echokdm); echokdm.__version__",
        "import echokdm.cli.app",
        command("--help"),
        command("--version"),
        command("synth", "--help"),
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = modules_after(code)
    assert "echokdm" in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_public_names_exist_and_no_other_does() -> None:
    import echokdm

    for name in echokdm.__all__:
        assert getattr(echokdm, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = echokdm.no_such_name
