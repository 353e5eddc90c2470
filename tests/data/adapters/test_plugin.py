"""examples/plugin, installed without a network, is listed, checked and read like our own adapters."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from echokdm.core.errors import ConfigError
from echokdm.data.adapters import fault_of, find_adapter, survey_adapters

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
    shutil.copy(PLUGIN / "echokdm_marker.py", target)


@pytest.mark.parametrize("install", [by_pip, by_hand], ids=["pip", "hand"])
def test_plugin_is_listed_checked_and_read(install, tmp_path: Path, make: SimpleNamespace) -> None:
    install(tmp_path / "site", tmp_path / "source")
    for split in ("train", "test"):
        make.video(tmp_path / "data" / split / f"{split}1.gif", width=32, height=32)
        (tmp_path / "data" / split / f"{split}1.csv").write_text("frame,x,y\n0,5,6\n2,7,8\n")

    def run(*words: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=tmp_path)

    command = "from echokdm.cli import app; app()"
    listed = run("-c", command, "adapters")
    assert "marker-1" in listed.stdout and "echonet-dynamic" in listed.stdout, listed.stderr
    sound = run("-c", command, "data", "check", "marker", "data")
    assert sound.returncode == 0 and "2 sequences, 8 frames" in sound.stdout, sound.stderr
    read = run("-c", "from echokdm.data.adapters import find_adapter as f; a = f('marker'); s = a.read(a.index('data').iloc[0]); "
                     "print(s.schema.name, s.keypoints[2].tolist(), s.visible[:, 0].tolist())")
    assert read.stdout.strip() == "marker-1 [[7.0, 8.0]] [True, False, True, False]", read.stderr
    (tmp_path / "data" / "test" / "test1.csv").unlink()
    (tmp_path / "data" / "train" / "train1.csv").write_text("frame,x\n")
    broken = run("-c", command, "data", "check", "marker", "data")
    assert broken.returncode == 2 and "train1.csv lacks y" in broken.stderr and "test/test1.csv" in broken.stderr


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
