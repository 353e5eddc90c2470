"""Eq. 5, 6 and 10 of MIDM against slow loops, and a shift whose matches are known."""

import math

import pytest
import torch

from echokdm.ops.matching import correlation, cycle_confidence, cycle_distance, matched_positions, soft_warp


def maps(*shapes):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=g) for shape in shapes]


@pytest.mark.parametrize("centred", [False, True])
def test_correlation_is_the_cosine_of_every_pair(centred):
    a, b = maps((2, 5, 2, 3), (2, 5, 4, 2))
    scores = correlation(a, b, centred)
    assert scores.shape == (2, 6, 8)
    for n in range(2):
        for u in range(6):
            for v in range(8):
                x, y = a[n, :, u // 3, u % 3], b[n, :, v // 2, v % 2]
                if centred:
                    x, y = x - x.mean(), y - y.mean()
                assert scores[n, u, v].item() == pytest.approx(float(x @ y / (x.norm() * y.norm())), abs=1e-5)


def test_soft_warp_is_the_softmax_mean_over_all_places():
    scores, values = maps((1, 6, 8), (1, 3, 4, 2))
    warped = soft_warp(scores, values, 0.3, (2, 3))
    for u in range(6):
        weight = [math.exp(float(scores[0, u, v]) / 0.3) for v in range(8)]
        for c in range(3):
            expected = sum(w * float(values[0, c, v // 2, v % 2]) for v, w in enumerate(weight)) / sum(weight)
            assert warped[0, c, u // 3, u % 3].item() == pytest.approx(expected, abs=1e-5)


def test_a_low_temperature_fetches_what_a_shift_left_behind():
    features = maps((1, 16, 5, 7))[0]
    moved = features.roll((1, 2), (2, 3))  # what is at (y, x) came from (y - 1, x - 2)
    scores = correlation(moved, features)
    assert torch.allclose(soft_warp(scores, features, 0.01, (5, 7)), moved, atol=1e-3)
    at = matched_positions(scores, 0.01, (5, 7), (5, 7))
    assert torch.allclose(at[0, :, 3, 4], torch.tensor([2.0, 2.0]), atol=1e-2)  # x first
    assert (cycle_distance(scores, 0.01, (5, 7), (5, 7)) < 1e-3).all()


def test_a_place_that_two_match_to_is_trusted_by_the_one_it_matches_back():
    scores = torch.full((1, 3, 3), -1.0)
    scores[0, 0, 0], scores[0, 1, 1], scores[0, 2, 0] = 1.0, 1.0, 0.5  # the third place's match belongs to the first
    distance = cycle_distance(scores, 0.01, (1, 3), (1, 3))
    assert torch.allclose(distance.flatten(), torch.tensor([0.0, 0.0, 4.0]), atol=1e-3)  # from 1 to -1, squared
    assert cycle_confidence(scores, 0.01, (1, 3), (1, 3), 0.1).flatten().tolist() == [1, 1, 0]
    pooled = cycle_confidence(scores, 0.01, (1, 3), (1, 3), 1.5, pool=3)  # means 0, 4 / 3, 2
    assert pooled.flatten().tolist() == [1, 1, 0]


def test_precision_does_not_follow_autocast():
    a, b = maps((1, 8, 3, 3), (1, 8, 3, 3))
    with torch.autocast("cpu", torch.bfloat16):
        scores = correlation(a.bfloat16(), b.bfloat16())
    assert scores.dtype == torch.float32
    assert torch.equal(scores, correlation(a.bfloat16().float(), b.bfloat16().float()))
