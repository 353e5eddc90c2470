"""Scores of a pipeline on phantoms that no training saw: what the paper's tables hold, a row for each pair and
method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.seeding import generator
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.methods.kdm.drawing import Drawing
from echokdm.metrics.flow import flow_errors
from echokdm.metrics.image import Distance, image_scores
from echokdm.metrics.keypoints import mean_distance, redetect
from echokdm.ops.fill import warp_inside
from echokdm.ops.tps import sector_anchors, tps_flow
from echokdm.ops.ventricle import ejection_fraction, simpson_volume

FIRST_SEED = HELD_OUT + 10_000  # the first 10,000 held-out seeds may have chosen between trainings
NO_EDIT, TPS, NO_F2I, NO_K2F, KDM = "no edit", "TPS warp", "KDM without F2I", "KDM without K2F", "KDM"
OWN_WARP, OF_WARP, TRUE_WARP, TARGET = "K2F-net's own warp", "OF-net warp", "true-flow warp", "target itself"
K2F, CARRIED, OF = "K2F-net", "K2F-net, made to carry the outline", "OF-net"  # flows; KDM warps by the second
ED_TO_ES, RANDOM = "ED to ES", "random"


@dataclass(frozen=True)
class HeldOutPairs:
    """N pairs of frames of one phantom each, on the CPU.

    source, target (N, 1, S, S) in [0, 1]; source_keypoints, target_keypoints (N, 40, 2) px; sector (N, S, S) bool;
    valid (N, 1, S, S) bool, where the sector holds target and source of the true warp; heart (N, 1, S, S) bool, its
    labels in the target; flow (N, 2, S, S) the exact backward flow, px; valve_opening (N,) of the target, 0 to 1; seeds
    (N,) of the patients; kinds, N of ED_TO_ES or RANDOM.
    """

    source: Tensor
    target: Tensor
    source_keypoints: Tensor
    target_keypoints: Tensor
    sector: Tensor
    valid: Tensor
    heart: Tensor
    flow: Tensor
    valve_opening: Tensor
    seeds: np.ndarray
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)


def held_out_pairs(seeds: Sequence[int], size: int = defaults.FRAME_SIZE) -> HeldOutPairs:
    """Two pairs a patient: end-diastole to end-systole, and from one random phase to another, drawn from the patient's
    seed."""
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom(seeds, size)
    random = torch.stack([torch.rand(2, generator=generator(s, 71)) for s in phantom.seeds])
    # source, target, source, target
    phases = torch.cat([torch.zeros(len(seeds), 1), phantom.end_systole[:, None], random], 1)
    frames, points = phantom.frames(phases), phantom.keypoints(phases)
    labels = phantom.masks(phases[:, 1::2])
    flows = [phantom.flow(phases[:, t], phases[:, t - 1]) for t in (1, 3)]
    valid = [phantom.valid(phases[:, t], phases[:, t - 1]) for t in (1, 3)]
    return HeldOutPairs(
        frames[:, 0::2].flatten(0, 1),
        frames[:, 1::2].flatten(0, 1),
        points[:, 0::2].flatten(0, 1),
        points[:, 1::2].flatten(0, 1),
        phantom.sector.repeat_interleave(2, 0),
        torch.stack(valid, 1).flatten(0, 1),
        (labels > 0).flatten(0, 1)[:, None],
        torch.stack(flows, 1).flatten(0, 1),
        phantom.valve_opening(phases[:, 1::2]).flatten(),
        np.repeat(phantom.seeds, 2),
        (ED_TO_ES, RANDOM) * len(seeds),
    )


def tps_warp(
    source: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, sector: Tensor
) -> tuple[Tensor, Tensor]:
    """The source moved by the thin-plate spline through the 40 points, the sector's edge held: image (B, 1, H, W), flow
    (B, 2, H, W).

    source (B, 1, H, W) in [0, 1], key-points (B, 40, 2) px, sector (B, H, W) bool.
    """
    inside = sector[:, None].float()
    anchors = torch.stack([sector_anchors(s) for s in sector])
    flow = tps_flow(source_keypoints, target_keypoints, source.shape[2], source.shape[3], anchors=anchors) * inside
    return warp_inside(source, flow, inside), flow


@torch.no_grad()
def score_pairs(
    pipeline: Any,
    pairs: HeldOutPairs,
    distances: Mapping[str, Distance],
    drawing: Drawing = Drawing(),
    strengths: Sequence[float] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every method on every pair -> (images, flows), long tables.

    images: patient, pair, method, strength (of `strengths`, ED to ES alone, else nan), MSE_img, SSIM, LPIPS_*, MD, EF,
    "EF true" (both percent, ED to ES alone). flows: patient, pair, flow, against, region, MAE, RMSE, EPE, motion (px,
    the mean length of `against`). pipeline: a KDMPipeline; methods whose networks it lacks are left out.
    """
    given = (pairs.source, pairs.source_keypoints, pairs.target_keypoints)
    inside = pairs.sector[:, None].float()
    told = {"sector": pairs.sector, "valve_opening": pairs.valve_opening}
    full = pipeline(*given, **told, drawing=drawing)
    spline, spline_flow = tps_warp(*given, pairs.sector)
    made = {NO_EDIT: pairs.source, TPS: spline, NO_F2I: full.warped}
    if pipeline.k2i is not None:
        made[NO_K2F] = pipeline(*given, **told, drawing=replace(drawing, without="k2f")).frames
    made[KDM] = full.frames
    device = pipeline.k2f.device
    own = torch.cat(
        [
            pipeline.predict_flow(
                *(part[i : i + 1].to(device) for part in (*given, inside)), replace(drawing, exact=False)
            ).cpu()
            for i in range(len(pairs))
        ]
    )  # alike in any company
    made[OWN_WARP] = warp_inside(pairs.source, own, inside)
    flows = {"no motion": torch.zeros_like(pairs.flow), TPS: spline_flow, K2F: own, CARRIED: full.flow}
    if pipeline.of_net is not None:
        flows[OF] = pipeline.optical_flow(pairs.target, pairs.source, inside)
        made[OF_WARP] = warp_inside(pairs.source, flows[OF], inside)
    made[TRUE_WARP] = warp_inside(pairs.source, pairs.flow, inside)
    images = pd.concat(
        [_picture_rows(pairs, name, frames, distances) for name, frames in made.items()], ignore_index=True
    )
    images = _add_keypoints(pipeline, pairs, images, made)
    swept = [_sweep(pipeline, pairs, full.flow, distances, replace(drawing, strength=k)) for k in strengths]
    return pd.concat([images, *swept], ignore_index=True), _flow_rows(pairs, flows)


