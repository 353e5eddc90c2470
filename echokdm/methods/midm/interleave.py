"""The method itself: matching interleaved with denoising (MIDM, Eq. 5-11), the same in training and at inference."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from echokdm.engine.sampling import sample
from echokdm.methods.midm.config import MatchingConfig
from echokdm.ops.matching import Size, correlation, cycle_confidence, matched_positions, soft_warp
from echokdm.ops.warp import pixel_grid


@dataclass
class Course:
    """One run from condition and exemplar to the result.

    latent: r^0, the result. warps: R, the first from the condition, then one a re-matching. cycles: each warp taken
    back onto the exemplar (Eq. 13). confidences: M of each re-matching (Eq. 10), (B, 1, h, w). noises: the network's
    estimate of each call. scores: the last correlation. All latents (B, L, h, w).
    """

    latent: Tensor
    scores: Tensor
    warps: list[Tensor] = field(default_factory=list)
    cycles: list[Tensor] = field(default_factory=list)
    confidences: list[Tensor] = field(default_factory=list)
    noises: list[Tensor] = field(default_factory=list)

    def flow(self, temperature: float) -> Tensor:
        """(B, 2, h, w): where the last warp fetched from, less where it put it; backward, in pixels of the latent."""
        size: Size = (self.latent.shape[2], self.latent.shape[3])
        return matched_positions(self.scores, temperature, size, size) - pixel_grid(*size, device=self.latent.device)


@dataclass(frozen=True)
class Networks:
    """What a course is run with.

    matcher: as `DomainMatcher`. unet(noisy, timestep).sample: estimate of the noise. scheduler: of `engine.sampling`.
    arithmetic: a context for the networks' precision.
    """

    matcher: Callable[..., Tensor]
    unet: Callable[..., Any]
    scheduler: Any
    arithmetic: Callable[[], AbstractContextManager[object]]


def interleave(
    networks: Networks,
    condition: Tensor,
    exemplar: Tensor,
    noise: Tensor,
    how: MatchingConfig,
    *,
    features: tuple[Tensor, Tensor] | None = None,
    diffuse: bool = True,
    gradients: bool = False,
) -> Course:
    """Match, warp, noise; then denoise and re-match in turn.

    condition, exemplar: D_X and D_Y, (B, L, h, w). noise: (B, L, h, w) standard normal. features: S_X and S_Y where
    they are known already. diffuse: False gives the first warp itself, Table 3's "no diffusion U-Net". gradients: keep
    them, to train.
    """
    matcher, arithmetic = networks.matcher, networks.arithmetic
    size: Size = (condition.shape[2], condition.shape[3])
    with torch.set_grad_enabled(gradients), arithmetic():
        first, known = (
            features if features is not None else (matcher("condition", condition), matcher("exemplar", exemplar))
        )

    def warp(scores: Tensor, course: Course) -> Tensor:
        warped = soft_warp(scores, exemplar, how.temperature, size)
        course.scores = scores
        course.warps.append(warped)
        course.cycles.append(soft_warp(scores.transpose(1, 2), warped, how.temperature, size))
        return warped

    def revise(step: int, timestep: Tensor, clean: Tensor) -> Tensor:
        """Eq. 8-11: between two steps the x0 prediction is matched again, and rewarped where that can be relied on."""
        if step == how.calls - 1 or not how.rematch:
            return clean
        with arithmetic():
            found = matcher("estimate", clean, condition)
        scores = correlation(found, known, how.centred)
        warped = warp(scores, course)
        if not how.masked:
            return warped
        with torch.no_grad():
            mask = cycle_confidence(scores, how.temperature, size, size, how.threshold, how.pool)
        course.confidences.append(mask)
        return mask * warped + (1 - mask) * clean

    def denoise(noisy: Tensor, timestep: Tensor) -> Tensor:
        with arithmetic():
            output = networks.unet(noisy.contiguous(memory_format=torch.channels_last), timestep).sample.float()
        course.noises.append(output)
        return output

    with torch.set_grad_enabled(gradients):
        scores = correlation(first, known, how.centred)
        course = Course(latent=exemplar, scores=scores)
        start = warp(scores, course)
    if not diffuse:
        course.latent = start
        return course
    with torch.set_grad_enabled(gradients):
        course.latent = sample(
            denoise, noise, networks.scheduler, calls=how.calls, start=start, strength=how.strength, revise=revise
        )
    return course
