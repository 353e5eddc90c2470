"""Networks in ONNX Runtime compute what they compute in torch."""

import sys
from itertools import islice
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ConfigError
from echokdm.export import onnx_networks, write_onnx
from echokdm.methods.kdm.pipeline import KDMPipeline

RUNNER = CliRunner()
FILES = [
    "segmenter",
    "of_net",
    "image_codec_encoder",
    "image_codec_decoder",
    "flow_codec_encoder",
    "flow_codec_decoder",
    "k2f",
    "f2i",
    "k2i",
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segmenter alone, since every network takes its seconds."""
    calls = onnx_networks._calls
    monkeypatch.setattr(onnx_networks, "_calls", lambda pipeline: islice(calls(pipeline), 1))


def test_every_network_of_the_bundle_is_asked_for() -> None:
    calls = list(onnx_networks._calls(KDMPipeline.from_pretrained("a4c")))
    assert [call.name for call in calls] == FILES
    with torch.no_grad():
        assert all(call.compute(*call.inputs.values()).isfinite().all() for call in calls)


@pytest.mark.usefixtures("quick")
def test_files_are_written_and_told(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["export", "a4c", str(tmp_path / "out"), "--to", "onnx"])
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["segmenter.onnx"]
    assert "differs from torch by at most" in result.stdout and "CC BY-NC-SA 4.0" in result.stdout
    onnx.checker.check_model(tmp_path / "out" / "segmenter.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "segmenter.onnx")
    frames = torch.rand(5, 1, 112, 112)
    sector = torch.ones(5, 1, 112, 112)
    (logits,) = session.run(["logits"], {"frame": frames.numpy(), "sector": sector.numpy()})
    with torch.no_grad():
        wanted = KDMPipeline.from_pretrained("a4c").segmenter(frames, sector)
    assert (torch.from_numpy(logits) - wanted).abs().max() <= 1e-3


@pytest.mark.usefixtures("quick")
def test_a_network_that_computes_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_networks, "MOST", -1.0)
    result = RUNNER.invoke(app, ["export", "a4c", str(tmp_path / "out"), "--to", "onnx"])
    assert result.exit_code == 2 and "computes otherwise in ONNX" in result.stderr and list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"pip install 'echokdm\[export\]'"):
        write_onnx("a4c", tmp_path / "out")
