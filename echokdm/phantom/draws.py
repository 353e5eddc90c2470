"""Random draws of a batch of patients: patient b's numbers depend on its own seed alone, never on the batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class PatientDraws:
    """One independent generator a patient; every method returns a float32 tensor (B, *shape)."""

    def __init__(self, seeds: Sequence[int], stream: int, device: torch.device | str = "cpu") -> None:
        self._generators = [np.random.default_rng([int(s) & 0xFFFFFFFFFFFFFFFF, stream]) for s in seeds]
        self._device = device

    def _stack(self, rows: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(rows).astype(np.float32)).to(self._device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in [low, high)."""
        return self._stack([g.uniform(low, high, shape) for g in self._generators])

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in the logarithm, in [low, high)."""
        return self._stack([np.exp(g.uniform(np.log(low), np.log(high), shape)) for g in self._generators])

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return self._stack([g.standard_normal(shape, dtype=np.float32) for g in self._generators])

    def chance(self, probability: float, *shape: int) -> Tensor:
        """1 with the given probability, else 0."""
        return self._stack([(g.random(shape) < probability).astype(np.float32) for g in self._generators])
