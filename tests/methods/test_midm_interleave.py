"""MIDM's course of matching and denoising against the equations written out, with networks that are plain functions."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from echokdm.engine.sampling import build_scheduler
from echokdm.methods.midm.config import MatchingConfig
from echokdm.methods.midm.interleave import Networks, interleave
from echokdm.methods.midm.stages import domain_loss, noise_loss, warp_loss
from echokdm.ops.matching import correlation, cycle_confidence, soft_warp

SIZE = (4, 5)
CALLS = 5  # whose steps, of 50, are whole numbers


def normal(seed, channels=3):
    return torch.randn(2, channels, *SIZE, generator=torch.Generator().manual_seed(seed))


CONDITION, EXEMPLAR, NOISE = normal(1), normal(2), normal(3)


def matcher(role, latent, condition=None):
    """Features that are the latent itself; of an estimate, with the condition mixed in."""
    return latent + 0.5 * condition if role == "estimate" else latent


def unet(noisy, t):
    return SimpleNamespace(sample=0.3 * noisy + 0.1)


NETWORKS = Networks(matcher, unet, build_scheduler("ddim", "epsilon"), nullcontext)


def run(**options):
    how = MatchingConfig(**{"temperature": 0.2, "threshold": 0.3, "calls": CALLS, **options})
    scheduler = build_scheduler("ddim", "epsilon")
    course = interleave(Networks(matcher, unet, scheduler, nullcontext), CONDITION, EXEMPLAR, NOISE, how)
    return course, [float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps[-CALLS:]]


@pytest.mark.parametrize(("rematch", "masked"), [(True, True), (True, False), (False, True)])
def test_the_whole_course_is_equations_5_to_11(rematch, masked):
    course, alphas = run(rematch=rematch, masked=masked)
    warped = soft_warp(correlation(CONDITION, EXEMPLAR), EXEMPLAR, 0.2, SIZE)  # Eq. 5, 6
    assert torch.allclose(course.warps[0], warped)
    r = alphas[0] ** 0.5 * warped + (1 - alphas[0]) ** 0.5 * NOISE  # Eq. 7, n = N
    for n in range(CALLS):
        estimate = 0.3 * r + 0.1
        clean = (r - (1 - alphas[n]) ** 0.5 * estimate) / alphas[n] ** 0.5  # Eq. 3
        assert torch.allclose(course.noises[n], estimate, atol=1e-4)
        if n == CALLS - 1:  # Eq. 7, n = 0: the last prediction is the result
            assert torch.allclose(course.latent, clean, atol=1e-4)
            break
        if rematch:
            scores = correlation(clean + 0.5 * CONDITION, EXEMPLAR)  # Eq. 8
            mask = cycle_confidence(scores, 0.2, SIZE, SIZE, 0.3) if masked else 1.0  # Eq. 10
            # Eq. 11; Eq. 9 where nothing is masked
            clean = mask * soft_warp(scores, EXEMPLAR, 0.2, SIZE) + (1 - mask) * clean
        r = alphas[n + 1] ** 0.5 * clean + (1 - alphas[n + 1]) ** 0.5 * estimate
    assert len(course.warps) == (CALLS if rematch else 1) and len(course.confidences) == (
        CALLS - 1 if rematch and masked else 0
    )
    if course.confidences:
        assert 0 < torch.cat(course.confidences).mean() < 1  # the mask does something here


def test_cycles_take_each_warp_back_onto_the_exemplar():
    course, _ = run()
    assert len(course.cycles) == len(course.warps)
    back = soft_warp(course.scores.transpose(1, 2), course.warps[-1], 0.2, SIZE)
    assert torch.allclose(course.cycles[-1], back)
    expected = sum(float((c - EXEMPLAR).abs().mean()) for c in course.cycles)  # Eq. 13
    assert warp_loss(course.cycles, EXEMPLAR).item() == pytest.approx(expected, rel=1e-5)


def test_noise_level_sets_the_start_and_without_the_denoiser_the_warp_is_the_result():
    assert run(strength=0.35)[1][0] < run(strength=0.2)[1][0]  # more noise, less signal
    course = interleave(NETWORKS, CONDITION, EXEMPLAR, NOISE, MatchingConfig(), diffuse=False)
    assert torch.equal(course.latent, course.warps[0]) and not course.noises


def test_flow_says_where_the_warp_fetched_from():
    exemplar = normal(5, channels=16)  # wide enough for no two places to be alike
    course = interleave(
        NETWORKS, exemplar.roll(1, 3), exemplar, exemplar, MatchingConfig(temperature=0.01), diffuse=False
    )
    flow = course.flow(0.01)[:, :, :, 1:]
    assert torch.allclose(flow[:, 0], torch.tensor(-1.0), atol=0.05) and torch.allclose(
        flow[:, 1], torch.tensor(0.0), atol=0.05
    )


def test_domain_loss_compares_directions_and_noise_loss_sums_over_calls():
    a, b = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    assert domain_loss(a, b).item() == pytest.approx((0.6 + 0.2) / 2)  # Eq. 12, of (0.6, 0.8) and (0, 1)
    assert domain_loss(a, 7 * a).item() == pytest.approx(0, abs=1e-6)
    estimates = [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])]
    assert noise_loss(estimates, torch.tensor([0.0, 0.0])).item() == pytest.approx(2.5 + 0.5)  # Eq. 17
