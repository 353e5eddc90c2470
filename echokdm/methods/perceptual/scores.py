"""How a perceptual distance orders spoiled pictures, alone and beside LPIPS."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.data.distortions import KINDS, distort
from echokdm.losses.feature_net import FeatureNet
from echokdm.losses.perceptual import found_distances
from echokdm.metrics.tables import Table, number

LADDERS = {
    "blur": (0.5, 1, 2, 3, 4),
    "noise": (0.02, 0.05, 0.1, 0.15, 0.25),
    "shift": (1, 2, 3, 4, 6),
    "texture": (0.2, 0.4, 0.6, 0.8, 1.0),
}
"""Strengths of each kind, in the units of `data.distortions`."""


@torch.no_grad()
def ladder_distances(distance: Callable[[Tensor, Tensor], Tensor], pictures: Tensor) -> np.ndarray:
    """Distances (n, kinds, strengths) of pictures (n, 3, S, S) in [0, 1] from their spoiled versions.

    Of one kind the same noise, direction or other picture is taken at all strengths.
    """
    return np.stack(
        [
            np.stack(
                [
                    distance(pictures, distort(pictures, kind, strength, generator(k))).numpy()
                    for strength in LADDERS[kind]
                ]
            )
            for k, kind in enumerate(KINDS)
        ]
    ).transpose(2, 0, 1)


def monotone_share(distances: np.ndarray) -> np.ndarray:
    """(n, kinds, strengths) -> (kinds,): the share of steps to the next strength that enlarge a picture's distance."""
    return (np.diff(distances, axis=2) > 0).mean((0, 2))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's, over all pictures, kinds and strengths at once."""
    from scipy.stats import spearmanr

    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def distance_table(net: FeatureNet, pictures: Tensor) -> Table:
    """One row a distance: the share of steps in order of each kind, and its rank correlation with the net's."""

    def own(first: Tensor, second: Tensor) -> Tensor:
        return sum((d.mean((1, 2, 3)) for d in net.differences(first, second)), torch.zeros(()))

    mine = ladder_distances(own, pictures)
    rows = [("this net", (*map(number, monotone_share(mine)), "1"))]
    for name, other in found_distances().items():
        theirs = ladder_distances(other, pictures)
        rows.append((f"LPIPS_{name}", (*map(number, monotone_share(theirs)), number(rank_correlation(mine, theirs)))))
    return Table(
        "Spoiled pictures in order",
        (*KINDS, "rank correlation"),
        tuple(rows),
        f"{len(pictures)} pictures, {len(KINDS)} kinds, {len(LADDERS['blur'])} strengths each",
    )
