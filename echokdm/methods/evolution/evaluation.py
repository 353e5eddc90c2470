"""The paper's Tables 1, 3 and 4 in form: reconstruction of held-out sequences, how many references help, and animation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.data.frames import FrameSource
from echokdm.losses.features import Features
from echokdm.losses.perceptual import found_distances, has_backbone
from echokdm.methods.evolution.pipeline import EvolutionPipeline
from echokdm.metrics.image import Distance, frame_scores
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.keypoints import mean_distance
from echokdm.metrics.tables import Table
from echokdm.networks.landmarks import LandmarkNet

Detector = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [0, 1] -> key-points (B, N, 2) px

NO_EDIT, BEST_VIEW = "no edit", "no edit, best view"
REFERENCES = 3  # of the main table, as in the paper
COLUMNS = ("L1", "LPIPS_squeeze", "SSIM", "PSNR", "AKD")


def finder(network: LandmarkNet | None) -> Detector | None:
    """A detector for AKD from a network of landmarks; None where there is none."""
    return None if network is None else lambda images: network(images.to(network.device))[0].cpu()


def with_references(count: int) -> str:
    """The label of a row of the tables."""
    return f"{count} reference" + "s" * (count != 1)


def picture_scores(made: Tensor, truth: Tensor, distances: Mapping[str, Distance], detector: Detector | None = None,
                   places: Tensor | None = None) -> dict[str, np.ndarray]:
    """L1, SSIM, PSNR (dB), an LPIPS of each backbone and, with a detector, AKD (px): name -> (B,).

    made, truth (B, 3, H, W) in [0, 1]. AKD: mean distance of the key-points found in both, as in FOMM; places (B, N, 2): those of
    the truth, where they were found already.
    """
    scores = frame_scores(made, truth, distances)
    if detector is not None:
        places = detector(truth) if places is None else places
        scores["AKD"] = mean_distance(detector(made).double().numpy(), places.double().numpy())
    return scores


@torch.no_grad()
def score_reconstruction(pipeline: EvolutionPipeline, data: FrameSource, distances: Mapping[str, Distance],
                         detector: Detector | None = None, seed: int = 0, counts: Sequence[int] = (0, REFERENCES),
                         most: int = 6) -> pd.DataFrame:
    """Frames of each held-out sequence made from others of it: a long table with sequence, frame, task, variant and scores.

    Task "main": all frames from the fifth on, from the first, the source, and as many behind it as `counts` say, REFERENCES at most.
    Task "number": the last frame alone, from 0 to `most` references; left out where `most` is 0.
    """
    kept = data.config.frames
    held_out = data.held_out(kept, seed)
    tables = []

    def add(i: int, task: str, variant: str, made: Tensor, truth: Tensor, places: Tensor | None) -> None:
        scores = picture_scores(made, truth, distances, detector, places)
        tables.append(pd.DataFrame({"sequence": i, "frame": np.arange(len(made)), "task": task, "variant": variant, **scores}))

    for i in range(len(held_out)):
        frames = held_out[0, i]["frames"]
        first = min(1 + REFERENCES, kept - 1)
        truth = frames[first:]
        places = None if detector is None else detector(truth)
        errors = (frames[:first, None] - truth[None]).abs().mean((2, 3, 4))
        add(i, "main", NO_EDIT, frames[:1].expand_as(truth), truth, places)
        add(i, "main", BEST_VIEW, frames[errors.argmin(0)], truth, places)
        for count in sorted({min(c, first - 1) for c in counts}):
            add(i, "main", with_references(count), pipeline(frames[:1 + count], truth).frames, truth, places)
        for count in range(min(most, kept - 2) + 1 if most else 0):
            last = None if places is None else places[-1:]
            add(i, "number", with_references(count), pipeline(frames[:1 + count], frames[-1:]).frames, frames[-1:], last)
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def score_animation(pipeline: EvolutionPipeline, data: FrameSource, features: Features | None, seed: int = 1) -> pd.DataFrame:
    """Each held-out object in the poses of another: a long table with sequence, frame, variant, identity and pose.

    identity: cosine of the pictures' mean features with the source's, which stands for CSIM where there is no network of
    identities, nan without `features`. pose: mean distance, px, of the key-points found again in the picture from those asked for.
    """
    kept = data.config.frames
    views = min(1 + REFERENCES, kept)
    held_out = data.held_out(views, seed, others=kept)
    tables = []
    for i in range(len(held_out)):
        item = held_out[0, i]
        source, driving = item["frames"], item["other_frames"]
        own = _appearance(features, source[:1])
        for variant, given in (("absolute", {}), ("relative to the first frame", {"relative": True}),
                               ("relative to the nearest frame", {"relative": True, "anchor": "nearest"})):
            out = pipeline(source, driving, **given)
            again = pipeline.find_keypoints(out.frames)
            tables.append(pd.DataFrame({
                "sequence": i, "frame": np.arange(len(driving)), "variant": variant,
                "identity": F.cosine_similarity(_appearance(features, out.frames), own).double().numpy(),
                "pose": mean_distance(again.double().numpy(), out.keypoints.double().numpy())}))
        tables.append(pd.DataFrame({"sequence": i, "frame": np.arange(len(driving)), "variant": "the driving object",
                                    "identity": F.cosine_similarity(_appearance(features, driving), own).double().numpy(),
                                    "pose": np.nan}))
    return pd.concat(tables, ignore_index=True)


def _appearance(features: Features | None, images: Tensor) -> Tensor:
    """Mean activations of the last layer: (B, 3, H, W) -> (B, C); nan without a network."""
    return images.new_full((len(images), 1), torch.nan) if features is None else features(images)[-1].mean((2, 3))


def _rows(scores: pd.DataFrame, names: tuple[str, ...]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple((variant, tuple(mean_interval(part[n], part["sequence"]) for n in names))
                 for variant, part in scores.groupby("variant", sort=False))


def evaluation_tables(pipeline: EvolutionPipeline, data: FrameSource, detector: Detector | None = None) -> list[Table]:
    """Reconstruction, number of references, animation. Without a detector there is no AKD."""
    distances = {net: distance for net, distance in found_distances().items() if net == "squeeze"}
    made = score_reconstruction(pipeline, data, distances, detector)
    animated = score_animation(pipeline, data, Features("squeeze", ("relu5_1",)) if has_backbone("squeeze") else None)
    names = tuple(n for n in COLUMNS if n in made)
    lpips = distances["squeeze"].provenance if distances else "LPIPS and identity need ImageNet's weights, see `echokdm doctor`"
    note = (f"Held-out sequences at {data.size} px; {lpips}. In brackets: 95 % intervals by bootstrap over sequences. "
            "AKD in px, of key-points found again in the pictures.")
    main, number = (made[made["task"] == task] for task in ("main", "number"))
    return [Table("Video reconstruction (the paper's Tables 1 and 3 in form)", names, _rows(main, names), note),
            Table("How many references (the paper's Table 4 in form)", names, _rows(number, names), "One frame a sequence. " + note),
            Table("Animation by another's clip", ("identity", "pose, px"), _rows(
                animated, ("identity", "pose")), "identity: cosine of mean SqueezeNet features with the source's, in place of CSIM; pose: "
                "distance of unsupervised key-points found again from those asked for. " + note)]
