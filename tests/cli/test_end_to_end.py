"""The whole way with the real classes, untrained and tiny: from a phantom's file over the shell's command to its
outputs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.io.tracings import write_tracings
from echokdm.ops.ventricle import tracing_from_keypoints


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of real components with random weights."""
    from echokdm.core.types import A4C_BLOODPOOL_40
    from echokdm.engine.sampling import build_scheduler
    from echokdm.methods.kdm.conditions import f2i_channels, k2f_channels
    from echokdm.methods.kdm.pipeline import KDMPipeline
    from echokdm.networks.codec import FlowCodec, build_codec
    from echokdm.networks.conditioned_unet import ConditionedUNet
    from echokdm.networks.segmenter import Segmenter

    torch.manual_seed(0)
    parts = {
        "image_codec": build_codec(1, (8, 8), 3, 16),
        "flow_codec": FlowCodec((8, 8, 8), 4, 16),
        "k2f": ConditionedUNet(4, k2f_channels(A4C_BLOODPOOL_40), 0, 8, (2, 2, 1), (8, 16)),
        "f2i": ConditionedUNet(3, f2i_channels(A4C_BLOODPOOL_40), 6, 8, (2, 1, 1), (8, 16)),
        "segmenter": Segmenter(features=(4, 4, 8, 8, 8, 4)),
        "scheduler": build_scheduler("ddim", "v_prediction"),
    }
    folder = tmp_path_factory.mktemp("bundle") / "random"
    KDMPipeline(**parts).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.npz and its true outlines."""
    from echokdm.phantom.a4c import A4CPhantom

    folder = tmp_path_factory.mktemp("phantom")
    heart = A4CPhantom([5])
    phases = torch.arange(10)[None] / 10
    frames = (heart.frames(phases)[0, :, 0] * 255).round().byte().numpy()
    np.savez(folder / "clip.npz", frames=frames, fps=10.0)
    points = heart.keypoints(phases)[0].double().numpy()
    write_tracings(folder / "t.csv", {"clip": {t: tracing_from_keypoints(p) for t, p in enumerate(points)}})
    return folder


def test_synth_from_the_shell_is_whole_and_repeats(bundle: Path, phantom: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = CliRunner().invoke(
            app,
            [
                "synth",
                str(phantom / "clip.npz"),
                "--keypoints",
                str(phantom / "t.csv"),
                "--bundle",
                str(bundle),
                "--ef",
                "40",
                "--steps",
                "2",
                "--out",
                str(tmp_path / name),
            ],
        )
        assert done.exit_code == 3, (done.output, done.exception)  # all is written, and random weights measure nothing
    for file in ("synth.mp4", "synth.gif", "synth.dcm", "keypoints.csv", "run.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    record = json.loads((tmp_path / "one" / "run.json").read_text())
    assert record["ef_percent"]["drawn"] == pytest.approx(40, abs=0.1) and record["bundle"]["name"] == "random"


def test_segmenter_without_knowledge_is_refused(bundle: Path, phantom: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["keypoints", str(phantom / "clip.npz"), "--bundle", str(bundle), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 2 and "--keypoints" in done.stderr and not (tmp_path / "out").exists()
