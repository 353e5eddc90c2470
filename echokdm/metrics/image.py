"""Distances of pictures inside a mask: MSE_img, SSIM, LPIPS (KDM, section 4, "Evaluation metrics")."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor], Tensor]  # images (B, 1, H, W) in [0, 1], twice, and a mask (B, 1, H, W) -> (B,)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, C, H, W) where mask (B, 1, H, W) is true -> (B,); nan where the mask is empty."""
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def masked_mse(made: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """MSE_img: mean squared difference of gray values in [0, 1] inside the mask, (B,)."""
    return masked_mean((made - truth).square(), mask)


def masked_ssim(made: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004; Gaussian window of 11 px, sigma 1.5), its map averaged inside the mask, (B,)."""
    from echokdm.core import torchvision_compat  # noqa: F401  (first: torchmetrics imports torchvision)

    from torchmetrics.functional.image import structural_similarity_index_measure  # isort: skip

    inside = mask.to(made.dtype)
    _, similarity = structural_similarity_index_measure(made * inside, truth * inside, data_range=1.0, reduction="none",
                                                        return_full_image=True)
    return masked_mean(similarity, mask)


@torch.no_grad()
def image_scores(made: Tensor, truth: Tensor, mask: Tensor, distances: Mapping[str, Distance]) -> dict[str, np.ndarray]:
    """MSE_img, SSIM and an LPIPS of each backbone -> name -> (B,) float64.

    made, truth (B, 1, H, W) in [0, 1]; mask (B, 1, H, W) bool: where they are compared. What lies outside it is black in
    both, since a perceptual network looks beyond a mask's edge. distances: backbone -> `losses.perceptual.Perceptual`.
    """
    inside = mask.float()
    scores = {"MSE_img": masked_mse(made, truth, mask), "SSIM": masked_ssim(made, truth, mask)}
    for name, distance in distances.items():
        scores[f"LPIPS_{name}"] = distance(made * inside, truth * inside, inside)
    return {name: value.double().cpu().numpy() for name, value in scores.items()}
