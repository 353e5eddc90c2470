"""What a method hands to the training loop: stages, each owning its modules, optimizers and step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset


@dataclass
class Run:
    """What a stage may ask the loop for during one step.

    step: 0-based. total_steps: of the whole stage. backward: scales and accumulates gradients on any number of
    devices. autocast: a context manager for the mixed precision in force. device: where batches live.
    """

    step: int
    total_steps: int
    device: torch.device
    backward: Callable[[Tensor], None]
    autocast: Callable[[], AbstractContextManager]


class Stage(ABC):
    """One thing to train.

    modules: trained and saved, by their component name in the bundle. frozen: used, never trained.
    optimizers: by name; the stage zeroes and steps them itself, so GANs and alternating tasks need nothing special.
    ema_of: names in `modules` whose exponential moving average is what gets saved.
    dataset: map-style; item (step, i) depends on (seed, step, i) alone, which makes a resumed run the same run.
    Randomness in `step` may use torch's global generator: the loop seeds it from (seed, step).
    """

    name: str
    modules: dict[str, nn.Module]
    frozen: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    dataset: Dataset
    batch_size: int
    ema_of: tuple[str, ...] = ()
    ema_decay: float = 0.9999

    @abstractmethod
    def step(self, batch: dict[str, Tensor], run: Run) -> dict[str, Tensor]:
        """One optimisation step on a batch; returns scalars to log."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out data, logged at the end; none by default."""
        return {}

    def finish(self) -> None:
        """Called once with the averaged weights in place, before saving: fit buffers such as latent scales."""
        return None


def cosine_with_warmup(
    optimizer: torch.optim.Optimizer, base_lr: float, run: Run, warmup: int = 100, floor: float = 0.05
) -> None:
    """Set the learning rate of this step: linear warm-up, then a cosine down to floor x base_lr at the last step."""
    progress = min(run.step / max(run.total_steps, 1), 1.0)
    rate = (
        base_lr * min(1.0, (run.step + 1) / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
