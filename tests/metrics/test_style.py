"""Cosines of features, and the sliced Wasserstein distance's plain properties."""

import pytest
import torch

from echokdm.losses.features import Features
from echokdm.metrics.sliced_wasserstein import laplacian_pyramid, sliced_wasserstein
from echokdm.metrics.style import STYLE_LAYERS, semantic_consistency, style_relevance, style_scores


def test_style_forgets_places_and_meaning_does_not():
    a = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])  # (1, 2, 1, 2): two places, whose vectors are orthogonal
    b = a.flip(3)
    assert style_relevance(a, b).item() == pytest.approx(1.0)
    assert semantic_consistency(a, b).item() == pytest.approx(0.0, abs=1e-6)
    assert semantic_consistency(a, a).item() == pytest.approx(1.0)
    assert style_relevance(a, torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])).item() == pytest.approx(0.5**0.5, abs=1e-6)


def test_scores_of_pictures(squeeze_weights):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    scores = style_scores(Features("squeeze", STYLE_LAYERS), images, images.flip(3), images)
    assert scores["semantic"].shape == (3,) and (scores["semantic"] > 0.999).all()
    assert (scores["colour"] > 0.99).all() and (scores["texture"] > 0.9).all()


def test_the_pyramid_adds_up_to_the_picture():
    image = torch.rand(2, 3, 64, 64)
    levels = laplacian_pyramid(image)
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    whole = levels[-1]
    for level in reversed(levels[:-1]):
        whole = level + torch.nn.functional.interpolate(whole, level.shape[2:], mode="bilinear", align_corners=False)
    assert torch.allclose(whole, image, atol=1e-6)


def test_a_set_is_at_no_distance_from_itself_in_any_order_and_blur_is_far():
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    assert sliced_wasserstein(images, images.flip(0)) < 1e-3 < 5 < sliced_wasserstein(images, blurred)
