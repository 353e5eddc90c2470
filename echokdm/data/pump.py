"""Hearts that have filled or emptied further than they did, picture and labels together, as an edited clip shows
them."""

import numpy as np
import torch
from torch import Tensor

from echokdm.core.labels import Label
from echokdm.ops.fill import warp_inside
from echokdm.ops.warp import pixel_grid, warp

FACTOR = 0.3  # log of how much wider or narrower, either way: EFs from 0 to 80 % of any beat
LENGTHWISE = 0.4, 0.04  # of that along the ventricle, where a heart moves less; and by how much this varies
REACH = 0.6  # radii beyond the cavity's edge over which the motion fades
LEAST = 50  # px of a ventricle


def pump(item: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """The item, each frame's ventricle wider or narrower by a factor of its own, and what lies around it moved along.

    So that a network looks for the outline where the picture shows it, and not where walls, valves and atria of that
    phase would have it. item: image (F, S, S) in [0, 1], label (F, S, S) int64, sector (1, S, S), and more, which
    stays. Frames without a ventricle stay.
    """
    flow = torch.stack([_flow(label == Label.LV, rng) for label in item["label"]])
    sector = item["sector"][None].float()
    image = warp_inside(item["image"][:, None], flow, sector)[:, 0]
    label = warp(item["label"][:, None].float(), flow, mode="nearest")[:, 0].long()
    return item | {"image": image, "label": label * (sector[0] > 0)}


def _flow(cavity: Tensor, rng: np.random.Generator) -> Tensor:
    """Backward flow (2, S, S) px of one frame, in coordinates of the ellipse that has the moments of its cavity (S, S)
    bool."""
    wider = rng.uniform(-FACTOR, FACTOR)
    longer = LENGTHWISE[0] * wider + rng.normal(0, LENGTHWISE[1])
    grid = pixel_grid(*cavity.shape)[0].flatten(1)
    inside = grid[:, cavity.flatten()]
    if inside.shape[1] < LEAST:
        return torch.zeros(2, *cavity.shape)
    centre = inside.mean(1, keepdim=True)
    variance, axes = torch.linalg.eigh(torch.cov(inside))  # the long axis comes last
    radii = 2 * variance.clamp(min=1).sqrt()[:, None]
    places = axes.T @ (grid - centre) / radii
    weight = torch.exp(-0.5 * ((places.norm(dim=0) - 1).clamp(min=0) / REACH).square())
    there = places * torch.exp(-weight * torch.tensor([[wider], [longer]]))
    return (axes @ ((there - places) * radii)).view(2, *cavity.shape).float()
