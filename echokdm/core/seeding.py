"""Seeded generators: the noise of sample i depends on (seed, i) alone, never on batch size or worker count."""

import numpy as np
import torch
from torch import Tensor


def derive_seed(*keys: int) -> int:
    """A 63-bit seed mixed from integer keys, such as (seed, step, sample); stable across machines."""
    state = np.random.SeedSequence([int(k) & 0xFFFFFFFFFFFFFFFF for k in keys]).generate_state(1, np.uint64)[0]
    return int(state) & 0x7FFFFFFFFFFFFFFF


def generator(*keys: int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed(*keys)`."""
    return torch.Generator().manual_seed(derive_seed(*keys))


def seeded_randn(shape: tuple[int, ...], seed: int, indices: list[int] | range) -> Tensor:
    """Standard normal noise (len(indices), *shape), float32 on the CPU; row i depends on (seed, indices[i]) alone."""
    return torch.stack([torch.randn(shape, generator=generator(seed, i)) for i in indices])
