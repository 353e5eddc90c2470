"""Sampling correctness, by a slow loop over places."""

import math

import pytest
import torch

from echokdm.losses.matching import best_similarity, sampling_correctness


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_correctness_equals_a_loop_over_places():
    g = torch.Generator().manual_seed(0)
    source, target = (torch.rand(2, 5, 4, 6, generator=g) for _ in range(2))
    flow = torch.randint(-2, 3, (2, 2, 4, 6), generator=g).float()  # whole pixels: no interpolation in the loop
    total = 0.0
    for b in range(2):
        for y in range(4):
            for x in range(6):
                fetched = source[
                    b, :, min(max(y + int(flow[b, 1, y, x]), 0), 3), min(max(x + int(flow[b, 0, y, x]), 0), 5)
                ]
                best = max(cosine(source[b, :, j, i], target[b, :, y, x]) for j in range(4) for i in range(6))
                total += math.exp(-cosine(fetched, target[b, :, y, x]) / best)
    assert sampling_correctness(source, target, flow).item() == pytest.approx(total / 48, rel=1e-5)


def test_the_right_flow_scores_least_at_any_resolution_of_the_flow():
    """The target is the source moved 2 px to the right, so 2 px to the left is where to fetch; 4 px for a flow twice
    the size."""
    source = torch.rand(1, 8, 12, 13, generator=torch.Generator().manual_seed(1))
    target = source.roll(2, 3)
    scores = {
        dx: sampling_correctness(
            source, target, torch.tensor([float(dx), 0.0]).view(1, 2, 1, 1).expand(1, 2, 12, 13)
        ).item()
        for dx in range(-3, 4)
    }
    assert min(scores, key=scores.get) == -2
    inside = sampling_correctness(source[..., :-2], target[..., 2:], torch.zeros(1, 2, 12, 11))
    assert inside.item() == pytest.approx(math.exp(-1), rel=1e-5)  # each place finds its best
    doubled = torch.tensor([-2 * 24 / 12, 0.0]).view(1, 2, 1, 1).expand(1, 2, 23, 25)
    assert sampling_correctness(source, target, doubled).item() == pytest.approx(scores[-2], rel=1e-5)


def test_chunks_change_the_memory_alone():
    source, target = torch.rand(2, 1, 6, 9, 7).unbind(0)
    assert torch.allclose(best_similarity(source, target, 5), best_similarity(source, target), atol=1e-6)
