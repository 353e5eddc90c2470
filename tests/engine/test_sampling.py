"""The sampling loop with a denoiser that knows the answer."""

import numpy as np
import pytest
import torch

from echokdm.engine.sampling import build_scheduler, ddim_step, sample, timesteps_from


def oracle(scheduler, clean):
    """The exact noise of a one-point data distribution at `clean`."""

    def denoise(latents, t):
        alpha = scheduler.alphas_cumprod[t]
        return (latents - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    return denoise


@pytest.mark.parametrize("kind", ["ddim", "dpm++"])
@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_a_perfect_denoiser_gives_the_clean_latent(kind, strength):
    scheduler = build_scheduler(kind, "epsilon")
    clean = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    out = sample(oracle(scheduler, clean), noise, scheduler, calls=6, start=clean + 0.2, strength=strength)
    assert (out - clean).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["ddim", "dpm++"])
@pytest.mark.parametrize("calls", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("strength", [0.2, 0.25, 0.3, 0.35, 0.5, 0.75, 1.0])
def test_the_noise_level_is_the_strength_whatever_the_number_of_calls(kind, calls, strength):
    """k of T noising steps are steps 0 to k - 1; the calls part them evenly."""
    scheduler = build_scheduler(kind, "epsilon")
    steps = timesteps_from(scheduler, calls, strength)
    assert len(steps) == calls and int(steps[0]) + 1 == round(1000 * strength)
    apart = -np.diff([*(int(t) + 1 for t in steps), 0])
    assert abs(apart - 1000 * strength / calls).max() <= 1


@pytest.mark.parametrize("kind", ["ddim", "dpm++"])
@pytest.mark.parametrize(("calls", "strength"), [(2, 0.3), (2, 0.75), (4, 0.3), (3, 0.25)])
def test_what_the_network_first_sees_holds_so_much_noise(kind, calls, strength):
    """Measured on the latents themselves: the start's share and the noise's are those of step k - 1."""
    scheduler, seen = build_scheduler(kind, "epsilon"), []
    start, noise = (
        torch.full((1, 1, 64, 64), 5.0),
        torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)),
    )
    sample(
        lambda z, t: (seen.append((int(t), z.clone())), noise)[1],
        noise,
        scheduler,
        calls=calls,
        start=start,
        strength=strength,
    )
    alpha = scheduler.alphas_cumprod[round(1000 * strength) - 1]
    assert seen[0][0] == round(1000 * strength) - 1
    assert torch.allclose(seen[0][1], alpha.sqrt() * start + (1 - alpha).sqrt() * noise, atol=1e-4)
    for t, latents in seen[1:]:  # a denoiser that is right stays on the trajectory, at each call's own level
        alpha = scheduler.alphas_cumprod[t]
        assert torch.allclose(latents, alpha.sqrt() * start + (1 - alpha).sqrt() * noise, atol=1e-3)


def test_a_strength_below_the_calls_makes_fewer_calls():
    assert timesteps_from(build_scheduler("ddim", "epsilon"), 8, 0.003).tolist() == [2, 1, 0]
    assert timesteps_from(build_scheduler("ddim", "epsilon"), 8, 0.0).tolist() == [0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_even_steps_are_those_of_diffusers(prediction):
    """Where T // calls leads from step to step, as in two or four calls from pure noise, both give the same."""
    scheduler = build_scheduler("ddim", prediction)
    g = torch.Generator().manual_seed(0)
    latents, output = torch.randn(2, 3, 4, 4, generator=g), torch.randn(2, 3, 4, 4, generator=g)
    for calls in (2, 4, 5):
        steps = timesteps_from(scheduler, calls, 1.0)
        own = [ddim_step(scheduler, latents, output, t, s) for t, s in zip(steps, [*steps[1:], None], strict=True)]
        scheduler.set_timesteps(calls)
        assert torch.equal(scheduler.timesteps, steps)
        for t, made in zip(steps, own, strict=True):
            assert torch.allclose(scheduler.step(output, t, latents).prev_sample, made, atol=1e-5)
