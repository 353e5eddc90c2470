"""Twins: a phantom's frame edited into that of the same heart with another ejection fraction, at the same phase of the
beat.

    python benchmarks/twins.py [--bundle B] [--patients 60] [--size 336] [--out ROWS.csv]

A held-out phantom is made twice, as it was drawn and with an EF between 20 and 70 %, evenly spread over the patients:
the second's frames are what edits of the first's should look like. Four phases each, ES and the middle of each third of
the beat; key-points exact, or found by the bundle's segmenter in one beat of either twin, at 20 frames/s. Flow is found
at 112 px and, with --size, enlarged; KDM's frames too. End-point errors inside the sector, over the mean motion; MSE
and LPIPS (SqueezeNet, where its weights are at hand) where the exact flow fetches from inside the sector, over those of
no edit; ratios of means, in brackets 95 % intervals by bootstrap over patients. Noise and haze stand still where tissue
moves, so that the exact flow's warp misses too: "gain" is a way's share of what that one gains.

Bars, key-points exact: K2F's end-point error <= .28 of the motion, its warp's MSE <= .28 and LPIPS <= .78 of no edit,
KDM's MSE and LPIPS at most 2 % above its warp's; key-points found: MSE <= .5 of no edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from bars import Bars, begin, parser, perceptual_distances
from ef_on_request import GOLDEN, HIGH, LOW
from torch import Tensor

from echokdm.core.errors import BundleError, GeometryError
from echokdm.echo.derive import load_pipeline, segment_keypoints
from echokdm.evaluation.held_out import FIRST_SEED, tps_warp
from echokdm.metrics.flow import flow_errors
from echokdm.metrics.image import Distance, image_scores
from echokdm.metrics.intervals import Interval, ratio_interval
from echokdm.ops.fill import warp_inside
from echokdm.ops.flow import resize_flow
from echokdm.ops.render import spread_motion
from echokdm.ops.resample import rescale_points, shrink

MODEL = 112  # px a side, where flow is found
FPS = 20.0  # of the beat in which the segmenter looks
NO_EDIT, SPREAD, SPLINE, K2F, KDM, EXACT = (
    "no edit",
    "key-points' motion spread out",
    "spline",
    "K2F's warp",
    "full KDM",
    "exact flow",
)
TRUE, FOUND = "exact", "found"


@dataclass(frozen=True)
class Twins:
    """P frames of a phantom and its twin, size S. frames: (2, P, 1, S, S) in [0, 1]. points: (2, P, 40, 2) exact, px at
    MODEL.

    found: the same by the segmenter, None where it refused one of them. sector, valid: (P, 1, S, S) bool. flow: (P, 2,
    S, S) exact, from the first twin to the second, px. opening: (P,) of the valves.
    """

    frames: Tensor
    points: Tensor
    found: Tensor | None
    sector: Tensor
    valid: Tensor
    flow: Tensor
    opening: Tensor


def make_twins(seed: int, wish: float, size: int, pipeline: Any) -> Twins:
    """Of one seed; the second twin's EF is `wish` percent."""
    from echokdm.phantom.a4c import A4CPhantom

    def pair(side: int) -> list[A4CPhantom]:
        return [A4CPhantom([seed], side), A4CPhantom([seed], side, ejection_fraction=[wish])]

    hearts, small = pair(size), pair(MODEL)
    step = float(hearts[0].heart_rate) / 60 / FPS
    beat = torch.arange(int(np.ceil(1 / step)))[None] * step
    chosen = [round(float(hearts[0].end_systole) / step), *(round((k + 0.5) / 3 / step) for k in range(3))]
    phases = beat[:, chosen]
    try:
        found = np.stack(
            [segment_keypoints(pipeline, heart.frames(beat)[0], heart.sector[0], FPS)[0][chosen] for heart in small]
        )
    except GeometryError:
        found = None
    exact = [(hearts[1].flow(p, p, hearts[0]), hearts[1].valid(p, p, hearts[0])) for p in phases.unbind(1)]
    flow, valid = (torch.cat(part) for part in zip(*exact, strict=True))
    points = torch.stack([heart.keypoints(phases)[0] for heart in hearts])
    if found is not None:
        found = rescale_points(
            (torch.from_numpy(found).float() + 0.5) * size / MODEL - 0.5, (size, size), (MODEL, MODEL)
        )
    return Twins(
        torch.stack([heart.frames(phases)[0] for heart in hearts]),
        rescale_points(points, (size, size), (MODEL, MODEL)),
        found,
        hearts[0].sector.expand(len(chosen), 1, -1, -1),
        valid,
        flow,
        hearts[0].valve_opening(phases)[0],
    )


