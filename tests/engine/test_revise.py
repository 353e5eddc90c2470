"""Replacing the x0 prediction between two steps of the sampling loop (MIDM, Eq. 9), and gradients through the loop."""

import pytest
import torch

from echokdm.engine.sampling import build_scheduler, sample

SHAPE = (2, 3, 4, 4)


def normal(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_step_goes_on_from_the_replaced_prediction_with_the_noise_that_was_estimated(prediction):
    scheduler = build_scheduler("ddim", prediction)
    output, start, noise, better = normal(0), normal(1), normal(2), normal(3)
    seen, latents = [], []

    def revise(step, t, clean):
        seen.append(clean)
        return better if step == 0 else clean

    sample(
        lambda z, t: (latents.append(z), output)[1],
        noise,
        scheduler,
        calls=2,
        start=start,
        strength=0.25,
        revise=revise,
    )
    now, later = (float(scheduler.alphas_cumprod[t]) for t in scheduler.timesteps[-2:])
    noisy = now**0.5 * start + (1 - now) ** 0.5 * noise
    if prediction == "epsilon":
        clean, estimate = (noisy - (1 - now) ** 0.5 * output) / now**0.5, output
    elif prediction == "v_prediction":
        clean, estimate = now**0.5 * noisy - (1 - now) ** 0.5 * output, now**0.5 * output + (1 - now) ** 0.5 * noisy
    else:
        clean, estimate = output, (noisy - now**0.5 * output) / (1 - now) ** 0.5
    assert torch.allclose(seen[0], clean, atol=1e-4)
    assert torch.allclose(latents[1], later**0.5 * better + (1 - later) ** 0.5 * estimate, atol=1e-4)


def test_a_prediction_replaced_at_the_last_step_is_the_result():
    wanted = normal(4)
    out = sample(
        lambda z, t: normal(0),
        normal(2),
        build_scheduler("ddim", "epsilon"),
        calls=3,
        start=normal(1),
        strength=0.3,
        revise=lambda step, t, clean: wanted if step == 2 else clean,
    )
    assert torch.allclose(out, wanted, atol=1e-5)


def test_gradients_pass_where_torch_is_to_keep_them():
    start = normal(1).requires_grad_()

    def run(gradients):
        with torch.set_grad_enabled(gradients):
            return sample(
                lambda z, t: 0.1 * z, normal(2), build_scheduler("ddim", "epsilon"), calls=2, start=start, strength=0.25
            )

    assert not run(False).requires_grad
    run(True).sum().backward()
    assert start.grad.abs().min() > 0
