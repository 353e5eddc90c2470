"""A KDM small enough to train in seconds."""

from pathlib import Path

import pytest

TINY = """
method: kdm
name: tiny
size: 112
precision: "no"
save_every: 2
flow_target: truth
data: {patients: 2, procedural: 4, held_out: 1, cache: CACHE}
judge: {steps: 1, batch: 2}
segmenter: {steps: 2, batch: 2}
of_net: {steps: 2, batch: 2, pyramid: [4, 4, 8, 8, 8, 8], estimator: [8, 8, 8, 8, 8], context: [8, 8, 8, 8, 8, 8]}
image_codec: {steps: 3, batch: 2, crop: 32, block_out_channels: [8, 8], codes: 16, perceptual: null, discriminator_from: 0.5}
flow_codec: {steps: 2, batch: 2, block_out_channels: [8, 8, 8], latent_channels: 4, codes: 16, perceptual: null, discriminator_weight: 0}
k2f: {steps: 2, batch: 2, block_out_channels: [8, 32], attention_from: 1, prediction: v_prediction}
f2i: {steps: 3, batch: 2, block_out_channels: [8, 16], prediction: v_prediction, procedural_share: 0.5}
k2i: {steps: 2, batch: 2, block_out_channels: [8, 16], prediction: v_prediction}
landmarks: {steps: 2, batch: 2}
"""


@pytest.fixture(scope="session")
def tiny_yaml():
    """The configuration, with CACHE in the place of the cache's folder."""
    return TINY


@pytest.fixture(scope="session")
def train_tiny(tmp_path_factory):
    """train_tiny(text, name) -> a folder with `tiny.yaml` of that text and, under `run/`, all its stages trained."""
    from echokdm.methods.train import train_config

    def train(text: str, name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        (folder / "tiny.yaml").write_text(text.replace("CACHE", str(folder / "cache")))
        train_config(folder / "tiny.yaml", out=folder / "run")
        return folder

    return train


@pytest.fixture(scope="session")
def tiny_run(train_tiny):
    """Folder with `tiny.yaml` and, under `run/`, all its stages trained."""
    return train_tiny(TINY, "tiny")