def edits(pipeline: Any, twins: Twins, points: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Every way's frames (N, 1, S, S) and flow (N, 2, S, S), by key-points (2, N, 40, 2) of the P phases, one kind
    after another."""
    times, size = (points.shape[1] // len(twins.flow), 1, 1, 1), twins.flow.shape[2:]
    source, sector, exact = (values.repeat(times) for values in (twins.frames[0], twins.sector, twins.flow))
    small, inside = shrink(source, MODEL, MODEL), shrink(sector.float(), MODEL, MODEL)[:, 0] > 0.5
    made = pipeline(small, *points, sector=inside, valve_opening=twins.opening.repeat(times[0]))
    flows = {SPREAD: spread_motion(*points, MODEL, MODEL), SPLINE: tps_warp(small, *points, inside)[1], K2F: made.flow}
    flows = {name: resize_flow(flow, *size) * sector for name, flow in flows.items()} | {EXACT: exact}
    out = {NO_EDIT: (source, torch.zeros_like(exact))}
    out |= {name: (warp_inside(source, flow, sector), flow) for name, flow in flows.items()}
    return out | {KDM: (F.interpolate(made.frames, size, mode="bicubic", align_corners=True), flows[K2F])}


def score(pipeline: Any, seed: int, twins: Twins, distances: Mapping[str, Distance]) -> pd.DataFrame:
    """A row for each phase, way and kind of key-points."""
    kinds = {TRUE: twins.points} if twins.found is None else {TRUE: twins.points, FOUND: twins.found}
    made = edits(pipeline, twins, torch.cat(list(kinds.values()), 1))
    truth, valid, sector, exact = (
        v.repeat(len(kinds), 1, 1, 1) for v in (twins.frames[1], twins.valid, twins.sector, twins.flow)
    )
    scores = {
        way: image_scores(frames, truth, valid, distances) | flow_errors(flow, exact, sector)
        for way, (frames, flow) in made.items()
    }
    common = {
        "patient": seed,
        "key-points": np.repeat(list(kinds), len(twins.flow)),
        "motion": scores[NO_EDIT]["EPE"],
        **{f"{name}, {way}": values for way in (NO_EDIT, EXACT) for name, values in scores[way].items()},
    }
    return pd.concat(
        [pd.DataFrame({**common, "way": way, **values}) for way, values in scores.items()], ignore_index=True
    )


def figures(rows: pd.DataFrame, distances: Mapping[str, Distance]) -> dict[tuple[str, str, str], Interval]:
    """Every ratio by key-points, way and score; printed as a table. "gain": of what the exact flow's warp gains over no
    edit."""
    found = {}
    for (kind, way), part in rows.groupby(["key-points", "way"], sort=False):
        ratios = {"EPE": ratio_interval(part["EPE"], part["motion"], part["patient"])}
        for name in ("MSE_img", *(f"LPIPS_{net}" for net in distances)):
            still, exact = part[f"{name}, {NO_EDIT}"], part[f"{name}, {EXACT}"]
            ratios[name] = ratio_interval(part[name], still, part["patient"])
            ratios[f"{name} gain"] = ratio_interval(still - part[name], still - exact, part["patient"])
        print(
            f"      key-points {kind}, {way:<30}",
            "  ".join(f"{name} {bracketed(ratio)}" for name, ratio in ratios.items()),
            flush=True,
        )
        found |= {(kind, way, name): ratio for name, ratio in ratios.items()}
    return found


def bracketed(ratio: Interval) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 60)
    options.add_argument("--size", type=int, default=MODEL, help="px a side of the frames that are edited")
    options.add_argument("--out", type=Path, help="a file for every frame's scores")
    arguments = options.parse_args()
    print(begin(arguments))
    from rich.progress import track

    pipeline = load_pipeline(arguments.bundle)
    try:
        distances = {"squeeze": perceptual_distances()["squeeze"]}
    except (BundleError, KeyError):
        distances = {}
    rows, refused = [], 0
    for i in track(range(arguments.patients), description="editing", transient=True):
        twins = make_twins(FIRST_SEED + i, LOW + (HIGH - LOW) * (i * GOLDEN % 1), arguments.size, pipeline)
        refused += twins.found is None
        rows.append(score(pipeline, FIRST_SEED + i, twins, distances))
    scores = pd.concat(rows, ignore_index=True)
    if arguments.out is not None:
        scores.to_csv(arguments.out, index=False)
    motion = scores[scores["key-points"] == TRUE].groupby("patient")["motion"].mean().mean()
    print(
        f"{arguments.patients} twins, seeds from {FIRST_SEED}, {arguments.size} px, mean motion {motion:.3f} px; "
        f"the segmenter refused {refused}"
    )
    found = figures(scores, distances)
    bars = Bars()
    bars.at_most("key-points exact: K2F's end-point error over the motion", found[TRUE, K2F, "EPE"].value, 0.28, 3)
    bars.at_most("key-points exact: K2F's warp, MSE over no edit", found[TRUE, K2F, "MSE_img"].value, 0.28, 3)
    if (FOUND, K2F, "MSE_img") in found:
        bars.at_most("key-points found: K2F's warp, MSE over no edit", found[FOUND, K2F, "MSE_img"].value, 0.5, 3)
    for name in ("MSE_img", *(f"LPIPS_{net}" for net in distances)):
        if name != "MSE_img":
            bars.at_most(f"key-points exact: K2F's warp, {name} over no edit", found[TRUE, K2F, name].value, 0.78, 3)
        ratio = found[TRUE, KDM, name].value / found[TRUE, K2F, name].value
        bars.at_most(f"key-points exact: {name} of KDM over its warp's", ratio, 1.02, 3)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
