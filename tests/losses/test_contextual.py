"""The contextual similarity against a slow loop of its four equations."""

import math

import pytest
import torch

from echokdm.losses.contextual import contextual_loss, contextual_similarity


def by_hand(x, y, h):
    """x, y: lists of feature vectors."""
    mean = sum(y) / len(y)
    x, y = [v - mean for v in x], [v - mean for v in y]
    d = [[1 - float(a @ b / (a.norm() * b.norm())) for b in y] for a in x]
    weights = [[math.exp((1 - v / (min(row) + 1e-5)) / h) for v in row] for row in d]
    share = [[w / sum(row) for w in row] for row in weights]
    return sum(max(row[j] for row in share) for j in range(len(y))) / len(y)


def test_similarity_of_two_small_maps():
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 4, 2, 3, generator=g), torch.randn(2, 4, 3, 2, generator=g)
    found = contextual_similarity(a, b, 0.5)
    for n in range(2):
        expected = by_hand(list(a[n].flatten(1).T), list(b[n].flatten(1).T), 0.5)
        assert found[n].item() == pytest.approx(expected, rel=1e-3)


def test_places_do_not_matter_and_other_looks_do():
    g = torch.Generator().manual_seed(2)
    image, other = torch.randn(1, 8, 6, 6, generator=g), torch.randn(1, 8, 6, 6, generator=g)
    assert contextual_similarity(image.roll(2, 3), image) > 0.99 > 2 * contextual_similarity(other, image)


def test_loss_is_minus_the_log_of_the_weighted_sum_over_layers():
    g = torch.Generator().manual_seed(3)
    first, second = (list(torch.randn(2, 1, 4, 3, 3, generator=g)) for _ in range(2))
    each = [float(contextual_similarity(a, b)) for a, b in zip(first, second, strict=True)]
    assert float(contextual_loss(first, second)) == pytest.approx(-math.log(sum(each) / 2), rel=1e-5)
    assert float(contextual_loss(first, second, [3.0, 1.0])) == pytest.approx(
        -math.log((3 * each[0] + each[1]) / 4), rel=1e-5
    )


def test_wide_maps_are_averaged_down():
    coarse = torch.randn(1, 4, 64, 8, generator=torch.Generator().manual_seed(4))
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(contextual_loss([fine], [other]), contextual_loss([coarse], [other]), rtol=1e-4)
