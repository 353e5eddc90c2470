"""The feature net is trained like any method, learns the order of distortions, and what ships has it."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import BundleError, ConfigError
from echokdm.losses.feature_net import SHIPPED, FeatureNet, load_shipped
from echokdm.losses.features import Features
from echokdm.losses.perceptual import Perceptual
from echokdm.methods.base import Request
from echokdm.methods.perceptual import METHOD, PerceptualPipeline
from echokdm.methods.perceptual.data import stated_set
from echokdm.methods.perceptual.scores import distance_table, ladder_distances, monotone_share, rank_correlation
from echokdm.methods.train import check_losses, needed_backbones, read_config, train_config

YAML = """
method: perceptual
name: tiny
size: 40
data: {hearts: 1, procedural: 2, posed: 1, cache: CACHE}
features: {steps: 3, batch: 2, crop: 24, places: 16}
"""


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return stated_set(64)[::4]


def test_it_is_trained_and_loaded_like_any_method(tmp_path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(YAML.replace("CACHE", str(tmp_path / "cache")))
    bundles = [train_config(config, out=tmp_path / name) for name in ("one", "two")]
    weights = [(b / "features" / "diffusion_pytorch_model.safetensors").read_bytes() for b in bundles]
    assert weights[0] == weights[1]
    pipeline = PerceptualPipeline.from_pretrained(bundles[0])
    assert len(pipeline.features.config.scales) == 5 and all(np.isfinite(pipeline.features.config.scales))
    with pytest.raises(ConfigError, match="measures"):
        METHOD.generate(pipeline, Request(torch.zeros(1, 3, 40, 40)))


def test_what_ships_orders_every_kind(pictures: torch.Tensor) -> None:
    distances = ladder_distances(Perceptual("own"), pictures)
    assert distances.shape == (15, 4, 5) and (np.diff(distances.mean(0), axis=1) > 0).all()
    assert (monotone_share(distances) > 0.95).all()
    assert (SHIPPED / "diffusion_pytorch_model.safetensors").stat().st_size < 3e6


def test_what_ships_agrees_with_lpips(pictures: torch.Tensor, squeeze_weights) -> None:
    mine, theirs = (ladder_distances(Perceptual(net), pictures) for net in ("own", "squeeze"))
    assert rank_correlation(mine, theirs) > 0.85


def test_the_table_names_what_it_was_measured_on(pictures: torch.Tensor) -> None:
    table = distance_table(load_shipped()[0], pictures)
    assert table.cell("this net", "blur") and "15 pictures" in table.note


def test_a_moved_pixel_counts_less_than_a_blurred_one(pictures: torch.Tensor) -> None:
    distance = Perceptual("own")
    moved = pictures.roll(1, 3)
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)
    assert float(distance(pictures, moved).mean()) < 0.5 * float(distance(pictures, blurred).mean())
    assert torch.equal(distance(pictures, pictures), torch.zeros(15))


def test_a_mask_restricts_it_and_gradients_reach_the_picture_alone(pictures: torch.Tensor) -> None:
    distance, picture = Perceptual("own"), pictures[:2].clone().requires_grad_()
    other = pictures[:2].clone()
    other[..., 32:] = 0.5
    left = torch.zeros(2, 1, 64, 64)
    left[..., :16] = 1
    whole = distance(picture, other)
    assert (distance(picture, other, left) < 0.7 * whole).all()  # deep stages see far beyond a mask's edge
    assert torch.allclose(distance(picture, other, torch.ones_like(left)), whole, atol=1e-6)
    distance(picture, other).sum().backward()
    assert picture.grad.abs().sum() > 0 and all(p.grad is None for p in distance.parameters())


def test_its_layers_have_the_strides_that_are_named() -> None:
    maps = Features("own", ("relu3_1", "relu1_2", "relu5_1"))(torch.rand(1, 1, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(96, 8, 8), (32, 32, 32), (128, 4, 4)]


def test_a_damaged_install_is_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("echokdm.losses.feature_net.SHIPPED", tmp_path)
    with pytest.raises(BundleError, match="install echokdm again"):
        Perceptual("own")


def test_a_batch_does_not_change_a_distance(pictures: torch.Tensor) -> None:
    net = FeatureNet().eval()
    together = [d.detach() for d in net.differences(pictures[:3], pictures[3:6])]
    alone = [d.detach() for d in net.differences(pictures[1:2], pictures[4:5])]
    assert all(torch.allclose(a[1:2], b, atol=1e-5) for a, b in zip(together, alone, strict=True))


def test_missing_weights_are_said_before_any_work(no_weights, tmp_path) -> None:
    config = tmp_path / "kdm.yaml"
    config.write_text(
        "method: kdm\nname: x\nf2i: {perceptual: vgg, perceptual_weight: 1.0}\nimage_codec: {perceptual: null}\n"
    )
    for dry_run in (True, False):
        with pytest.raises(BundleError, match="vgg16-397923af.pth.*SHA-256 397923af"):
            train_config(config, out=tmp_path / "run", dry_run=dry_run)
    assert not (tmp_path / "run").exists()
    with pytest.raises(BundleError, match="squeezenet1_1-b8a52dc0.pth.*vgg16-397923af.pth.*'own'"):  # all at once
        check_losses(read_config(config, ["k2i.perceptual=squeeze", "k2i.perceptual_weight=1"]))
    check_losses(read_config(config, ["f2i.perceptual_weight=0"]))
    check_losses(read_config(config, ["f2i.steps=0"]))


def test_needed_backbones_of_nested_values() -> None:
    values = {
        "a": {"steps": 3, "backbone": "vgg19"},
        "b": {"steps": 0, "backbone": "squeeze"},
        "losses": {"backbone": "own", "perceptual": 0.1},
        "c": {"perceptual": "alex", "perceptual_weight": 0.0},
        "d": {"perceptual": "squeeze"},
    }
    assert needed_backbones(values) == ["squeeze", "vgg19"]
