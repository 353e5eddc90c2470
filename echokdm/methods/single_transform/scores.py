"""The paper's tables in form, on pairs of frames of held-out sequences, and how the flow behaves where its truth is
known."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.losses.perceptual import found_distances
from echokdm.methods.single_transform.pipeline import SingleTransformPipeline
from echokdm.metrics.image import frame_scores, masked_mean
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.tables import Table
from echokdm.ops.pose_maps import near_limbs
from echokdm.ops.tps import seen_tps_flow
from echokdm.ops.warp import pixel_grid, warp

NO_EDIT, AFFINE, TPS, SMOOTH_TPS = (
    "no edit",
    "affine warp by the joints",
    "TPS warp by the joints",
    "smoothed TPS warp by the joints",
)
FLOW_ALONE, FULL = "w/o refinement (flow alone)", "ours"
BASELINES = (NO_EDIT, AFFINE, TPS, SMOOTH_TPS)
FIGURES = ("LPIPS_squeeze", "LPIPS_squeeze body", "SSIM", "L1", "L1 32", "PSNR")
DRAWS = 3  # pairs of each held-out sequence
DRAW_SEED = 1
SMOOTHING = 1.0  # of the smoothed spline, in units of its kernel
REACH = 16  # the body is what lies within a 16th of the picture's side from a limb
SHIFTS = ((4.0, 0.0), (0.0, -4.0), (-6.0, 3.0))  # px of a 64 px picture


@dataclass(frozen=True)
class Pairs:
    """P pairs: source, target (P, 3, S, S) in [0, 1]; begin, end (P, N, 2), their key-points, nan where not seen;
    identity (P,)."""

    source: Tensor
    target: Tensor
    begin: Tensor
    end: Tensor
    identity: np.ndarray


def held_out_pairs(data: Any, draws: int = DRAWS) -> Pairs:
    """`draws` pairs of each held-out sequence of a `FrameSource`, or each pair that it lists once; the same at every
    call."""
    sets = data.held_out(2, DRAW_SEED)
    items = [
        (subject, sets[step, i])
        for i, subject in enumerate(sets.subjects)
        for step in range(1 if sets.directed else draws)
    ]
    frames, points = (torch.stack([item[name] for _, item in items]) for name in ("frames", "keypoints"))
    return Pairs(frames[:, 1], frames[:, 0], points[:, 1], points[:, 0], np.array([subject for subject, _ in items]))


def affine_flow(begin: Tensor, end: Tensor, size: int) -> Tensor:
    """Backward flow (1, 2, size, size) px of the affine map that fits begin to end (N, 2) best, by least squares;
    joints seen in both."""
    ones = torch.ones(len(end), 1)
    solved = torch.linalg.lstsq(torch.cat([end, ones], 1), begin, driver="gelsd").solution
    grid = pixel_grid(size, size).flatten(2)[0].T
    moved = torch.cat([grid, torch.ones(len(grid), 1)], 1) @ solved - grid
    return moved.T.reshape(1, 2, size, size)


def baseline_frames(pairs: Pairs, kind: str) -> Tensor:
    """(P, 3, S, S) of one of BASELINES. The splines keep the border in place; joints not seen in both pictures are left
    out."""
    if kind == NO_EDIT:
        return pairs.source
    size, made = pairs.source.shape[-1], []
    for source, begin, end in zip(pairs.source, pairs.begin, pairs.end, strict=True):
        if kind == AFFINE:
            seen = ~(begin + end).isnan().any(-1)
            flow = affine_flow(begin[seen], end[seen], size)
        else:
            flow = seen_tps_flow(begin, end, size, size, SMOOTHING if kind == SMOOTH_TPS else 0.0)
        made.append(warp(source[None], flow))
    return torch.cat(made)


def body_mask(points: Tensor, schema: KeypointSchema, size: int) -> Tensor:
    """(P, 1, size, size) bool: near a limb of points (P, N, 2)."""
    return near_limbs(points, schema, size, size, size / REACH)


_distances = functools.cache(found_distances)  # loaded once for all tables


def _small(images: Tensor) -> Tensor:
    """Down to 32 px and back, as in the paper's Table 1."""
    size = images.shape[2:]
    return F.interpolate(F.interpolate(images, (32, 32), mode="bilinear", antialias=True), size, mode="bilinear")


