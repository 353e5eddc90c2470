"""Whether a picture still shows whom it should: AED and CSIM, over features of an identity network that is passed
in."""

from collections.abc import Callable

import numpy as np
import torch.nn.functional as F
from torch import Tensor

Identity = Callable[[Tensor], Tensor]  # pictures (B, 3, H, W) in [0, 1] -> features (B, D)


def average_euclidean_distance(made: Tensor, truth: Tensor, identity: Identity) -> np.ndarray:
    """AED (Siarohin et al., NeurIPS 2019): Euclidean distance of the features of made and true pictures, (B,)."""
    return (identity(made) - identity(truth)).norm(dim=1).double().cpu().numpy()


def cosine_similarity(made: Tensor, source: Tensor, identity: Identity) -> np.ndarray:
    """CSIM: cosine of the features of made pictures and of the source whose identity they should keep, (B,)."""
    return F.cosine_similarity(identity(made), identity(source)).double().cpu().numpy()
