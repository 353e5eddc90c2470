"""The denoiser stages' arithmetic, with networks that know the answer."""

import pytest
import torch

from echokdm.engine.sampling import build_scheduler
from echokdm.methods.kdm.denoiser import predicted_clean, psi_strides


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_latent_is_recovered_from_a_perfect_output(prediction):
    scheduler = build_scheduler("ddim", prediction)
    g = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(4, 3, 5, 5, generator=g), torch.randn(4, 3, 5, 5, generator=g)
    t = torch.tensor([10, 300, 600, 900])
    noisy = scheduler.add_noise(clean, noise, t)
    output = {"epsilon": noise, "sample": clean, "v_prediction": scheduler.get_velocity(clean, noise, t)}[prediction]
    assert torch.allclose(predicted_clean(scheduler.alphas_cumprod[t], noisy, output, prediction), clean, atol=1e-3)


@pytest.mark.parametrize("compression", [2, 4, 8])
def test_psi_brings_conditions_to_the_latents_size(compression):
    from echokdm.networks.conditioned_unet import ConditionEncoder

    encoder = ConditionEncoder(5, 16, psi_strides(compression))
    assert encoder(torch.zeros(1, 5, 112, 112)).shape == (1, 16, 112 // compression, 112 // compression)
