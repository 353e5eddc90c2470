"""MIDM on held-out sequences: the paper's Tables 1-4 in form, with a truth that the paper's data does not have."""

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import DataError
from echokdm.data.frames import FrameSource
from echokdm.losses.features import Backbone, Features
from echokdm.losses.perceptual import Perceptual, has_backbone
from echokdm.methods.midm.conditions import pair_images
from echokdm.methods.midm.config import Exemplar
from echokdm.methods.midm.pipeline import Changes, MIDMPipeline
from echokdm.metrics.image import frame_scores
from echokdm.metrics.intervals import Interval, mean_interval
from echokdm.metrics.sliced_wasserstein import sliced_wasserstein
from echokdm.metrics.style import STYLE_LAYERS, style_scores
from echokdm.metrics.tables import Cell, Table

SEED = 1  # of the held-out draw
STYLE = ("colour", "texture", "semantic")
FIGURES = ("LPIPS", "L1", "PSNR", "SSIM", *STYLE)  # a figure each picture; SWD is of the whole set
COPY, FULL, ONE_TIME = "exemplar itself", "MIDM", "(-) recurrent matching"
ABLATIONS = {
    FULL: Changes(),
    "(-) confidence masking": Changes(masked=False),
    ONE_TIME: Changes(rematch=False),
    "(-) diffusion U-Net": Changes(diffuse=False),
}
NOISES = (0.20, 0.25, 0.30, 0.35)  # Table 4
NOTE = (
    "Condition and truth are one held-out frame, the exemplar is {exemplar}. SWD in 1e-3, of patches of 7 px. {judge} "
    "The paper scores by FID, whose network is not part of this package."
)
NAMED = {
    "same": "another frame of its subject",
    "other": "the one that the data set lists or, where it lists none, another subject's",
}
DIVERSITY, TO_EXEMPLARS = "LPIPS, diversity", "SWD to exemplars"


class Held:
    """N held-out items: condition, exemplar, truth, (N, 3, S, S) each; item i is of sequence i.

    exemplar: as in `MIDMConfig`, None for what the pipeline was trained with. second: with "other", an exemplar of yet
    another subject.
    """

    def __init__(
        self,
        pipeline: MIDMPipeline,
        data: FrameSource,
        count: int | None = None,
        exemplar: Exemplar | None = None,
        others: int = 1,
    ) -> None:
        self.kind: Exemplar = pipeline.exemplar if exemplar is None else exemplar
        sets = data.held_out(2, SEED) if self.kind == "same" else data.held_out(1, SEED, others=others)
        items = [sets[(0, i)] for i in range(len(sets) if count is None else min(count, len(sets)))]
        batch = {k: torch.stack([item[k] for item in items]) for k in items[0]}
        self.condition, self.exemplar, self.truth = pair_images(batch, pipeline.condition_kind, pipeline.schema)
        self.second = batch["other_frames"][:, 1] if self.kind == "other" and others > 1 else None


