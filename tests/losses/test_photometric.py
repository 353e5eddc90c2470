"""Photometric distances: zero for equal images, right values by hand, blind where they should be."""

import pytest
import torch

from echokdm.losses.photometric import census, census_distance, l1_distance, masked_mean, ssim_distance


@pytest.fixture
def image():
    return torch.rand(2, 1, 24, 20, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("distance", [census_distance, ssim_distance, l1_distance])
def test_equal_images_have_no_distance(image, distance):
    assert distance(image, image).abs().max() < 1e-6
    assert distance(image, image.flip(3)).mean() > 0.1


@pytest.mark.parametrize("radius", [1, 3])
def test_census_ignores_gain_and_offset_unlike_l1(image, radius):
    other = 0.7 * image + 0.1
    assert census_distance(image, other, radius).mean() < 0.05
    assert l1_distance(image, other).mean() > 0.05


def test_census_of_a_step_edge():
    image = torch.zeros(1, 1, 5, 6)
    image[..., 3:] = 1.0
    transform = census(image, radius=1)
    assert transform.shape == (1, 8, 5, 6)
    right = transform[0, 4]  # neighbours in rows from the top left, the centre left out: index 4 is the right one
    assert right[2, 2] == pytest.approx(1, abs=1e-3) and right[2, 1] == 0 and right[2, 3] == 0
    assert transform[0, 3][2, 3] == pytest.approx(-1, abs=1e-3)  # index 3: the left one


def test_ssim_distance_of_constant_images_by_hand():
    a, b = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.6)
    ssim = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert torch.allclose(ssim_distance(a, b), torch.full((1, 1, 8, 8), (1 - ssim) / 2), atol=1e-3)


def test_ssim_distance_reaches_one_half_for_independent_noise():
    g = torch.Generator().manual_seed(1)
    a, b = torch.rand(1, 1, 64, 64, generator=g), torch.rand(1, 1, 64, 64, generator=g)
    assert ssim_distance(a, b, radius=5).mean() == pytest.approx(0.5, abs=0.05)


def test_masked_mean_counts_only_inside():
    values = torch.tensor([[1.0, 5.0]]).view(1, 1, 1, 2)
    mask = torch.tensor([[1.0, 0.0]]).view(1, 1, 1, 2)
    assert masked_mean(values, mask) == 1
    assert masked_mean(values, torch.zeros_like(mask)) == 0
    assert masked_mean(values.expand(1, 2, 1, 2), mask) == 1
