"""The only sampling loop: a denoiser, latents, a diffusers scheduler; warm starts and what is done between steps are
arguments."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    Scheduler = DDIMScheduler | DPMSolverMultistepScheduler

Denoiser = Callable[[Tensor, Tensor], Tensor]
Revise = Callable[[int, Tensor, Tensor], Tensor]


def timesteps_from(scheduler: "Scheduler", calls: int, strength: float) -> Tensor:
    """Set the scheduler for `calls` network calls from k noising steps of its T, the first at k = strength T (KDM,
    section 3.4).

    The level depends on the strength alone; the calls part it evenly, and are fewer where k is.
    """
    total = scheduler.config["num_train_timesteps"]
    first = min(max(round(strength * total), 1), total)
    steps = np.round(np.linspace(first, 0, min(calls, first) + 1)[:-1]).astype(np.int64) - 1
    if hasattr(scheduler, "set_begin_index"):  # DPM-Solver, which knows any list of steps
        scheduler.set_timesteps(timesteps=steps.tolist())  # type: ignore[call-arg]  # which DDIM's has not
        scheduler.set_begin_index(0)
    else:
        scheduler.timesteps = torch.from_numpy(steps)
    return scheduler.timesteps


def split(scheduler: "Scheduler", latents: Tensor, output: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The x0 prediction and the noise that latents of timestep t are made of, by a network's output for them."""
    alpha = scheduler.alphas_cumprod.to(latents.device)[t]
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    kind = scheduler.config["prediction_type"]
    if kind == "epsilon":
        return (latents - noise * output) / signal, output
    if kind == "v_prediction":
        return signal * latents - noise * output, signal * output + noise * latents
    return output, (latents - signal * output) / noise


def ddim_step(scheduler: "Scheduler", latents: Tensor, output: Tensor, t: Tensor, following: Tensor | None) -> Tensor:
    """From timestep t to `following`, without noise, None: to the x0 prediction (DDIM, Song et al. 2021, Eq. 12).

    That of diffusers takes T // calls steps at a time, whatever its list says, and so can only begin where those lead.
    """
    clean, noise = split(scheduler, latents, output, t)
    if following is None:
        return clean
    alpha = scheduler.alphas_cumprod.to(latents.device)[following]
    return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise


def replace_clean(
    scheduler: "Scheduler", latents: Tensor, output: Tensor, t: Tensor, revise: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Latents and network output of timestep t that hold the same noise estimate and `revise(x0)` for the x0
    prediction.

    A step from them is sqrt(alpha) revise(x0) + sqrt(1 - alpha) noise at the next level (MIDM, Eq. 9).
    """
    alpha = scheduler.alphas_cumprod.to(latents.device)[t]
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    kind = scheduler.config["prediction_type"]
    clean = split(scheduler, latents, output, t)[0]
    moved = revise(clean) - clean
    slope: dict[str, float | Tensor] = {"epsilon": 0.0, "v_prediction": -noise, "sample": 1.0}
    return latents + signal * moved, output + slope[kind] * moved


def sample(
    denoise: Denoiser,
    noise: Tensor,
    scheduler: "Scheduler",
    *,
    calls: int,
    start: Tensor | None = None,
    strength: float = 1.0,
    revise: Revise | None = None,
    only: int | None = None,
) -> Tensor:
    """Denoise to a clean latent; with gradients, for losses on the result, where torch is to keep them.

    denoise(latents (B, ...), timestep) -> the network's output of the same shape. noise: (B, ...) standard normal,
    which makes the result a function of its seeds alone. start: clean latents to noise up to `strength` and begin from
    (the warm start); from pure noise where None. revise(step, timestep, clean) may replace the x0 prediction that the
    step goes on from; at the last step too, where the x0 prediction is the result. only: make so many of the calls and
    return what the next one would be shown. Returns (B, ...) float32.
    """
    steps = timesteps_from(scheduler, calls, strength if start is not None else 1.0)
    latents = noise
    if start is not None:
        latents = scheduler.add_noise(start, noise, steps[:1].expand(len(start)))  # type: ignore[arg-type]  # they are int64
    latents = latents * (scheduler.init_noise_sigma if start is None else 1.0)
    for i, t in enumerate(steps[:only]):
        output = denoise(scheduler.scale_model_input(latents, t), t).float()
        if revise is not None:
            latents, output = replace_clean(scheduler, latents, output, t, partial(revise, i, t))
        if hasattr(scheduler, "set_begin_index"):
            stepped = scheduler.step(output, t, latents)
            assert not isinstance(stepped, tuple)  # which it is where return_dict is False
            latents = stepped.prev_sample
        else:
            latents = ddim_step(scheduler, latents, output, t, steps[i + 1] if i + 1 < len(steps) else None)
    return latents


def build_scheduler(kind: str, prediction_type: str, train_steps: int = 1000) -> "Scheduler":
    """A diffusers scheduler on LDM's schedule, linear in sqrt(beta) from 0.0015 to 0.0195: "ddim" or "dpm++"."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    common = {
        "num_train_timesteps": train_steps,
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "timestep_spacing": "trailing",
    }
    if kind == "ddim":
        return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    return DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero")