class Judge:
    """Scores of pictures against the truth and the exemplar.

    net: of the style scores' features. They and LPIPS are left out where ImageNet's weights are not on this machine.
    """

    def __init__(self, net: Backbone = "squeeze") -> None:
        self.lpips = Perceptual("squeeze") if has_backbone("squeeze") else None
        self.features = Features(net, STYLE_LAYERS) if net == "own" or has_backbone(net) else None
        self.note = (
            f"LPIPS: squeeze; colour and texture: style relevance to the exemplar; semantic: consistency with the truth; {net} "
            "features."
            if self.lpips and self.features
            else "LPIPS and style need ImageNet's weights: see `echokdm doctor`."
        )

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of `FIGURES` that can be had."""
        missing = (("LPIPS",) if self.lpips is None else ()) + (STYLE if self.features is None else ())
        return tuple(name for name in FIGURES if name not in missing)

    @torch.no_grad()
    def scores(self, made: Tensor, held: Held) -> dict[str, np.ndarray]:
        """Those of `FIGURES` that can be had, (N,) float64; pictures (N, 3, S, S) in [0, 1]."""
        values = frame_scores(made, held.truth, {} if self.lpips is None else {"squeeze": self.lpips})
        if self.lpips is not None:
            values["LPIPS"] = values.pop("LPIPS_squeeze")
        if self.features is not None:
            style = style_scores(self.features, made, held.exemplar, held.truth)
            values |= {name: value.double().numpy() for name, value in style.items()}
        return {name: values[name] for name in self.figures}

    def row(self, label: str, made: Tensor, held: Held) -> tuple[str, tuple[Cell, ...]]:
        """A table's row: the figures' means with their intervals over sequences, and SWD."""
        swd = sliced_wasserstein(made, held.truth)
        cells = [mean_interval(v) for v in self.scores(made, held).values()]
        return label, (*cells, Interval(swd, np.nan, np.nan, len(made), 1))


def exemplar_table(
    pipeline: MIDMPipeline, data: FrameSource, seed: int, judge: Judge, count: int | None = None
) -> Table | None:
    """Table 1 in form, each condition with exemplars of two other subjects; None where the data set has too few.

    Diversity: LPIPS between the two pictures made of one condition, the higher the more they owe to the exemplar. The
    paper names the score and not the pairs; these are those that are alike in all but the exemplar.
    """
    try:
        held = Held(pipeline, data, count, "other", 2)
    except DataError:
        return None
    assert held.second is not None  # two others were asked for
    rows = []
    made = tuple(pipeline(exemplar, held.condition, seed=seed).frames for exemplar in (held.exemplar, held.second))
    for label, (one, other) in {COPY: (held.exemplar, held.second), FULL: made}.items():
        cells: list[Cell] = [] if judge.lpips is None else [mean_interval(judge.lpips(one, other).double().numpy())]
        cells += [
            Interval(sliced_wasserstein(one, against), np.nan, np.nan, len(one), 1)
            for against in (held.truth, held.exemplar)
        ]
        scores = judge.scores(one, held)
        rows.append((label, (*cells, *(mean_interval(scores[name]) for name in STYLE if name in scores))))
    columns = (
        *(() if judge.lpips is None else (DIVERSITY,)),
        "SWD",
        TO_EXEMPLARS,
        *(name for name in STYLE if name in judge.figures),
    )
    note = NOTE.format(judge=judge.note, exemplar=NAMED["other"]) + (
        f" {len(held.truth)} conditions, two exemplars each; {DIVERSITY}: between the two pictures of one condition, higher is better."
    )
    return Table("Exemplars of other subjects (Table 1 in form)", columns, tuple(rows), note)


def tables(
    pipeline: MIDMPipeline, data: FrameSource, seed: int = 0, judge: Judge | None = None, count: int | None = None
) -> list[Table]:
    """Tables 2 and 3 as one, the components taken out at inference; Table 4, noise levels of the start; Table 1, where
    it can be had.

    count: of sequences, all for None.
    """
    held, judge = Held(pipeline, data, count), judge or Judge()
    note = NOTE.format(judge=judge.note, exemplar=NAMED[held.kind]) + f" {len(held.truth)} sequences."

    def made(changes: Changes) -> Tensor:
        return pipeline(held.exemplar, held.condition, changes, seed=seed).frames

    rows = [judge.row(COPY, held.exemplar, held)] + [
        judge.row(name, made(changes), held) for name, changes in ABLATIONS.items()
    ]
    noises = [judge.row(f"{noise:.0%}", made(Changes(strength=noise)), held) for noise in NOISES]
    columns = (*judge.figures, "SWD")
    made_of_others = exemplar_table(pipeline, data, seed, judge, count)
    return [
        Table("MIDM and without its parts (Tables 2, 3)", columns, tuple(rows), note),
        Table("Noise level of the start (Table 4)", columns, tuple(noises), note),
    ] + ([made_of_others] if made_of_others else [])
