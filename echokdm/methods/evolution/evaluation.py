"""The paper's Tables 1, 3 and 4 in form: reconstruction of held-out sequences, how many references help, and
animation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.errors import DataError
from echokdm.core.seeding import derive_seed
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
REFERENCES = 3  # of the main table, drawn, as in the paper
PAIRS = 200  # of source and driving clip, as in the paper
SCORED = 32  # frames scored at a time
COLUMNS = ("L1", "LPIPS_squeeze", "SSIM", "PSNR", "AKD")


def finder(network: LandmarkNet | None) -> Detector | None:
    """A detector for AKD from a network of landmarks; None where there is none."""
    return None if network is None else lambda images: network(images.to(network.device))[0].cpu()


def with_references(count: int) -> str:
    """The label of a row of the tables."""
    return f"{count} reference" + "s" * (count != 1)


def picture_scores(
    made: Tensor,
    truth: Tensor,
    distances: Mapping[str, Distance],
    detector: Detector | None = None,
    places: Tensor | None = None,
) -> dict[str, np.ndarray]:
    """L1, SSIM, PSNR (dB), an LPIPS of each backbone and, with a detector, AKD (px): name -> (B,).

    made, truth (B, 3, H, W) in [0, 1]. AKD: mean distance of the key-points found in both, as in FOMM; places (B, N,
    2): those of the truth, where they were found already.
    """
    scores = frame_scores(made, truth, distances)
    if detector is not None:
        places = detector(truth) if places is None else places
        scores["AKD"] = mean_distance(detector(made).double().numpy(), places.double().numpy())
    return scores


def first_view(frames: Tensor, most: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """Views of a clip (T, 3, H, W), its first frame, the source, then up to `most` drawn references, and which frames
    are to be made.

    Those are all others, in order, but for any that is a view in every pixel; one at least is never drawn.
    """
    order = 1 + rng.permutation(len(frames) - 1)
    shown = np.array([0, *order[: max(0, min(most, len(frames) - 2))]], np.int64)
    views = frames[shown]
    rest = [t for t in range(1, len(frames)) if not (frames[t] == views).flatten(1).all(1).any()]
    return views, np.array(rest, np.int64)


@torch.no_grad()
def score_reconstruction(
    pipeline: EvolutionPipeline,
    data: FrameSource,
    distances: Mapping[str, Distance],
    detector: Detector | None = None,
    seed: int = 0,
    counts: Sequence[int] = (0, REFERENCES),
    most: int = 6,
) -> pd.DataFrame:
    """Each held-out clip made from its first frame: a long table with sequence, its subject, frame, task, variant and
    scores.

    Task "main": every frame, in order, from the first and as many drawn references as `counts` say, REFERENCES at most.
    Task "number": the same from 0 to `most` references; left out where `most` is 0. A view is never made from itself,
    so the frames of a task are those that none of its variants is shown. Clips that stand still are passed over.
    """
    clips, tables = data.clips(), []
    tasks: dict[str, Sequence[int]] = {"main": [c for c in counts if c <= REFERENCES]} | (
        {"number": range(most + 1)} if most else {}
    )
    for i, subject in enumerate(clips.subjects):
        frames = clips[i]
        for task, numbers in tasks.items():
            views, rest = first_view(
                frames, REFERENCES if task == "main" else most, np.random.default_rng(derive_seed(seed, i))
            )
            if not len(rest):
                continue
            made = {
                with_references(c): pipeline(views[: 1 + c], frames[rest]).frames
                for c in sorted({min(count, len(views) - 1) for count in numbers})
            }
            if task == "main":
                errors = torch.stack([(frames[rest] - view).abs().mean((1, 2, 3)) for view in views])
                made = {NO_EDIT: views[:1].expand(len(rest), -1, -1, -1), BEST_VIEW: views[errors.argmin(0)]} | made
            for begin in range(0, len(rest), SCORED):
                part = rest[begin : begin + SCORED]
                places = None if detector is None else detector(frames[part])
                for variant, pictures in made.items():
                    scores = picture_scores(pictures[begin : begin + SCORED], frames[part], distances, detector, places)
                    tables.append(
                        pd.DataFrame(
                            {
                                "sequence": i,
                                "subject": subject,
                                "frame": part,
                                "task": task,
                                "variant": variant,
                                **scores,
                            }
                        )
                    )
    if not tables:
        raise DataError("No held-out clip has two frames that differ, so there is nothing to make again.")
    return pd.concat(tables, ignore_index=True)


def animation_pairs(subjects: np.ndarray, seed: int, most: int = PAIRS) -> list[tuple[int, int]]:
    """(source, driving) clips of different subjects, drawn, each clip once as the source, `most` at most; none of one
    subject."""
    rng = np.random.default_rng(seed)
    others = {i: np.flatnonzero(subjects != subject) for i, subject in enumerate(subjects)}
    pairs = [(i, int(rng.choice(others[i]))) for i in rng.permutation(len(subjects)).tolist() if len(others[i])]
    return sorted(pairs[:most])


@torch.no_grad()
def score_animation(
    pipeline: EvolutionPipeline, data: FrameSource, features: Features | None, seed: int = 1
) -> pd.DataFrame:
    """The first frame of held-out clips in the poses of another's, frame by frame in order: a long table with sequence,
    subject, frame, variant, identity and pose.

    Relative motion is that since the driving clip's first frame. identity: cosine of the pictures' mean features with
    the source's, which stands for CSIM where there is no network of identities, nan without `features`. pose: mean
    distance, px, of the key-points found again in the picture from those asked for.
    """
    clips, tables = data.clips(), []
    for i, j in animation_pairs(clips.subjects, seed):
        views, _ = first_view(clips[i], REFERENCES, np.random.default_rng(derive_seed(seed, i)))
        driving, own = clips[j], _appearance(features, views[:1])
        for variant, given in (
            ("absolute", {}),
            ("relative to the first frame", {"relative": True}),
            ("relative to the nearest frame", {"relative": True, "anchor": "nearest"}),
        ):
            out = pipeline(views, driving, **given)
            again = pipeline.find_keypoints(out.frames)
            tables.append(
                pd.DataFrame(
                    {
                        "sequence": i,
                        "subject": clips.subjects[i],
                        "frame": np.arange(len(driving)),
                        "variant": variant,
                        "identity": F.cosine_similarity(_appearance(features, out.frames), own).double().numpy(),
                        "pose": mean_distance(again.double().numpy(), out.keypoints.double().numpy()),
                    }
                )
            )
        tables.append(
            pd.DataFrame(
                {
                    "sequence": i,
                    "subject": clips.subjects[i],
                    "frame": np.arange(len(driving)),
                    "variant": "the driving object",
                    "identity": F.cosine_similarity(_appearance(features, driving), own).double().numpy(),
                    "pose": np.nan,
                }
            )
        )
    if not tables:
        raise DataError("Animation needs held-out clips of two subjects, but there is one.")
    return pd.concat(tables, ignore_index=True)


def _appearance(features: Features | None, images: Tensor) -> Tensor:
    """Mean activations of the last layer: (B, 3, H, W) -> (B, C); nan without a network."""
    if features is None:
        return images.new_full((len(images), 1), torch.nan)
    return torch.cat([features(part)[-1].mean((2, 3)) for part in images.split(SCORED)])


def _rows(scores: pd.DataFrame, names: tuple[str, ...]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple(
        (variant, tuple(mean_interval(part[n], part["subject"]) for n in names))
        for variant, part in scores.groupby("variant", sort=False)
    )


def evaluation_tables(pipeline: EvolutionPipeline, data: FrameSource, detector: Detector | None = None) -> list[Table]:
    """Reconstruction, number of references, animation. Without a detector there is no AKD."""
    distances = {net: distance for net, distance in found_distances().items() if net == "squeeze"}
    made = score_reconstruction(pipeline, data, distances, detector)
    animated = score_animation(pipeline, data, Features("squeeze", ("relu5_1",)) if has_backbone("squeeze") else None)
    names = tuple(n for n in COLUMNS if n in made)
    lpips = (
        distances["squeeze"].provenance
        if distances
        else "LPIPS and identity need ImageNet's weights, see `echokdm doctor`"
    )
    note = (
        f"Held-out clips at {data.size} px, all frames in order from the first and drawn references; {lpips}. "
        "In brackets: 95 % intervals by bootstrap over subjects. "
        "AKD in px, of key-points found again in the pictures."
    )
    main, number = (made[made["task"] == task] for task in ("main", "number"))
    return [
        Table("Video reconstruction (the paper's Tables 1 and 3 in form)", names, _rows(main, names), note),
        Table(
            "How many references (the paper's Table 4 in form)",
            names,
            _rows(number, names),
            "Of each clip the frames that no variant is shown. " + note,
        ),
        Table(
            "Animation by another's clip",
            ("identity", "pose, px"),
            _rows(animated, ("identity", "pose")),
            "identity: cosine of mean SqueezeNet features with the source's, in place of CSIM; pose: "
            "distance of unsupervised key-points found again from those asked for. " + note,
        ),
    ]
