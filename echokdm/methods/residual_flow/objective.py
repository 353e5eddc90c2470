"""The losses of Eq. 7 to 10."""

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.losses.affine import affine_regulariser
from echokdm.losses.features import Features
from echokdm.losses.matching import best_similarity, sampling_correctness
from echokdm.losses.style import feature_distance, style_distance
from echokdm.methods.residual_flow.config import LossConfig
from echokdm.networks.flow_pyramid import FlowLevel


class Objective:
    """networks: the frozen ones behind the terms, "matching" for Eq. 7, cut off after its last layer, and "content" for
    Eq. 9 and 10."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        # those of both are computed once
        self._content = tuple(dict.fromkeys(config.perceptual_layers + config.style_layers))
        self.networks = {
            "matching": Features(config.backbone, config.correctness_layers),
            "content": Features(config.backbone, self._content),
        }

    def flow_loss(self, sources: Tensor, target: Tensor, levels: list[FlowLevel]) -> dict[str, Tensor]:
        """Eq. 7's two terms, unweighted: means over levels and layers, and over the K sources of each of B targets.

        sources (B, K, 3, H, W) and target (B, 3, H, W) in [0, 1]; levels: of the B K sources.
        """
        count, features = sources.shape[1], self.networks["matching"]
        terms = []
        with torch.no_grad():
            pairs = list(zip(features(sources.flatten(0, 1)), features(target), strict=True))
        for seen, wanted in pairs:
            wanted = wanted.repeat_interleave(count, 0)
            best = best_similarity(seen, wanted)
            terms += [sampling_correctness(seen, wanted, level.flow, best) for level in levels]
        bends = [
            affine_regulariser(level.flow, side) for level, side in zip(levels, self.config.neighbourhoods, strict=True)
        ]
        return {"correctness": torch.stack(terms).mean(), "regularity": torch.stack(bends).mean()}

    def content_loss(self, made: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Eq. 8's content terms, unweighted. made, target (B, 3, H, W) in [-1, 1]."""
        features = self.networks["content"]
        found = dict(zip(self._content, features((made + 1) / 2), strict=True))
        with torch.no_grad():
            wanted = dict(zip(self._content, features((target + 1) / 2), strict=True))

        def both(names: tuple[str, ...]) -> tuple[list[Tensor], list[Tensor]]:
            return [found[name] for name in names], [wanted[name] for name in names]

        return {
            "l1": F.l1_loss(made, target),
            "perceptual": feature_distance(*both(self.config.perceptual_layers)),
            "style": style_distance(*both(self.config.style_layers)),
        }

    def weighted(self, terms: dict[str, Tensor]) -> Tensor:
        """Sum of terms, each with the weight of its name."""
        return torch.stack([getattr(self.config, name) * term for name, term in terms.items()]).sum()
