"""The sampling loop with a denoiser that knows the answer."""

import pytest
import torch

from echokdm.engine.sampling import build_scheduler, sample, timesteps_from


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


@pytest.mark.parametrize(("calls", "strength"), [(4, 1.0), (8, 0.5), (100, 0.5), (5, 0.25)])
def test_calls_are_counted_and_start_at_the_asked_noise_level(calls, strength):
    scheduler = build_scheduler("ddim", "epsilon")
    steps = timesteps_from(scheduler, calls, strength)
    assert len(steps) == calls
    assert abs(int(steps[0]) / 1000 - strength) < 0.03


def test_the_hook_may_replace_the_latents():
    scheduler = build_scheduler("ddim", "epsilon")
    seen = []
    out = sample(lambda z, t: torch.zeros_like(z), torch.ones(1, 1, 2, 2), scheduler, calls=3,
                 hook=lambda i, t, z: (seen.append(i), torch.full_like(z, 7.0))[1])
    assert seen == [0, 1, 2] and (out == 7).all()
