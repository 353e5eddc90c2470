"""examples/plugin, installed without a network: its data set is listed, checked and read, its method trained, asked and
scored."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from echokdm.core.errors import ConfigError
from echokdm.data.adapters import fault_of, find_adapter, survey_adapters

# What a test asks of the toolkit with the package beside it, in one process: loading it takes longer than most
# commands.
PRELUDE = """
import json
from pathlib import Path
from types import SimpleNamespace
from typer.testing import CliRunner
from echokdm.cli.app import app

def command(*words):
    done = CliRunner().invoke(app, words)
    return SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)
"""
ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "examples" / "plugin"


def by_pip(target: Path, source: Path) -> None:
    """As a user installs it; the source is copied, since building leaves files beside it."""
    try:
        importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs setuptools to build without a network")
    shutil.copytree(PLUGIN, source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--disable-pip-version-check",
            "--target",
            str(target),
            str(source),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def by_hand(target: Path, source: Path) -> None:
    """What installing comes to: the module and its entry points."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = target / f"echokdm_marker-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    for module in ("echokdm_marker.py", "echokdm_mover.py"):
        shutil.copy(PLUGIN / module, target)


def installed(install: Callable, tmp_path: Path, make: SimpleNamespace) -> Callable[[str], None]:
    """Install the package beside a little data set; returns what runs a program there, whose asserts must hold."""
    install(tmp_path / "site", tmp_path / "source")
    for split in ("train", "test"):
        make.video(tmp_path / "data" / split / f"{split}1.gif", width=32, height=32)
        (tmp_path / "data" / split / f"{split}1.csv").write_text("frame,x,y\n0,5,6\n2,7,8\n")

    def run(program: str) -> None:
        path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, env=environment, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("install", [by_pip, by_hand], ids=["pip", "hand"])
def test_plugin_is_listed_checked_and_read(install, tmp_path: Path, make: SimpleNamespace) -> None:
    run = installed(install, tmp_path, make)
    run("""
listed = command("adapters")
assert "marker-1" in listed.out and "echonet-dynamic" in listed.out, listed.err
sound = command("data", "check", "marker", "data")
assert sound.code == 0 and "2 sequences, 8 frames" in sound.out, sound.err

from echokdm.data.adapters import find_adapter
adapter = find_adapter("marker")
sequence = adapter.read(adapter.index("data").iloc[0])
assert sequence.schema.name == "marker-1" and sequence.keypoints[2].tolist() == [[7.0, 8.0]]
assert sequence.visible[:, 0].tolist() == [True, False, True, False]

Path("data/test/test1.csv").unlink()
Path("data/train/train1.csv").write_text("frame,x\\n")
broken, shown = (command("data", "check", "marker", "data", *flag) for flag in ([], ["--show-names"]))
assert broken.code == shown.code == 2 and "(lacks y)" in broken.err and "test1.csv" not in broken.err, broken.err
assert "train1.csv (lacks y)" in shown.err and "test/test1.csv" in shown.err, shown.err
""")


def test_plugin_method_is_trained_asked_and_scored(tmp_path: Path, make: SimpleNamespace) -> None:
    run = installed(by_pip, tmp_path, make)
    shutil.copy(PLUGIN / "mover.yaml", tmp_path)
    np.save(tmp_path / "at.npy", np.array([[5.0, 6.0]]))
    np.save(tmp_path / "to.npy", np.array([[[9.0, 6.0]], [[13.0, 6.0]]]))
    run("""
trained = command("train", "mover.yaml", "--set", "mover.steps=3", "--set", "mover.batch=2")
assert trained.code == 0, trained.err
made = command("generate", "--bundle", "runs/mover/bundle", "--source", "data/test/test1.gif", "--source-keypoints", "at.npy",
               "--keypoints", "to.npy", "--whole", "--out", "made")
assert made.code == 0, made.err
assert json.loads(Path("made/run.json").read_text())["output"] == {"frames": 2, "fps": 12.5, "size": [32, 32]}
assert "--data marker:FOLDER" in command("evaluate", "--bundle", "runs/mover/bundle").err
scored = command("evaluate", "--bundle", "runs/mover/bundle", "--data", "marker:data", "--out", "scores")
assert scored.code == 0, scored.err
assert "Held-out clips" in scored.out, scored.err
""")


def test_every_adapter_is_registered_under_its_name() -> None:
    plugins = survey_adapters()
    assert len(plugins) >= 26
    for plugin in plugins:
        assert plugin.reason or plugin.value.name == plugin.name
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["echokdm.adapters"]
    assert set(registered) <= {plugin.name for plugin in plugins}, "install again: pip install -e ."


def test_what_is_no_adapter() -> None:
    assert fault_of(SimpleNamespace(name="x", schema="")) == "it lacks what, one_size, index, read"
    assert fault_of(type(find_adapter("clips"))) == "PlainClips is a class; register an object of it"
    with pytest.raises(ConfigError, match="did you mean 'echonet-dynamic'"):
        find_adapter("echonet-dynamics")
