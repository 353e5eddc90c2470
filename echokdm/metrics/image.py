"""Distances of pictures, inside a mask or whole: MSE_img, L1, PSNR, SSIM, MS-SSIM, LPIPS (KDM, section 4, and the other
papers)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import GeometryError

TOO_SMALL = 160  # px up to which pictures are too small for MS-SSIM's five scales
# images (B, 1, H, W) in [0, 1], twice, and a mask (B, 1, H, W) -> (B,)
Distance = Callable[[Tensor, Tensor, Tensor], Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, C, H, W) where mask (B, 1, H, W) is true -> (B,); nan where the mask is empty."""
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def masked_mse(made: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """MSE_img: mean squared difference of gray values in [0, 1] inside the mask, (B,)."""
    return masked_mean((made - truth).square(), mask)


def masked_ssim(made: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004; Gaussian window of 11 px, sigma 1.5), its map averaged inside the mask,
    (B,)."""
    from echokdm.core import torchvision_compat  # noqa: F401  (first: torchmetrics imports torchvision)

    from torchmetrics.functional.image import structural_similarity_index_measure  # isort: skip

    inside = mask.to(made.dtype)
    _, similarity = structural_similarity_index_measure(
        made * inside, truth * inside, data_range=1.0, reduction="none", return_full_image=True
    )
    return masked_mean(similarity, mask)


@torch.no_grad()
def image_scores(made: Tensor, truth: Tensor, mask: Tensor, distances: Mapping[str, Distance]) -> dict[str, np.ndarray]:
    """MSE_img, SSIM and an LPIPS of each backbone -> name -> (B,) float64.

    made, truth (B, 1, H, W) in [0, 1]; mask (B, 1, H, W) bool: where they are compared. What lies outside it is black
    in both, since a perceptual network looks beyond a mask's edge. distances: backbone ->
    `losses.perceptual.Perceptual`.
    """
    inside = mask.float()
    scores = {"MSE_img": masked_mse(made, truth, mask), "SSIM": masked_ssim(made, truth, mask)}
    for name, distance in distances.items():
        scores[f"LPIPS_{name}"] = distance(made * inside, truth * inside, inside)
    return {name: value.double().cpu().numpy() for name, value in scores.items()}


@torch.no_grad()
def frame_scores(made: Tensor, truth: Tensor, distances: Mapping[str, Distance]) -> dict[str, np.ndarray]:
    """L1, PSNR in dB, SSIM and an LPIPS of each backbone of whole pictures (B, C, H, W) in [0, 1] -> name -> (B,)
    float64."""
    whole = torch.ones(len(made), 1, *made.shape[2:], dtype=torch.bool, device=made.device)
    scores = image_scores(made, truth, whole, distances)
    squared = scores.pop("MSE_img")
    return {
        "L1": (made - truth).abs().mean((1, 2, 3)).double().cpu().numpy(),
        "PSNR": -10 * np.log10(np.maximum(squared, 1e-10)),
        **scores,
    }


@torch.no_grad()
def ms_ssim(made: Tensor, truth: Tensor) -> np.ndarray:
    """Multi-scale SSIM (Wang et al. 2003), five scales, of pictures (B, C, H, W) in [0, 1] -> (B,).

    Raises GeometryError below 161 px a side, where the coarsest scale is smaller than the window.
    """
    from echokdm.core import torchvision_compat  # noqa: F401  (first: torchmetrics imports torchvision)

    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # isort: skip

    if min(made.shape[2:]) <= TOO_SMALL:
        raise GeometryError(f"MS-SSIM needs pictures of 161 px a side and more, not {made.shape[3]} x {made.shape[2]}.")
    return (
        multiscale_structural_similarity_index_measure(made, truth, data_range=1.0, reduction="none")
        .double()
        .cpu()
        .numpy()
    )