@torch.no_grad()
def score_frames(made: Tensor, pairs: Pairs, schema: KeypointSchema, method: str) -> pd.DataFrame:
    """A long table, a row a pair: identity, method, LPIPS of each backbone that is on this machine, of squeeze on the
    body too, SSIM, PSNR in dB, L1 of values in [0, 1], and L1 after both were brought to 32 px ("L1 32")."""
    size = made.shape[-1]
    distances = _distances()
    scores = frame_scores(made, pairs.target, distances)
    if "squeeze" in distances:
        body = body_mask(pairs.end, schema, size)
        scores["LPIPS_squeeze body"] = distances["squeeze"](made, pairs.target, body.float()).double().numpy()
    scores["L1 32"] = (_small(made) - _small(pairs.target)).abs().mean((1, 2, 3)).double().numpy()
    return pd.DataFrame({"identity": pairs.identity, "method": method, **scores})


def score_pipeline(pipeline: SingleTransformPipeline, pairs: Pairs) -> pd.DataFrame:
    """`score_frames` of the flow alone and, where there is one, of the refinement network."""
    out = pipeline(pairs.source, pairs.begin, pairs.end, refine=pipeline.refinement is not None)
    parts = [score_frames(out.warped, pairs, pipeline.schema, FLOW_ALONE)]
    if pipeline.refinement is not None:
        parts.append(score_frames(out.frames, pairs, pipeline.schema, FULL))
    return pd.concat(parts, ignore_index=True)


def score_baselines(pairs: Pairs, schema: KeypointSchema) -> pd.DataFrame:
    """`score_frames` of all BASELINES."""
    return pd.concat(
        [score_frames(baseline_frames(pairs, kind), pairs, schema, kind) for kind in BASELINES], ignore_index=True
    )


def flow_behaviour(pipeline: SingleTransformPipeline, pairs: Pairs) -> pd.DataFrame:
    """How far, px on the body, the flow is from what it must be: 0 where the pose is the source's own, -s where it is
    shifted by s.

    A row a pair and case ("identity", "shift by (dx, dy) px"): error, the mean length of the difference over the body;
    and fetched, the mean of the flow itself.
    """
    size, rows = pipeline.size, []
    for shift in ((0.0, 0.0), *SHIFTS):
        moved = torch.tensor(shift) * size / 64
        end = pairs.begin + moved
        flow = pipeline(pairs.source, pairs.begin, end, refine=False).flow
        body = body_mask(end, pipeline.schema, size)
        error = (flow + moved.view(1, 2, 1, 1)).square().sum(1, keepdim=True).sqrt()
        name = "identity" if not any(shift) else f"shift by ({moved[0]:g}, {moved[1]:g}) px"
        rows.append(
            pd.DataFrame(
                {
                    "identity": pairs.identity,
                    "case": name,
                    "error": masked_mean(error, body).double().numpy(),
                    "fetched": masked_mean(flow.square().sum(1, keepdim=True).sqrt(), body).double().numpy(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def method_table(scores: pd.DataFrame, title: str, figures: tuple[str, ...] = FIGURES, note: str = "") -> Table:
    """Means of each method's scores, with intervals over identities."""
    present = [
        name for name in (*figures, *sorted(c for c in scores if c in ("LPIPS_alex", "LPIPS_vgg"))) if name in scores
    ]
    rows = tuple(
        (str(method), tuple(mean_interval(part[name], part["identity"]) for name in present))
        for method, part in scores.groupby("method", sort=False)
    )
    return Table(title, tuple(present), rows, f"{note}In brackets: 95 % intervals by bootstrap over identities.")


def behaviour_table(behaviour: pd.DataFrame) -> Table:
    """Means of `flow_behaviour`."""
    rows = tuple(
        (str(case), tuple(mean_interval(part[name], part["identity"]) for name in ("error", "fetched")))
        for case, part in behaviour.groupby("case", sort=False)
    )
    return Table(
        "The flow where its truth is known, px on the body",
        ("distance from the truth", "length of the flow"),
        rows,
        "The source's own pose must give no flow, a shifted one that shift.",
    )


def held_out_tables(pipeline: SingleTransformPipeline, data: Any) -> list[Table]:
    """Table 1 (the flow alone against other warps) and Table 3 (with and without refinement) in form, and the flow's
    behaviour."""
    pairs = held_out_pairs(data)
    ours, others = score_pipeline(pipeline, pairs), score_baselines(pairs, pipeline.schema)
    note = f"{len(pairs.identity)} pairs of {len(set(pairs.identity))} held-out sequences. "
    alone = pd.concat([others, ours[ours["method"] == FLOW_ALONE]])
    return [
        method_table(alone, "The source sampled by each flow alone (the paper's Table 1 in form)", note=note),
        method_table(ours, "With and without the refinement network (the paper's Table 3 in form)", note=note),
        behaviour_table(flow_behaviour(pipeline, pairs)),
    ]
