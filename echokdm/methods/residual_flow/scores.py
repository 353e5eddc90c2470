"""The paper's tables in form, on held-out sequences: other sources and targets of each identity, K = 1, 2, 3."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from echokdm.core.types import KeypointSchema
from echokdm.losses.perceptual import found_distances
from echokdm.methods.residual_flow.pipeline import Part, ResidualFlowPipeline
from echokdm.metrics.image import frame_scores
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.tables import Table
from echokdm.ops.render import spread_motion
from echokdm.ops.warp import warp

NO_EDIT, KEYPOINT_WARP, FULL = "no edit", "key-points' motion alone", "full"
SOURCES = (1, 2, 3)
TARGETS = 3  # of each held-out identity
DRAW_SEED = 1
VARIANTS: dict[str, tuple[Part, ...]] = {
    "baseline": ("residual", "attention", "occlusion"),
    "w/o attn": ("attention",),
    "w/o occ": ("occlusion",),
    "w/o res": ("residual",),
    FULL: (),
}
FIGURES = ("LPIPS_squeeze", "SSIM", "PSNR", "L1")
_BATCH = 32  # pictures scored at a time


def held_out_cases(data: Any, seed: int = DRAW_SEED) -> list[dict[str, Tensor]]:
    """Drawn frames and key-points of every held-out identity, TARGETS times over: frames[0] is the target, the rest its
    sources.

    Of a data set that lists pairs every pair once, with further sources of the same person.
    """
    sets = data.held_out(1 + max(SOURCES), seed)
    return [
        sets[step, i] | {"identity": torch.tensor(subject)}
        for i, subject in enumerate(sets.subjects)
        for step in range(1 if sets.directed else TARGETS)
    ]


def move_keypoints(case: Mapping[str, Tensor]) -> Tensor:
    """The first source moved by its key-points' motion, spread out: (3, H, W)."""
    frames, points = case["frames"], case["keypoints"]
    flow = spread_motion(points[1:2], points[:1], *frames.shape[2:])
    return warp(frames[1:2], flow)[0]


def score_cases(
    cases: list[dict[str, Tensor]], make: Callable[[dict[str, Tensor]], Tensor], **labels: Any
) -> pd.DataFrame:
    """A long table, a row a case: identity, labels, L1, PSNR in dB, SSIM, LPIPS. make: case -> picture (3, H, W) in [0,
    1].

    LPIPS is by each backbone whose weights are on this machine.
    """
    tables, distances = [], found_distances()
    for first in range(0, len(cases), _BATCH):
        part = cases[first : first + _BATCH]
        made, truth = torch.stack([make(case) for case in part]), torch.stack([case["frames"][0] for case in part])
        scores = frame_scores(made, truth, distances)
        tables.append(pd.DataFrame({"identity": [int(case["identity"]) for case in part], **labels, **scores}))
    return pd.concat(tables, ignore_index=True)


def score_pipeline(
    pipeline: ResidualFlowPipeline, cases: list[dict[str, Tensor]], count: int, variant: str = FULL
) -> pd.DataFrame:
    """`score_cases` of the pipeline with `count` sources, less the parts that a variant of Table 4 lacks."""

    def make(case: dict[str, Tensor]) -> Tensor:
        frames, points = case["frames"], case["keypoints"]
        return pipeline(frames[1 : 1 + count], points[1 : 1 + count], points[:1], without=VARIANTS[variant]).frames[0]

    return score_cases(cases, make, method=variant, K=count)


def baselines(cases: list[dict[str, Tensor]], schema: KeypointSchema | None) -> pd.DataFrame:
    """`score_cases` of the first source as it is, and moved by its key-points."""
    parts = [score_cases(cases, lambda case: case["frames"][1], method=NO_EDIT, K=1)]
    if schema is not None:
        parts.append(score_cases(cases, move_keypoints, method=KEYPOINT_WARP, K=1))
    return pd.concat(parts, ignore_index=True)


def evaluation(pipeline: ResidualFlowPipeline, data: Any) -> list[Table]:
    """Table 1 in form, and Table 4 in form with the parts of one trained pipeline left out."""
    cases = held_out_cases(data)
    still = baselines(cases, data.schema)
    scores = pd.concat(
        [score_pipeline(pipeline, cases, k, name) for name in VARIANTS for k in SOURCES if name == FULL or k > 1],
        ignore_index=True,
    )
    figures = [name for name in FIGURES if name in scores]
    identities = len({int(case["identity"]) for case in cases})
    note = f"{identities} held-out identities, {len(cases)} targets. In brackets: 95 % intervals by bootstrap over identities."

    def row(label: str, frame: pd.DataFrame) -> tuple[str, tuple]:
        return label, tuple(mean_interval(frame[name], frame["identity"]) for name in figures)

    full = [row(f"K = {k}", scores[(scores["method"] == FULL) & (scores["K"] == k)]) for k in SOURCES]
    without = [
        row(f"K = {k}, {name}", scores[(scores["method"] == name) & (scores["K"] == k)])
        for k in SOURCES[1:]
        for name in VARIANTS
    ]
    first = [row(name, still[still["method"] == name]) for name in still["method"].unique()]
    return [
        Table(
            "Held-out identities, any number of sources by one checkpoint (the paper's Table 1 in form)",
            tuple(figures),
            (*first, *full),
            note,
        ),
        Table(
            "Parts left out of the trained pipeline (the paper's Table 4 in form; the paper trains each variant anew)",
            tuple(figures),
            tuple(without),
            note,
        ),
    ]
