"""Scores of a clip's own motion made again from its end-diastolic frame (KDM, section 5.2), by third of the beat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from echokdm.echo.derive import Derived
from echokdm.echo.wish import Sampling
from echokdm.evaluation.held_out import KDM, NO_EDIT, NO_F2I, NO_K2F, TPS, tps_warp
from echokdm.methods.kdm.drawing import Drawing
from echokdm.metrics.image import Distance, image_scores
from echokdm.metrics.keypoints import mean_distance
from echokdm.metrics.temporal import fetched_inside
from echokdm.ops.cycle import closing_end_diastole, valve_opening
from echokdm.ops.ventricle import simpson_volume

THIRDS = ("first", "middle", "last")
SYSTOLE = 0.37  # share of a beat at rest; tells the beat's length where only one end-diastole is seen


def beat_thirds(volumes: np.ndarray, beats: Sequence[tuple[int, int]]) -> np.ndarray:
    """Which third of its beat, 0, 1 or 2, each frame is in (T,), by the volumes (T,); a beat runs from one end-diastole
    to the next.

    beats: (end-diastolic, end-systolic) frames. The last beat ends where the ventricle is full again. With one
    end-diastole seen, the beat's length is told by its systole, or by the diastole before it where the end-systole
    comes first.
    """
    frames, end = len(volumes), closing_end_diastole(volumes, beats)
    starts = sorted({ed for ed, _ in beats} | ({end} if end is not None else set()))
    if len(starts) > 1:
        period = float(np.diff(starts).mean())
    else:
        ed, es = beats[0]
        period = max((es - ed) / SYSTOLE if es > ed else (ed - es) / (1 - SYSTOLE), 1.0)
    t = np.arange(frames)
    before = np.searchsorted(starts, t, side="right") - 1
    phase = (t - np.array(starts)[np.maximum(before, 0)]) / period
    for i in range(len(starts) - 1):  # between two seen end-diastoles the beat has its own length
        within = before == i
        phase[within] = (t[within] - starts[i]) / (starts[i + 1] - starts[i])
    return np.minimum((np.mod(phase, 1.0) * 3).astype(int), 2)


@torch.no_grad()
def score_resynthesis(
    pipeline: Any,
    source: Derived,
    detect: Callable[[Tensor], np.ndarray],
    distances: Mapping[str, Distance],
    sampling: Sampling = Sampling(),
) -> tuple[pd.DataFrame, Tensor]:
    """Every method on every frame but the source -> a long table, and KDM's frames (T, 1, H, W).

    source: in the model's frame. detect: frames (T, 1, H, W) in [0, 1] -> key-points (T, 40, 2) px.
    The table: frame, third, method, MSE_img, SSIM, LPIPS_*, MD (px; to the source's key-points), volume (px^3).
    Compared inside the sector where what KDM's flow fetches lies inside it too, the same for all methods.
    """
    frames, keypoints, beats = source.model.clip.frames[:], source.keypoints, source.beats
    sector, first = torch.as_tensor(source.model.sector_mask), int(source.beats[0][0])
    drawing = Drawing(steps=sampling.steps, strength=sampling.strength, seed=sampling.seed)
    volumes = simpson_volume(keypoints)
    points = torch.as_tensor(keypoints, dtype=torch.float32)
    total = len(frames)
    image, start = frames[first : first + 1], points[first]
    told = {"sector": sector, "valve_opening": torch.as_tensor(valve_opening(volumes))}
    out = pipeline(image, start, points, **told, drawing=drawing)
    still = image.expand(total, -1, -1, -1)
    made = {
        NO_EDIT: still,
        TPS: tps_warp(still, start.expand(total, -1, -1), points, sector.expand(total, -1, -1))[0],
        NO_F2I: out.warped,
    }
    if pipeline.k2i is not None:
        made[NO_K2F] = pipeline(image, start, points, **told, drawing=replace(drawing, without="k2f")).frames
    made[KDM] = out.frames
    mask = fetched_inside(out.flow, sector.expand(total, 1, -1, -1))
    thirds = beat_thirds(volumes, beats)
    kept = np.arange(total) != first  # the source is in its own place
    tables = []
    for name, pictures in made.items():
        found = np.broadcast_to(keypoints[first], keypoints.shape) if name == NO_EDIT else detect(pictures)
        scores = image_scores(pictures, frames, mask, distances)
        table = {
            "frame": np.arange(total),
            "third": [THIRDS[i] for i in thirds],
            "method": name,
            **scores,
            "MD": mean_distance(found, keypoints),
            "volume": simpson_volume(found),
        }
        tables.append(pd.DataFrame(table)[kept])
    return pd.concat(tables, ignore_index=True), out.frames
