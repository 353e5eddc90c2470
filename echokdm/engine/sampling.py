"""The only sampling loop: a denoiser, latents, a diffusers scheduler; warm starts and hooks are arguments."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    Scheduler = DDIMScheduler | DPMSolverMultistepScheduler

Denoiser = Callable[[Tensor, Tensor], Tensor]
Hook = Callable[[int, Tensor, Tensor], Tensor]


def timesteps_from(scheduler: "Scheduler", calls: int, strength: float) -> Tensor:
    """Set the scheduler for `calls` network calls that start at noise level `strength` (k / T in KDM, section 3.4)."""
    total = max(calls, round(calls / max(strength, 1e-6)))
    scheduler.set_timesteps(total)
    first = max(total - calls, 0)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return scheduler.timesteps[first:]


@torch.no_grad()
def sample(denoise: Denoiser, noise: Tensor, scheduler: "Scheduler", *, calls: int, start: Tensor | None = None, strength: float = 1.0,
           hook: Hook | None = None) -> Tensor:
    """Denoise to a clean latent.

    denoise(latents (B, ...), timestep) -> the network's output of the same shape. noise: (B, ...) standard normal,
    which makes the result a function of its seeds alone. start: clean latents to noise up to `strength` and begin
    from (the warm start); from pure noise where None. hook(step, timestep, latents) may replace the latents after
    each step. Returns (B, ...) float32.
    """
    steps = timesteps_from(scheduler, calls, strength if start is not None else 1.0)
    latents = noise if start is None else scheduler.add_noise(start, noise, steps[:1].expand(len(start)))
    latents = latents * (scheduler.init_noise_sigma if start is None else 1.0)
    for i, t in enumerate(steps):
        output = denoise(scheduler.scale_model_input(latents, t), t).float()
        stepped = scheduler.step(output, t, latents)
        latents = stepped.prev_sample
        if i == len(steps) - 1:  # DDIM's rounded spacing can leave a rest of noise at its last step
            latents = getattr(stepped, "pred_original_sample", latents)
        if hook is not None:
            latents = hook(i, t, latents)
    return latents


def build_scheduler(kind: str, prediction_type: str, train_steps: int = 1000) -> "Scheduler":
    """A diffusers scheduler on LDM's schedule, linear in sqrt(beta) from 0.0015 to 0.0195: "ddim" or "dpm++"."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    common = {"num_train_timesteps": train_steps, "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear",
              "prediction_type": prediction_type, "timestep_spacing": "trailing"}
    if kind == "ddim":
        return DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True)
    return DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero")
