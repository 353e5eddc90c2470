"""Training a whole KDM: a bundle comes out, a killed stage resumes to the same bytes, configurations are checked."""

import shutil

import pytest
import torch

from echokdm.core.config import load_config
from echokdm.core.errors import BundleError, ConfigError
from echokdm.methods.kdm.config import STAGES, KDMConfig
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.methods.train import train_config


def test_all_stages_give_a_loadable_bundle_with_a_card(tiny_run):
    bundle = tiny_run / "run" / "bundle"
    pipe = KDMPipeline.from_pretrained(bundle)
    assert all(getattr(pipe, name) is not None for name in STAGES if name != "landmarks") and pipe.landmarks is None
    assert pipe.image_codec.config.scaling_factor != 1.0
    assert "not for diagnosis" in (bundle / "README.md").read_text()
    assert not [f for f in bundle.rglob("*") if f.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_a_stopped_stage_goes_on_to_the_same_bytes(tiny_run, tmp_path):
    for name in ("straight", "stopped"):
        shutil.copytree(tiny_run / "run", tmp_path / name)
        shutil.rmtree(tmp_path / name / "f2i")
    overrides = ["f2i.steps=4"]
    straight = train_config(tiny_run / "tiny.yaml", stage="f2i", out=tmp_path / "straight", overrides=overrides)
    # The loop stops after its first step (a checkpoint is written), as a kill after a checkpoint would leave it.
    with pytest.raises(KeyboardInterrupt):
        _train_until(2, tiny_run / "tiny.yaml", tmp_path / "stopped", overrides)
    stopped = train_config(tiny_run / "tiny.yaml", stage="f2i", out=tmp_path / "stopped", overrides=overrides)
    file = "f2i/diffusion_pytorch_model.safetensors"
    assert (straight / file).read_bytes() == (stopped / file).read_bytes()


def _train_until(step, config, out, overrides):
    from echokdm.methods.kdm import denoiser

    original = denoiser.DenoiserStage.step

    def interrupted(self, batch, run):
        if run.step == step:
            raise KeyboardInterrupt
        return original(self, batch, run)

    denoiser.DenoiserStage.step = interrupted
    try:
        train_config(config, stage="f2i", out=out, overrides=overrides)
    finally:
        denoiser.DenoiserStage.step = original


def test_from_a_bundle_takes_over_what_is_not_trained_and_starts_from_its_weights(tiny_run, tmp_path):
    given = tiny_run / "run" / "bundle"
    bundle = train_config(
        tiny_run / "tiny.yaml", stage="k2f", from_bundle=str(given), out=tmp_path, overrides=["k2f.lr=0.0"]
    )
    before, after = KDMPipeline.from_pretrained(given), KDMPipeline.from_pretrained(bundle)
    for name in ("k2f", "f2i"):
        a, b = getattr(before, name).state_dict(), getattr(after, name).state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert str(tiny_run) not in (bundle / "k2f" / "config.json").read_text()  # a bundle tells no one's paths


def test_a_share_of_the_weights_it_started_from_stays(tiny_run, tmp_path):
    given, weights = tiny_run / "run" / "bundle", {}
    for share in (0.0, 0.5, 1.0):
        bundle = train_config(
            tiny_run / "tiny.yaml",
            stage="k2f",
            from_bundle=str(given),
            out=tmp_path / str(share),
            overrides=["k2f.lr=0.01", "k2f.ema_decay=0.1", f"k2f.start_share={share}"],
        )
        weights[share] = KDMPipeline.from_pretrained(bundle).k2f.state_dict()
    before = KDMPipeline.from_pretrained(given).k2f.state_dict()
    for k, kept in weights[1.0].items():
        assert torch.equal(kept, before[k])
        assert torch.allclose(weights[0.5][k], (before[k] + weights[0.0][k]) / 2, atol=2e-3)
    assert any(not torch.equal(v, before[k]) for k, v in weights[0.0].items())


def test_shipped_configurations_are_valid():
    from pathlib import Path

    files = sorted((Path(__file__).parents[2] / "configs").glob("kdm-*.yaml"))
    assert len(files) >= 2
    for file in files:
        load_config(file, KDMConfig)


def test_the_224_configuration_trains_every_stage_and_samples(tmp_path):
    """One step each at full size and compression, in narrow networks and without VGG's weights."""
    from pathlib import Path

    narrow = {
        "of_net": "pyramid=[4,4,8,8,8,8]",
        "image_codec": "block_out_channels=[8,8,8]",
        "flow_codec": "block_out_channels=[8,8,8]",
        **{name: "block_out_channels=[32,32,32]" for name in ("k2f", "f2i", "k2i")},
    }
    overrides = [f"{name}.{value}" for name in STAGES for value in ("steps=1", "batch=1")]
    overrides += [f"{name}.{value}" for name, value in narrow.items()]
    overrides += [
        "precision='no'",
        "of_net.estimator=[8,8,8,8,8]",
        "of_net.context=[8,8,8,8,8,8]",
        "segmenter.batch=2",
        "judge.batch=2",
        "image_codec.perceptual=null",
        "data.patients=1",
        "data.procedural=1",
        "data.held_out=1",
        "data.workers=0",
        f"data.cache={tmp_path / 'cache'}",
    ]
    bundle = train_config(
        Path(__file__).parents[2] / "configs" / "kdm-a4c-224.yaml", out=tmp_path / "run", overrides=overrides
    )
    pipe = KDMPipeline.from_pretrained(bundle)
    points = torch.rand(2, 40, 2) * 100 + 60
    made = pipe(
        torch.rand(1, 1, 224, 224),
        points[0],
        points,
        sector=torch.ones(224, 224, dtype=torch.bool),
        drawing=Drawing(steps=1, flow_steps=1),
    )
    assert made.frames.shape == (2, 1, 224, 224) and made.frames.isfinite().all()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("f2i.stepz=3", "did you mean 'steps'"),
        ("flow_codek.steps=1", "did you mean 'flow_codec'"),
        ("k2f.steps=many", "k2f.steps"),
        ("k2f", "a.b=value"),
    ],
)
def test_a_wrong_key_is_named_with_its_nearest(tiny_run, override, words):
    with pytest.raises(ConfigError, match=words):
        load_config(tiny_run / "tiny.yaml", KDMConfig, [override])


def test_unknown_stage_and_missing_forerunner(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'k2f'"):
        train_config(tiny_run / "tiny.yaml", stage="k2ff", out=tmp_path)
    with pytest.raises(BundleError, match="flow_codec"):
        train_config(tiny_run / "tiny.yaml", stage="k2f", out=tmp_path)
