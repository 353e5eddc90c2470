"""FID, FVD, AED, CSIM, MS-SSIM and whole-picture scores against values computed by hand."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from echokdm.core.errors import GeometryError
from echokdm.metrics.distribution import PooledFeatures, fid, frechet_distance, fvd
from echokdm.metrics.identity import average_euclidean_distance, cosine_similarity
from echokdm.metrics.image import frame_scores, ms_ssim


def test_frechet_distance_by_hand():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(60, 4, generator=g), torch.randn(50, 4, generator=g) * 1.5 + 0.3
    ca, cb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    by_hand = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    assert frechet_distance(a, b) == pytest.approx(by_hand, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_fid_and_fvd_grow_with_noise_and_say_how_they_were_measured(squeeze_weights):
    g = torch.Generator().manual_seed(0)
    clips = torch.rand(12, 3, 3, 1, 1, generator=g).expand(-1, -1, -1, 40, 40)
    noisy = [(clips + s * torch.randn(clips.shape, generator=g)).clamp(0, 1) for s in (0.02, 0.2)]
    extractor = PooledFeatures()
    for score, sets in ((fvd, (clips, *noisy)), (fid, [c.flatten(0, 1) for c in (clips, *noisy)])):
        slight, strong = (score(sets[0], made, extractor) for made in sets[1:])
        assert 0 < slight.value < strong.value
        assert "squeeze relu5_1" in slight.how and "40 x 40 px" in slight.how


def test_identity_scores_by_hand():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.0]])
    assert average_euclidean_distance(a, b, lambda v: v)[0] == pytest.approx(10**0.5)
    assert cosine_similarity(a, b, lambda v: v)[0] == pytest.approx(0.8)


def test_whole_picture_scores_by_hand():
    truth = torch.full((2, 3, 24, 24), 0.5)
    made = truth.clone()
    made[1, 0] += 0.3
    scores = frame_scores(made, truth, {})
    assert scores["L1"].tolist() == pytest.approx([0, 0.1], abs=1e-6)
    assert scores["PSNR"].tolist() == pytest.approx([100, -10 * np.log10(0.03)], abs=1e-3)
    assert scores["SSIM"][0] == pytest.approx(1) and set(scores) == {"L1", "PSNR", "SSIM"}


def test_ms_ssim_of_noise_and_of_too_small_pictures():
    image = torch.rand(1, 1, 176, 176, generator=torch.Generator().manual_seed(0))
    assert ms_ssim(image, image)[0] == pytest.approx(1) and ms_ssim(image, 1 - image)[0] < 0.5
    with pytest.raises(GeometryError, match="161 px"):
        ms_ssim(image[..., :64, :64], image[..., :64, :64])
