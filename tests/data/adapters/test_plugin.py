"""examples/plugin, installed without a network: its data set is listed, checked and read, its method trained, asked and scored."""

import importlib.metadata
import json
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

COMMAND = "from echokdm.cli import app; app()"
ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "examples" / "plugin"


def by_pip(target: Path, source: Path) -> None:
    """As a user installs it; the source is copied, since building leaves files beside it."""
    try:
        importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs setuptools to build without a network")
    shutil.copytree(PLUGIN, source)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
                           "--disable-pip-version-check", "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def by_hand(target: Path, source: Path) -> None:
    """What installing comes to: the module and its entry points."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = target / f"echokdm_marker-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
             for group, entries in project["entry-points"].items()]
    (info / "entry_points.txt").write_text("".join(lines))
    for module in ("echokdm_marker.py", "echokdm_mover.py"):
        shutil.copy(PLUGIN / module, target)


def installed(install: Callable, tmp_path: Path, make: SimpleNamespace) -> Callable[..., subprocess.CompletedProcess]:
    """Install the package beside a little data set; returns what runs Python there."""
    install(tmp_path / "site", tmp_path / "source")
    for split in ("train", "test"):
        make.video(tmp_path / "data" / split / f"{split}1.gif", width=32, height=32)
        (tmp_path / "data" / split / f"{split}1.csv").write_text("frame,x,y\n0,5,6\n2,7,8\n")

    def run(*words: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=tmp_path)

    return run


@pytest.mark.parametrize("install", [by_pip, by_hand], ids=["pip", "hand"])
def test_plugin_is_listed_checked_and_read(install, tmp_path: Path, make: SimpleNamespace) -> None:
    run = installed(install, tmp_path, make)
    listed = run("-c", COMMAND, "adapters")
    assert "marker-1" in listed.stdout and "echonet-dynamic" in listed.stdout, listed.stderr
    sound = run("-c", COMMAND, "data", "check", "marker", "data")
    assert sound.returncode == 0 and "2 sequences, 8 frames" in sound.stdout, sound.stderr
    read = run("-c", "from echokdm.data.adapters import find_adapter as f; a = f('marker'); s = a.read(a.index('data').iloc[0]); "
                     "print(s.schema.name, s.keypoints[2].tolist(), s.visible[:, 0].tolist())")
    assert read.stdout.strip() == "marker-1 [[7.0, 8.0]] [True, False, True, False]", read.stderr
    (tmp_path / "data" / "test" / "test1.csv").unlink()
    (tmp_path / "data" / "train" / "train1.csv").write_text("frame,x\n")
    broken, shown = (run("-c", COMMAND, "data", "check", "marker", "data", *flag) for flag in ([], ["--show-names"]))
    assert broken.returncode == shown.returncode == 2 and "(lacks y)" in broken.stderr and "test1.csv" not in broken.stderr
    assert "train1.csv (lacks y)" in shown.stderr and "test/test1.csv" in shown.stderr


def test_plugin_method_is_trained_asked_and_scored(tmp_path: Path, make: SimpleNamespace) -> None:
    run = installed(by_pip, tmp_path, make)
    trained = run("-c", COMMAND, "train", str(PLUGIN / "mover.yaml"), "--set", "mover.steps=3", "--set", "mover.batch=2")
    assert trained.returncode == 0, trained.stderr
    np.save(tmp_path / "at.npy", np.array([[5.0, 6.0]]))
    np.save(tmp_path / "to.npy", np.array([[[9.0, 6.0]], [[13.0, 6.0]]]))
    made = run("-c", COMMAND, "generate", "--bundle", "runs/mover/bundle", "--source", "data/test/test1.gif", "--source-keypoints",
               "at.npy", "--keypoints", "to.npy", "--whole", "--out", "made")
    assert made.returncode == 0, made.stderr
    assert json.loads((tmp_path / "made" / "run.json").read_text())["output"] == {"frames": 2, "fps": 12.5, "size": [32, 32]}
    assert "--data marker:FOLDER" in run("-c", COMMAND, "evaluate", "--bundle", "runs/mover/bundle").stderr
    scored = run("-c", COMMAND, "evaluate", "--bundle", "runs/mover/bundle", "--data", "marker:data", "--out", "scores")
    assert scored.returncode == 0, scored.stderr
    assert "Held-out clips" in scored.stdout, scored.stderr


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
