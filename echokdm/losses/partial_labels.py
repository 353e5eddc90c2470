"""Learning from labels that tell of some classes alone (the marginal loss of Shi et al., Medical Image Analysis
2021)."""

import torch
from torch import Tensor


def merge_untold(logits: Tensor, told: Tensor) -> Tensor:
    """Logits (B, C, H, W) -> logits of the same form in which what is not told of counts as background, class 0.

    told: (B, C) bool, the classes that an item's labels tell of; class 0 always is. The probability of a class that is
    not told is added to the background's, so that nothing is learned about how the two divide.
    """
    probability = logits.softmax(1)
    kept = told[:, :, None, None].to(probability.dtype)
    untold = (probability * (1 - kept)).sum(1, keepdim=True)
    merged = probability * kept
    return torch.cat([merged[:, :1] + untold, merged[:, 1:]], 1).clamp_min(1e-7).log()
