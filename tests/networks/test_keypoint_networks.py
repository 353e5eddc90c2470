"""Key-points as centres of mass, and the coarse motion regressed from them (Liu et al., Eq. 1 to 3)."""

import math

import pytest
import torch

from echokdm.networks.hourglass import Hourglass
from echokdm.networks.keypoint_detector import KeypointDetector, soft_argmax
from echokdm.networks.keypoint_motion import KeypointMotion, coarse_motion, displacements, gaussian_maps


def test_soft_argmax_by_hand():
    logits = torch.full((1, 1, 3, 4), -9.0)
    logits[0, 0, 1, 0], logits[0, 0, 2, 3] = 0.0, 0.1 * math.log(3)  # weights 1 and 3 at temperature 0.1
    assert soft_argmax(logits, 0.1)[0, 0].tolist() == pytest.approx([(0 + 3 * 3) / 4, (1 + 3 * 2) / 4], abs=1e-4)


def test_soft_argmax_is_a_slow_loop():
    logits = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    found = soft_argmax(logits, 0.5)
    for b in range(2):
        for k in range(3):
            weight = {(x, y): math.exp(float(logits[b, k, y, x]) / 0.5) for x in range(7) for y in range(5)}
            total = sum(weight.values())
            want = [sum(w * at[axis] for at, w in weight.items()) / total for axis in (0, 1)]
            assert found[b, k].tolist() == pytest.approx(want, abs=1e-4)


def test_the_detector_answers_in_pixels_of_the_picture():
    detector = KeypointDetector(points=4, downscale=4, widths=(8, 8))
    torch.nn.init.zeros_(detector.head.weight)
    torch.nn.init.zeros_(detector.head.bias)  # all places alike: the centre
    found = detector(torch.rand(2, 3, 64, 32))
    assert found.shape == (2, 4, 2) and torch.allclose(found, torch.tensor([15.5, 31.5]).expand(2, 4, 2), atol=1e-3)


def test_displacements_start_with_the_background():
    source, driving = torch.tensor([[[5.0, 7.0], [1.0, 2.0]]]), torch.tensor([[[4.0, 9.0], [1.0, 0.0]]])
    assert displacements(source, driving).tolist() == [[[0, 0], [1, -2], [0, 2]]]


def test_coarse_motion_is_a_slow_loop():
    g = torch.Generator().manual_seed(1)
    alpha, moves = torch.rand(2, 4, 3, 5, generator=g), torch.randn(2, 4, 2, generator=g)
    flow = coarse_motion(alpha, moves)
    for b in range(2):
        for y in range(3):
            for x in range(5):
                want = sum(alpha[b, i, y, x] * moves[b, i] for i in range(4))
                assert torch.allclose(flow[b, :, y, x], want, atol=1e-6)


def test_gaussians_by_hand():
    maps = gaussian_maps(torch.tensor([[[2.0, 1.0]]]), 4, 5, 1.5)
    assert float(maps[0, 0, 1, 2]) == 1 and float(maps[0, 0, 3, 3]) == pytest.approx(math.exp(-(1 + 4) / (2 * 1.5**2)))


def test_a_trusted_keypoint_shifts_the_whole_picture():
    """Coefficients of one key-point alone make T(0) its displacement, in px of the flow's own size."""
    motion = KeypointMotion(points=2, downscale=2, widths=(8, 8))
    alpha = torch.zeros(1, 3, 16, 16)
    alpha[:, 2] = 1
    begin, end = torch.tensor([[[3.0, 3.0], [20.0, 10.0]]]), torch.tensor([[[9.0, 9.0], [14.0, 12.0]]])
    flow = motion.coarse(alpha, begin, end, (32, 32))
    assert torch.allclose(
        flow, torch.tensor([6.0, -2.0]).view(1, 2, 1, 1) * 15 / 31 * torch.ones(1, 2, 16, 16), atol=1e-5
    )


def test_coefficients_sum_to_one_and_no_motion_is_no_flow():
    motion = KeypointMotion(points=5, downscale=2, widths=(8, 16))
    g = torch.Generator().manual_seed(2)
    image, points = torch.rand(2, 3, 32, 32, generator=g), torch.rand(2, 5, 2, generator=g) * 31
    alpha, confidence = motion(image, points, points)
    assert alpha.shape == (2, 6, 16, 16) and confidence.shape == (2, 1, 16, 16)
    assert torch.allclose(alpha.sum(1), torch.ones(2, 16, 16), atol=1e-5)
    assert math.exp(-10) < confidence.min() and confidence.max() < math.exp(10)
    assert motion.coarse(alpha, points, points, (32, 32)).abs().max() == 0


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 24)])
def test_an_hourglass_keeps_the_size(widths):
    body = Hourglass(3, widths)
    image = torch.rand(1, 3, 16, 24)
    out = body(image)
    assert out.shape == (1, body.out_channels, 16, 24) and torch.equal(out[:, -3:], image)
