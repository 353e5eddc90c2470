"""Every method is found by name, its configurations are valid, and none brings a loop of its own."""

import re
from pathlib import Path

import pytest
import yaml

from echokdm.core.config import load_config
from echokdm.core.errors import ConfigError
from echokdm.methods.base import fault_of, find_method, survey_methods
from echokdm.methods.kdm.config import KDMConfig
from echokdm.methods.train import train_config, without_places

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_five_papers_are_here():
    methods = {plugin.name: plugin for plugin in survey_methods()}
    assert {"evolution", "kdm", "midm", "residual-flow", "single-transform"} <= set(methods)
    for name, plugin in methods.items():
        assert not plugin.reason, plugin.reason
        assert plugin.value.name == name and plugin.value.title and plugin.value.paper
        assert plugin.value.takes <= {"sources", "driving", "keypoints", "condition", "drag", "gamma"}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_shipped_configuration_is_valid_and_each_stage_has_a_block(file):
    method = find_method(yaml.safe_load(file.read_text())["method"])
    config = load_config(file, method.config)
    stages = method.stages(config)
    assert stages and all(getattr(config, stage).steps >= 0 for stage in stages)
    assert "cache" not in without_places(config)["data"]


def test_a_bundle_does_not_tell_where_patients_lay():
    config = KDMConfig(
        name="x", segmenter={"outlined": "camus:/home/somebody/CAMUS"}, judge={"outlined": "camus:elsewhere"}
    )
    told = without_places(config)
    assert told["segmenter"]["outlined"] == told["judge"]["outlined"] == "camus:FOLDER"


def test_what_is_wrong_with_a_method_or_its_name_is_told(tmp_path):
    assert "register an object" in fault_of(type(find_method("kdm"))) and "base.Method" in fault_of(object())
    (tmp_path / "a.yaml").write_text("method: kdn\nname: a\n")
    with pytest.raises(ConfigError, match="did you mean 'kdm'"):
        train_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("call", "homes"),
    [
        (r"scheduler\.step\(", {"engine/sampling.py"}),
        (r"Accelerator\(", {"engine/loop.py"}),
        (r"DataLoader\(", {"engine/loop.py", "data/store.py"}),
    ],
)
def test_there_is_one_sampling_loop_and_one_training_loop(call, homes):
    package = ROOT / "echokdm"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(call, path.read_text(encoding="utf-8"))
    }
    assert found == homes
