"""Bundles that are damaged or hostile: one sentence, never weights that were drawn."""

import json
import logging
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from echokdm.core.errors import BundleError, ConfigError
from echokdm.core.schemas import schema
from echokdm.methods.bundle import bundle_hash, component_folders, find_bundle
from echokdm.methods.kdm.pipeline import KDMPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def bundle(tiny_run, tmp_path):
    """A tiny trained bundle that may be damaged."""
    shutil.copytree(tiny_run / "run" / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def change_tensors(bundle, change):
    file = bundle / "of_net" / WEIGHTS if (bundle / "of_net").is_dir() else bundle / "k2f" / WEIGHTS
    tensors = load_file(file)
    change(tensors, sorted(tensors)[0])
    save_file(tensors, file, metadata={"format": "pt"})


def drop(tensors, name):
    del tensors[name]


def add(tensors, name):
    tensors["another"] = torch.zeros(3)


def poison(tensors, name):
    tensors[name] = torch.full_like(tensors[name], float("nan"))


def reshape(tensors, name):
    tensors[name] = torch.zeros(7, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, "lack 1"),
        (add, "beside what is asked for, 1"),
        (poison, "not numbers"),
        (reshape, "not those of its configuration"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(bundle, change, words):
    """And diffusers' log, which quotes the folder, says nothing of it."""
    change_tensors(bundle, change)
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append
    logging.getLogger("diffusers").addHandler(handler)
    try:
        with pytest.raises(BundleError, match=words):
            KDMPipeline.from_pretrained(bundle)
    finally:
        logging.getLogger("diffusers").removeHandler(handler)
    assert not said


def test_pickles_are_not_looked_for(bundle):
    weights = bundle / "k2f" / WEIGHTS
    torch.save(load_file(weights), bundle / "k2f" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(BundleError, match="k2f"):
        KDMPipeline.from_pretrained(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": "AutoencoderKL"},
        {"chanels": 3},
        *({"latent_channels": value} for value in (10**9, 60_000, "many", float("nan"), None)),
    ],
)
def test_odd_and_hostile_configurations_are_refused(bundle, change):
    path = bundle / "k2f" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BundleError, match="k2f") as caught:
        KDMPipeline.from_pretrained(bundle)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"_class_name": 3}',
        "[" * 5000,
        '{"_class_name": "KDMPipeline", "schema": "learned-99999999999"}',
        '{"_class_name": "KDMPipeline", "schema": [], "confidence": 5}',
        '{"_class_name": "KDMPipeline", "confidence": {"odd": 1}}',
    ],
)
def test_damaged_indexes_are_refused(bundle, text):
    (bundle / "model_index.json").write_text(text)
    with pytest.raises((BundleError, ConfigError)):
        KDMPipeline.from_pretrained(bundle)


@pytest.mark.parametrize("shares", ["bundle", "../bundle", "/", "x" * 300, 7])
def test_a_bundle_that_shares_with_itself_or_elsewhere_is_refused(bundle, shares):
    index = json.loads((bundle / "model_index.json").read_text())
    (bundle / "model_index.json").write_text(json.dumps(index | {"_shares": shares}))
    with pytest.raises(BundleError):
        component_folders(bundle)


def test_a_pipe_among_the_weights_is_refused_at_once(bundle):
    (bundle / "k2f" / WEIGHTS).unlink()
    os.mkfifo(bundle / "k2f" / WEIGHTS)
    for read in (KDMPipeline.from_pretrained, bundle_hash):
        with pytest.raises(BundleError, match="pipe"):
            read(bundle)


def test_the_fingerprint_covers_every_file(bundle):
    seen = {bundle_hash(bundle)}
    for file in ("config.yaml", "model_index.json", "k2f/config.json", f"k2f/{WEIGHTS}", "k2f/another.bin"):
        path = bundle / file
        path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")
        seen.add(bundle_hash(bundle))
    assert len(seen) == 6


def test_a_bundle_that_is_not_there_is_named_as_given(tmp_path):
    for name in (tmp_path / "runs" / "mine" / "bundle", "runs/mine/bundle"):
        with pytest.raises(BundleError) as caught:
            find_bundle(name)
        assert f"'{name}'" in str(caught.value) and "train it first" in str(caught.value)
    with pytest.raises(ConfigError, match="1 to 1000"):
        schema("learned-999999999")
