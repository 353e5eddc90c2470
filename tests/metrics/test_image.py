"""Scores of pictures: by hand, and blind to what lies outside the mask."""

import numpy as np
import pytest
import torch

from echokdm.metrics.image import image_scores, masked_mean, masked_mse, masked_ssim


@pytest.fixture
def pictures():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 1, 40, 40, generator=g)
    mask = torch.zeros(3, 1, 40, 40, dtype=torch.bool)
    mask[..., 8:32, 8:30] = True
    return a, b, mask


def test_masked_mean_by_hand_and_of_nothing():
    values = torch.tensor([[[[1.0, 2.0], [4.0, 100.0]]]])
    assert float(masked_mean(values, torch.tensor([[[[1, 1], [1, 0]]]]))) == pytest.approx(7 / 3)
    assert torch.isnan(masked_mean(values, torch.zeros(1, 1, 2, 2)))[0]


def test_mse_is_numpys_inside_the_mask(pictures):
    a, b, mask = pictures
    expected = [((a[i] - b[i]).numpy()[mask[i].numpy()] ** 2).mean() for i in range(3)]
    assert np.allclose(masked_mse(a, b, mask), expected, atol=1e-6)


def test_ssim_agrees_with_scikit_image(pictures):
    from skimage.metrics import structural_similarity

    a, b, mask = pictures
    black = [(p * mask)[0, 0].numpy() for p in (a, b)]
    _, full = structural_similarity(
        *black, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert masked_ssim(a, b, mask)[0] == pytest.approx(full[mask[0, 0].numpy()].mean(), abs=1e-4)
    assert masked_ssim(a, a, mask).tolist() == pytest.approx([1, 1, 1])


def test_what_lies_outside_the_mask_does_not_count(pictures):
    a, b, mask = pictures
    lpips = {"l1": lambda x, y, m: masked_mean((x - y).abs(), m)}
    before = image_scores(a, b, mask, lpips)
    after = image_scores(torch.where(mask, a, 0.7), torch.where(mask, b, 0.1), mask, lpips)
    assert set(before) == {"MSE_img", "SSIM", "LPIPS_l1"}
    assert all(np.array_equal(before[k], after[k]) for k in before)
