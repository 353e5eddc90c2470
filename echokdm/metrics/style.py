"""How far a picture keeps an exemplar's looks and a truth's meaning: cosines of a network's features (MIDM, Table
2)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLOUR, TEXTURE, SEMANTIC = ("relu1_2",), ("relu2_2",), ("relu3_2", "relu4_2", "relu5_2")
STYLE_LAYERS = COLOUR + TEXTURE + SEMANTIC


def style_relevance(made: Tensor, exemplar: Tensor) -> Tensor:
    """Cosine (B,) of the features' means over the picture: what is there, wherever it lies; (B, C, h, w) each."""
    return F.cosine_similarity(made.mean((2, 3)), exemplar.mean((2, 3)))


def semantic_consistency(made: Tensor, truth: Tensor) -> Tensor:
    """Cosine (B,) of the features place by place, averaged over the picture; (B, C, h, w) each."""
    return F.cosine_similarity(made, truth).mean((1, 2))


@torch.no_grad()
def style_scores(features: nn.Module, made: Tensor, exemplar: Tensor, truth: Tensor) -> Mapping[str, Tensor]:
    """ "colour" and "texture", style relevance to the exemplar, and "semantic", consistency with the truth: (B,) each.

    features: `Features` of STYLE_LAYERS. Pictures (B, 3, H, W) in [0, 1]. The paper names the layers, not how places
    are joined: here style is compared without place, as exemplar and result have different poses, and meaning with it.
    """
    of_made, of_exemplar, of_truth = (features(images) for images in (made, exemplar, truth))
    semantic = [semantic_consistency(a, b) for a, b in zip(of_made[2:], of_truth[2:], strict=True)]
    return {
        "colour": style_relevance(of_made[0], of_exemplar[0]),
        "texture": style_relevance(of_made[1], of_exemplar[1]),
        "semantic": torch.stack(semantic).mean(0),
    }