def _picture_rows(pairs: HeldOutPairs, method: str, frames: Tensor, distances: Mapping[str, Distance]) -> pd.DataFrame:
    scores = image_scores(frames, pairs.target, pairs.valid, distances)
    return pd.DataFrame({"patient": pairs.seeds, "pair": pairs.kinds, "method": method, "strength": np.nan, **scores})


def _sweep(
    pipeline: Any, pairs: HeldOutPairs, flow: Tensor, distances: Mapping[str, Distance], drawing: Drawing
) -> pd.DataFrame:
    """KDM from another noise level (KDM, appendix C), on the same flow; ED to ES alone."""
    rows = [i for i, kind in enumerate(pairs.kinds) if kind == ED_TO_ES]
    made = pipeline(
        pairs.source[rows],
        pairs.source_keypoints[rows],
        pairs.target_keypoints[rows],
        sector=pairs.sector[rows],
        valve_opening=pairs.valve_opening[rows],
        flow=flow[rows],
        drawing=drawing,
    ).frames
    scores = image_scores(made, pairs.target[rows], pairs.valid[rows], distances)
    return pd.DataFrame(
        {"patient": pairs.seeds[rows], "pair": ED_TO_ES, "method": KDM, "strength": drawing.strength, **scores}
    )


def _add_keypoints(pipeline: Any, pairs: HeldOutPairs, images: pd.DataFrame, made: dict[str, Tensor]) -> pd.DataFrame:
    """MD and EF of the methods that don't see the target, and of the target itself: what the measuring network alone is
    off by."""
    judged = {name: frames for name, frames in made.items() if name not in (OWN_WARP, OF_WARP, TRUE_WARP)} | {
        TARGET: pairs.target
    }
    device = pipeline.measurer.device
    found = np.empty((len(judged), len(pairs), 40, 2))
    for i in range(len(pairs)):
        frames = torch.stack([frames[i] for frames in judged.values()]).to(device)
        found[:, i] = redetect(pipeline.measurer, frames, pairs.sector[i].to(device))
    truth = pairs.target_keypoints.double().numpy()
    ed_es = np.array([kind == ED_TO_ES for kind in pairs.kinds])
    volumes = simpson_volume(found)
    ed_volume = volumes[list(judged).index(NO_EDIT)]  # found in the source by the same network
    true_ed = simpson_volume(pairs.source_keypoints.double().numpy())
    true_ef = np.where(ed_es, ejection_fraction(true_ed, simpson_volume(truth)), np.nan)
    rows = []
    for name, points, volume in zip(judged, found, volumes, strict=True):
        ef = np.where(ed_es, 100 * (ed_volume - volume) / ed_volume, np.nan)
        rows.append(
            pd.DataFrame(
                {
                    "patient": pairs.seeds,
                    "pair": pairs.kinds,
                    "method": name,
                    "MD": mean_distance(points, truth),
                    "EF": ef,
                    "EF true": true_ef,
                }
            )
        )
    return images.merge(pd.concat(rows), on=["patient", "pair", "method"], how="outer", sort=False)


def _flow_rows(pairs: HeldOutPairs, flows: dict[str, Tensor]) -> pd.DataFrame:
    against = [(name, "truth") for name in flows] + [(K2F, OF)] * (OF in flows)
    regions = {"heart": pairs.valid & pairs.heart, "sector": pairs.valid}
    rows = []
    for name, other in against:
        reference = pairs.flow if other == "truth" else flows[other]
        for region, mask in regions.items():
            errors = flow_errors(flows[name], reference, mask)
            motion = flow_errors(torch.zeros_like(reference), reference, mask)["EPE"]
            rows.append(
                pd.DataFrame(
                    {
                        "patient": pairs.seeds,
                        "pair": pairs.kinds,
                        "flow": name,
                        "against": other,
                        "region": region,
                        **errors,
                        "motion": motion,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)
