"""Distances of features and of Gram matrices (residual flow, Eq. 9, 10), by hand."""

import pytest
import torch

from echokdm.losses.style import feature_distance, gram, style_distance


def test_gram_matrix_by_a_loop():
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = gram(features)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                by_hand = sum(
                    float(features[b, i, y, x] * features[b, j, y, x]) for y in range(4) for x in range(5)
                ) / (3 * 4 * 5)
                assert found[b, i, j].item() == pytest.approx(by_hand, abs=1e-6)


def test_style_forgets_places_and_the_distance_of_features_does_not():
    features = [torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    moved = [f.flip(-1) for f in features]
    assert style_distance(moved, features).item() == pytest.approx(0, abs=1e-7)
    by_hand = sum(float((a - b).abs().sum()) / a.numel() for a, b in zip(moved, features, strict=True))
    assert feature_distance(moved, features).item() == pytest.approx(by_hand, rel=1e-5) and by_hand > 0.1
    doubled = [2 * f for f in features]  # Gram matrices four times as large
    by_hand = sum(float(3 * gram(f).abs().mean()) for f in features)
    assert style_distance(doubled, features).item() == pytest.approx(by_hand, rel=1e-5)
