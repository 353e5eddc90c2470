"""Configurations hold plain values; whatever else a YAML parser takes or throws is one sentence."""

import pytest

from echokdm.core.config import apply_override, load_config, read_values
from echokdm.core.errors import ConfigError
from echokdm.core.yaml_values import parse_yaml
from echokdm.pipeline.options import PipelineOptions
from echokdm.pipeline.plan import read_pipeline

ODD = [
    "2024-99-99",
    "!!bool abc",
    "!!timestamp foo",
    "!!binary x",
    "!!python/object:os.system x",
    "!!set {a, b}",
    "[" * 5000,
    "{a: " * 30,
    "9" * 6000,
    "9" * 20,
    ".nan",
    "-.inf",
    "[&a 1, *a]",
    "{1: 2}",
    '"a\\0b"',
    "2024-01-02",
    "!!int x",
    "a: b: c",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_values_are_one_sentence_in_files_and_overrides(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"name: x\nseed: {text}\nstages: {{report: {{}}}}\n")
    with pytest.raises(ConfigError, match="The configuration is not valid YAML") as caught:
        read_pipeline(tmp_path / "a.yaml")
    assert caught.value.__cause__ is None and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="has no valid value") as caught:
        apply_override({}, f"seed={text}")
    assert len(str(caught.value)) < 250


def test_plain_values_pass_and_a_fault_is_told_by_its_line():
    assert parse_yaml("{a: [1, 2.5, yes, null, text], b: {c: -3}}", "no.") == {
        "a": [1, 2.5, True, None, "text"],
        "b": {"c": -3},
    }
    with pytest.raises(ConfigError, match="^no: look at line 3."):
        parse_yaml("a: 1\nb: 2\nc: ]\n", "no.")


def test_a_number_beyond_floats_is_no_number(tmp_path):
    (tmp_path / "a.yaml").write_text("name: x\nstages: {a: {kind: augment, tolerance: 1e999}}\n")
    with pytest.raises(ConfigError):
        read_pipeline(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="seed"):
        load_config(tmp_path / "a.yaml", PipelineOptions, ["seed=1e999"])


def test_files_that_are_no_text_and_endless_overrides(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_values(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: 1 #" + "x" * 2**20)
    with pytest.raises(ConfigError, match="not valid"):
        read_values(tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="deep"):
        apply_override({}, "a." * 3000 + "b=1")


@pytest.mark.parametrize(
    "override", ["/export/doe^jane", "/export/doe^jane=1", "seed=[/export/doe^jane", "name.a=/export/doe^jane"]
)
def test_a_bad_override_is_told_without_its_value(override):
    with pytest.raises(ConfigError) as caught:
        apply_override({"name": "x"}, override)
    assert "doe" not in str(caught.value) and "override" in str(caught.value).lower()


def test_the_known_faults_are_one_sentence(test_data):
    for name in ("bool", "date", "ts"):
        with pytest.raises(ConfigError, match="The configuration is not valid YAML"):
            read_pipeline(test_data / "faults" / f"{name}.yaml")
