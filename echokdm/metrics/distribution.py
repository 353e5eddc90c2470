"""Distances of sets: FID of pictures and FVD of clips, over features that are named, since figures of other features
don't compare."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from echokdm.losses.features import Backbone, Features

CHUNK = 32  # pictures a call


class Measured(NamedTuple):
    """A figure and how it was measured: features, counts, size."""

    value: float
    how: str


class PooledFeatures(nn.Module):
    """One vector a picture: a layer of an ImageNet network, averaged over the picture. name: for the tables."""

    def __init__(self, net: Backbone = "squeeze", layer: str = "relu5_1") -> None:
        super().__init__()
        self.features, self.name = Features(net, (layer,)), f"{net} {layer}, mean over the picture"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, D)."""
        return torch.cat([self.features(part)[0].mean((2, 3)) for part in images.split(CHUNK)])


class _Given(nn.Identity):
    """In place of a network: the features themselves, (N, num_features)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2)) of two sets of features (N, D), (M, D); N, M >= 2 (Heusel et al.,
    NeurIPS 2017, Eq. 6)."""
    from echokdm.core import torchvision_compat  # noqa: F401  (first: torchmetrics imports torchvision)

    from torchmetrics.image.fid import FrechetInceptionDistance  # isort: skip

    metric = FrechetInceptionDistance(feature=_Given(first.shape[1])).set_dtype(torch.float64)
    metric.update(first.double(), real=True)
    metric.update(second.double(), real=False)
    return float(metric.compute())


def fid(real: Tensor, made: Tensor, extractor: PooledFeatures) -> Measured:
    """FID of pictures (N, 3, H, W), (M, 3, H, W) in [0, 1], over `extractor` in place of Inception."""
    how = f"features {extractor.name}; {len(real)} real, {len(made)} made, {real.shape[3]} x {real.shape[2]} px"
    return Measured(frechet_distance(extractor(real), extractor(made)), how)


def fvd(real: Tensor, made: Tensor, extractor: PooledFeatures) -> Measured:
    """FVD of clips (N, T, 3, H, W), (M, T, 3, H, W) in [0, 1]: a clip's vector is its frames' mean and their mean
    change in time."""

    def vectors(clips: Tensor) -> Tensor:
        each = extractor(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return torch.cat([each.mean(1), each.diff(dim=1).abs().mean(1)], 1)

    how = (
        f"features {extractor.name}, mean and mean change over {real.shape[1]} frames, in place of I3D; {len(real)} real, "
        f"{len(made)} made, {real.shape[4]} x {real.shape[3]} px"
    )
    return Measured(frechet_distance(vectors(real), vectors(made)), how)
