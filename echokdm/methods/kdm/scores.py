"""KDM beyond echo, scored as the paper's Tables 1-3 do: pairs of frames of identities that no training saw."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.data.frames import FrameSource
from echokdm.losses.perceptual import Perceptual, found_distances
from echokdm.methods.kdm.drawing import Ablation, Drawing
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.metrics.image import TOO_SMALL, image_scores, ms_ssim
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.tables import Table
from echokdm.ops.tps import seen_tps_flow
from echokdm.ops.warp import warp

NO_EDIT, TPS, NO_F2I, NO_K2F, KDM, TARGET = (
    "no edit",
    "TPS warp",
    "KDM without F2I",
    "KDM without K2F",
    "KDM",
    "target itself",
)


def score_pairs(pipeline: KDMPipeline, data: FrameSource, *, seed: int = 0) -> list[Table]:
    """One pair of frames of each held-out sequence: MSE_img, SSIM, MS-SSIM of large ones and an LPIPS of each backbone
    that is at hand, against the target, and MD where the bundle finds key-points. Raises ConfigError where the data has
    other key-points than the bundle.
    """
    if data.schema is None or data.schema.name != pipeline.schema.name:
        raise ConfigError(
            f"The bundle needs {pipeline.schema.name} key-points, the data set has {getattr(data.schema, 'name', 'none')}."
        )
    scores = pair_scores(pipeline, data, found_distances(), seed)
    rows = [(method, tuple(mean_interval(values[name]) for name in values)) for method, values in scores.items()]
    names = tuple(next(iter(scores.values())))
    return [
        Table(
            f"Held-out {data.config.adapter} (the paper's Tables 1 to 3 in form)",
            names,
            tuple(rows),
            f"One pair of frames of each of {len(scores[KDM][names[0]])} sequences. MD, px: points found by the "
            "bundle's detector against the true ones that are seen. In brackets: 95 % intervals by bootstrap over identities.",
        )
    ]


@torch.no_grad()
def pair_scores(
    pipeline: KDMPipeline, data: FrameSource, distances: Mapping[str, Perceptual], seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """method -> score -> (identities,). With four calls of F2I-net, as the figures in docs/methods.md have."""
    pairs = data.held_out(2, seed)
    items = [pairs[(0, i)] for i in range(len(pairs))]
    target, source = (torch.stack([item["frames"][k] for item in items]) for k in (0, 1))
    after, before = (torch.stack([item["keypoints"][k] for item in items]) for k in (0, 1))
    made = {NO_EDIT: source, TPS: spline_warp(source, before, after)}
    sector = torch.ones(len(source), *source.shape[2:], dtype=torch.bool)
    ablations: dict[str, Ablation | None] = {NO_F2I: "f2i", NO_K2F: "k2f", KDM: None}
    for method, without in ablations.items():
        if without != "k2f" or pipeline.k2i is not None:
            drawing = Drawing(steps=4, seed=seed, without=without)
            made[method] = pipeline(source, before, after, sector=sector, drawing=drawing).frames
    made[TARGET] = target
    whole = torch.ones(len(target), 1, *target.shape[2:], dtype=torch.bool)
    scores = {method: image_scores(frames, target, whole, distances) for method, frames in made.items()}
    if min(target.shape[2:]) > TOO_SMALL:
        for method, frames in made.items():
            scores[method]["MS-SSIM"] = ms_ssim(frames, target)
    if pipeline.landmarks is not None:
        for method, frames in made.items():
            scores[method]["MD, px"] = seen_distance(pipeline.landmarks.detect(frames)[0], after)
    return scores


def seen_distance(found: Tensor, truth: Tensor) -> np.ndarray:
    """Mean Euclidean distance of points (B, N, 2) over those whose true place is known -> (B,)."""
    return (found - truth).norm(dim=-1).nanmean(1).double().numpy()


def spline_warp(source: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Sources (B, C, H, W) warped by the thin-plate spline through the points (B, N, 2) px seen in both frames; the
    border stays."""
    flows = [seen_tps_flow(a, b, *source.shape[2:]) for a, b in zip(before, after, strict=True)]
    return warp(source, torch.cat(flows)).clamp(0, 1)
