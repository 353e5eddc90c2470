"""Motion transfer by differential evolution on held-out faces: reconstruction, the paper's ablations, references,
animation.

    python benchmarks/methods/evolution.py [--runs runs/evolution] [--detector FOLDER] [--seeds 3] [--ode-seeds 3] [--set a.b=c ...]

Trains what is not in --runs yet (the full model for --seeds, the one without motion evolution for --ode-seeds, the
other ablations for one), then prints one table of all scores and the bars: reconstruction's LPIPS at most 0.8 x no
edit; AKD better with the ODE than without; three references better than none; and every sign of the paper's Tables 3
and 4 that can be measured here. --detector: a saved LandmarkNet, for AKD.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bars import Bars, machine  # noqa: E402

from echokdm.core.config import load_config  # noqa: E402
from echokdm.data.adapters.phantoms import FRAMES, HELD_OUT, SIDE  # noqa: E402
from echokdm.data.frames import FrameSource, fit_square  # noqa: E402
from echokdm.losses.perceptual import Perceptual  # noqa: E402
from echokdm.methods.evolution import METHOD, EvolutionPipeline  # noqa: E402
from echokdm.methods.evolution.evaluation import (  # noqa: E402
    BEST_VIEW,
    NO_EDIT,
    Detector,
    finder,
    picture_scores,
    score_reconstruction,
    with_references,
)
from echokdm.methods.train import train_config  # noqa: E402
from echokdm.networks.landmarks import LandmarkNet  # noqa: E402
from echokdm.phantom.face import FacePhantom  # noqa: E402

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "evolution-face-64.yaml"
FULL, NO_ODE, NO_APPEARANCE, NO_FUSION = (
    "full",
    "w/o motion evolution",
    "w/o appearance assistance",
    "w/o multi-view fusion",
)
VARIANTS = {
    FULL: [],
    NO_ODE: ["animator.evolution=false"],
    NO_APPEARANCE: ["animator.self_appearance=false"],
    NO_FUSION: ["animator.references=0", "animator.fewest_references=0"],
}
# Reconstruction in the paper's Table 3, DFDC at 256 px (LPIPS of "full" is printed 0.0061, which its Table 4 shows to
# be 0.061).
PAPER = {
    FULL: (0.018, 0.061, 0.91, 27.99, 1.28),
    NO_ODE: (0.022, 0.082, 0.87, 28.60, 1.53),
    NO_APPEARANCE: (0.024, 0.085, 0.85, 27.88, 1.29),
    NO_FUSION: (0.032, 0.108, 0.84, 24.24, 1.78),
}
PAPER_NUMBER = {1: (0.024, 0.088, 0.87, 27.23, 1.33), 6: (0.016, 0.050, 0.92, 29.04, 1.19)}  # its Table 4
COLUMNS = ("L1", "LPIPS_squeeze", "SSIM", "PSNR", "AKD")
HIGHER = {"SSIM", "PSNR"}


def trained(runs: Path, variant: str, seed: int, overrides: list[str], score_only: bool) -> Path | None:
    """The bundle of a variant and a seed; trained where it is not there, or None."""
    name = f"{variant.replace('/', '').replace(' ', '-')}-{seed}"
    if score_only:
        bundle = runs / name / "bundle"
        return bundle if (bundle / "model_index.json").is_file() else None
    settings = [*overrides, *VARIANTS[variant], f"seed={seed}", f"name={name}"]
    return train_config(CONFIG, out=runs / name, overrides=settings)


@torch.no_grad()
def score_animation(
    pipeline: EvolutionPipeline, distances: dict, detector: Detector | None, size: int, pairs: int
) -> pd.DataFrame:
    """Identity i in the poses of identity i + 1, which the simulator can show: the truth of animation."""

    def shown(phantom: FacePhantom, moments: torch.Tensor) -> torch.Tensor:
        return fit_square(phantom.frames(moments)[0], size)[0]

    phases, tables = torch.arange(FRAMES)[None] / FRAMES, []
    for i in range(pairs):
        own, other = (FacePhantom([HELD_OUT + i + k], SIDE) for k in (0, 1))
        views, driving = shown(own, phases)[::3], shown(other, phases)
        since = own.poses(phases)[:, :1] + other.poses(phases) - other.poses(phases)[:, :1]
        # mouth, smile, brow and blink have limits
        since[..., :4] = since[..., :4].clamp(since.new_tensor([0, -1, 0, 0]), torch.ones(4))
        truths = {"absolute": other.poses(phases), "relative": since}
        for variant, poses in truths.items():
            truth = shown(own, poses)
            made = {
                "no edit": views[:1].expand_as(truth),
                "full": pipeline(views, driving, relative=variant == "relative").frames,
            }
            for name, frames in made.items():
                scores = picture_scores(frames, truth, distances, detector)
                tables.append(pd.DataFrame({"sequence": i, "variant": f"animation, {variant}: {name}", **scores}))
    return pd.concat(tables, ignore_index=True)


def summary(scores: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """(seed, variant, ...) -> mean of each score for every variant and seed."""
    return scores.groupby(["variant", "seed"], sort=False)[names].mean()


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over seeds."""
    digits = 4 if np.abs(values).mean() < 1 else 2
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


