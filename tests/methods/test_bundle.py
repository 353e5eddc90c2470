"""Bundles that share parts, and under what they may be used."""

import json
import shutil

import pytest
import torch

from echokdm.cli.doctor import describe_bundle
from echokdm.core.errors import BundleError
from echokdm.methods.bundle import bundle_hash, bundle_licence, component_folders
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.methods.train import train_config


@pytest.fixture
def pair(tiny_run, tmp_path):
    """A bundle, and one beside it with a segmenter of its own that shares the rest."""
    base, other = tmp_path / "base", tmp_path / "other"
    shutil.copytree(tiny_run / "run" / "bundle", base)
    other.mkdir()
    shutil.copytree(base / "segmenter", other / "segmenter")
    index = json.loads((base / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps(index | {"_shares": "base", "_licence": "CC BY-NC-SA 4.0"}))
    return base, other


def test_what_is_shared_is_found_and_loaded(pair):
    base, other = pair
    where = component_folders(other)
    assert where["segmenter"].parent == other and where["k2f"].parent == base
    one, two = (KDMPipeline.from_pretrained(folder) for folder in pair)
    assert all(torch.equal(a, b) for a, b in zip(one.k2f.parameters(), two.k2f.parameters(), strict=True))
    assert bundle_hash(base) != bundle_hash(other)


def test_the_licence_is_the_codes_unless_the_index_says_otherwise(pair):
    base, other = pair
    assert bundle_licence(base) == "MIT" and bundle_licence(other) == "CC BY-NC-SA 4.0"
    check = describe_bundle(other)
    assert check.ok and "CC BY-NC-SA 4.0" in check.detail and "base" in check.detail


def test_a_missing_sharer_is_told(pair):
    base, other = pair
    shutil.rmtree(base)
    with pytest.raises(BundleError, match="no bundle 'base'"):
        KDMPipeline.from_pretrained(other)
    assert not describe_bundle(other).ok


def test_a_training_starts_from_a_bundle_that_shares(pair, tiny_run, tmp_path):
    made = train_config(
        tiny_run / "tiny.yaml", stage="k2f", from_bundle=str(pair[1]), out=tmp_path / "run", overrides=["k2f.lr=0.0"]
    )
    assert (made / "k2i").is_dir() and (made / "segmenter").is_dir()
