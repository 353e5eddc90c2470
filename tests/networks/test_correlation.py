"""The cost volume against its definition, written out."""

import pytest
import torch

from echokdm.networks.correlation import local_correlation


def by_definition(first, second, radius):
    B, C, H, W = first.shape
    out = torch.zeros(B, (2 * radius + 1) ** 2, H, W, dtype=first.dtype)
    for k in range((2 * radius + 1) ** 2):
        dy, dx = k // (2 * radius + 1) - radius, k % (2 * radius + 1) - radius
        for y in range(max(0, -dy), min(H, H - dy)):
            for x in range(max(0, -dx), min(W, W - dx)):
                out[:, k, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).mean(1)
    return out


@pytest.mark.parametrize("shape, radius", [((2, 3, 5, 7), 2), ((1, 4, 2, 2), 4), ((1, 1, 6, 4), 1)])
def test_equals_the_definition_with_gradients(shape, radius):
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = by_definition(a, b, radius)
    found = local_correlation(a, b, radius)
    assert torch.allclose(found, expected)
    weight = torch.randn(found.shape, generator=g, dtype=torch.float64)
    for x, y in zip(
        torch.autograd.grad((found * weight).sum(), (a, b)),
        torch.autograd.grad((expected * weight).sum(), (a, b)),
        strict=True,
    ):
        assert torch.allclose(x, y)


def test_peak_tells_a_known_translation():
    image = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(1))
    moved = torch.roll(image, (1, -3), (2, 3))  # moved(p + (-3, 1)) = image(p)
    best = local_correlation(image, moved, 4)[0, :, 4:8, 4:8].mean((1, 2)).argmax().item()
    assert (best % 9 - 4, best // 9 - 4) == (-3, 1)