def check_signs(
    bars: Bars,
    what: str,
    better: pd.Series,
    worse: pd.Series,
    paper_better: tuple,
    paper_worse: tuple,
    names: list[str],
) -> None:
    """One line a score: does the difference have the sign that the paper prints?"""
    for name in names:
        k = COLUMNS.index(name)
        ours, printed = better[name] - worse[name], paper_better[k] - paper_worse[k]
        bars.check(
            f"{what}: sign of {name}",
            bool(np.sign(ours) == np.sign(printed)),
            f"{ours:+.4f}",
            f"the paper's {printed:+.4f}",
        )


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=Path, default=Path("runs/evolution"))
    options.add_argument("--detector", type=Path, help="a saved LandmarkNet, for AKD")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument(
        "--ode-seeds", type=int, default=3, help="of the ablation without motion evolution; the others have one"
    )
    options.add_argument("--pairs", type=int, default=8, help="of identities, for animation")
    options.add_argument("--score-only", action="store_true", help="leave out what is not trained")
    options.add_argument("--set", nargs="*", default=[], help="overrides of the configuration")
    arguments = options.parse_args()
    config = load_config(CONFIG, METHOD.config, arguments.set)
    detector = (
        None
        if arguments.detector is None
        else finder(LandmarkNet.from_pretrained(arguments.detector, local_files_only=True).eval())
    )
    distance = Perceptual("squeeze")
    data, tables = FrameSource(config.data, config.size, 0), []
    for variant in VARIANTS:
        count = {FULL: arguments.seeds, NO_ODE: arguments.ode_seeds}.get(variant, 1)
        for seed in range(count):
            bundle = trained(arguments.runs, variant, seed, arguments.set, arguments.score_only)
            if bundle is None:
                print(f"not trained yet: {variant}, seed {seed}")
                continue
            pipeline = EvolutionPipeline.from_pretrained(bundle)
            counts = {FULL: (0, 3), NO_FUSION: (0,)}.get(variant, (3,))
            made = score_reconstruction(
                pipeline,
                data,
                {"squeeze": distance},
                detector,
                counts=counts,
                most=6 if variant == FULL and seed == 0 else 0,
            )
            main_rows = made[made["task"] == "main"]
            shown = with_references(0 if variant == NO_FUSION else 3)
            parts = [main_rows[main_rows["variant"] == shown].assign(variant=variant)]
            if variant == FULL:
                parts.append(main_rows[main_rows["variant"].isin([NO_EDIT, BEST_VIEW])])
                parts.append(main_rows[main_rows["variant"] == with_references(0)].assign(variant="full, source alone"))
                number = made[made["task"] == "number"]
                parts.append(number.assign(variant="N, one frame: " + number["variant"]))
                parts.append(score_animation(pipeline, {"squeeze": distance}, detector, config.size, arguments.pairs))
            tables.append(pd.concat(parts).assign(seed=seed))
    scores = pd.concat(tables, ignore_index=True)
    names = [n for n in COLUMNS if n in scores]
    each = summary(scores, names)
    frames = ((scores["variant"] == FULL) & (scores["seed"] == 0)).sum()
    print(
        f"Data: {config.data.adapter}, {config.data.root} training identities, {len(data.held_out(2, 0))} held-out ones at "
        f"{config.size} px; {frames} reconstructed frames, {arguments.pairs} x {FRAMES} animated; "
        f"{config.animator.steps} steps of {config.animator.batch}; {distance.provenance}; "
        f"AKD {'by ' + arguments.detector.name if detector else 'not measured'}; {machine()}\n"
    )
    print("| | seeds |" + "".join(f" {n} |" for n in names) + "\n|---|---:|" + "---:|" * len(names))
    for variant in dict.fromkeys(each.index.get_level_values(0)):
        rows = each.loc[variant]
        print(f"| {variant} | {len(rows)} |" + "".join(f" {spread(rows[n].to_numpy())} |" for n in names))
    print()
    bars = Bars()
    mean = each.groupby(level=0, sort=False).mean()
    first = each.xs(0, level="seed")
    ratios = (each.loc[FULL]["LPIPS_squeeze"] / each.loc[NO_EDIT]["LPIPS_squeeze"]).to_numpy()
    bars.check("reconstruction: LPIPS of full / no edit", bool(ratios.mean() <= 0.8), spread(ratios), "<= 0.8")
    if detector is not None and NO_ODE in mean.index:
        gain = (each.loc[FULL]["AKD"] - each.loc[NO_ODE]["AKD"]).dropna().to_numpy()
        bars.check(
            "AKD with the ODE - without",
            bool(gain.mean() < 0),
            f"{spread(gain)}; by seed {np.round(gain, 3).tolist()}",
            "below 0",
        )
    for name in names:
        sign = -1 if name in HIGHER else 1
        gain = (each.loc[FULL][name] - each.loc["full, source alone"][name]).to_numpy()
        bars.check(
            f"three references - none, the same weights: {name}", bool((sign * gain).mean() < 0), spread(gain), "better"
        )
    for variant in (v for v in (NO_ODE, NO_APPEARANCE, NO_FUSION) if v in mean.index):
        same = set(each.loc[variant].index) == set(each.loc[FULL].index)
        table = mean if same else first
        check_signs(
            bars, f"Table 3, full - {variant}", table.loc[FULL], table.loc[variant], PAPER[FULL], PAPER[variant], names
        )
    label = "N, one frame: " + with_references(1), "N, one frame: " + with_references(6)
    if set(label) <= set(mean.index):
        check_signs(
            bars,
            "Table 4, N = 6 - N = 1, seed 0",
            mean.loc[label[1]],
            mean.loc[label[0]],
            PAPER_NUMBER[6],
            PAPER_NUMBER[1],
            names,
        )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
