"""Pose transfer by a single spatial transformation on held-out people: warps, refinement, ablations, the flow's
behaviour, memory.

    python benchmarks/methods/single_transform.py [--runs runs/single-transform] [--seeds 3] [--pictures OUT.png] [--set a.b=c ...]
    python benchmarks/methods/single_transform.py --memory

Trains what is not in --runs yet (the full method for every seed, the ablations for seed 0), then prints one table of
all scores and the bars: LPIPS-squeeze at most 0.75 x the better warp by the joints for every seed; the ablations' signs
as in the paper's Tables 3 and 4; no flow for the source's own pose and the right one for a shifted pose. --memory
measures instead what the correlation at 64 x 64 cells (the paper's 256 px) takes, whole and streamed, each in a process
of its own.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bars import Bars, machine  # noqa: E402

from echokdm.core.config import load_config  # noqa: E402
from echokdm.core.seeding import generator  # noqa: E402
from echokdm.data.adapters.phantoms import HELD_OUT  # noqa: E402
from echokdm.data.frames import FrameSource  # noqa: E402
from echokdm.losses.perceptual import Perceptual  # noqa: E402
from echokdm.methods.single_transform import METHOD  # noqa: E402
from echokdm.methods.single_transform import scores as S  # noqa: E402
from echokdm.methods.single_transform.config import SingleTransformConfig  # noqa: E402
from echokdm.methods.single_transform.pipeline import SingleTransformPipeline  # noqa: E402
from echokdm.methods.train import train_config  # noqa: E402
from echokdm.networks.matching import MatchingFlow  # noqa: E402
from echokdm.ops.flow import flow_to_color  # noqa: E402
from echokdm.phantom.body import BodyPhantom  # noqa: E402

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "single-transform-body-64.yaml"
FULL, NO_AFFINE, NO_FILTER, NO_REFINEMENT = "full", "w/o L_aff", "w/o mutual filter", "w/o refinement, trained so"
WARPS = (S.AFFINE, S.TPS, S.SMOOTH_TPS)
# Full and without, in the paper's Tables 3 and 4 (DeepFashion, 256 px; one pair of rows is printed in both): l1, SSIM,
# LPIPS (Alex).
PAPER = "l1 15.52 against 42.13, SSIM 0.608 against 0.504, LPIPS (Alex) 0.39 against 0.84"


def variants(config: SingleTransformConfig) -> dict[str, list[str]]:
    """Overrides of each ablation. Without task 1 there are as many steps of task 2 as the full method has."""
    steps = round(config.warping.steps * (1 - config.warping.affine_first) / 2)
    counts = [f"warping.steps={steps}", f"joint.steps={config.joint.steps // 2}"]
    return {
        FULL: [],
        NO_AFFINE: ["warping.affine=false", "joint.affine=false", *counts],
        NO_FILTER: ["matching.mutual=false"],
        NO_REFINEMENT: ["warping.refine=false"],
    }


def load(runs: Path, variant: str, seed: int, changes: list[str], overrides: list[str]) -> SingleTransformPipeline:
    """A variant's pipeline; trained where it is not there."""
    name = f"{variant.replace('/', '').replace(' ', '-').replace(',', '')}-{seed}"
    bundle = train_config(CONFIG, out=runs / name, overrides=[*overrides, *changes, f"seed={seed}", f"name={name}"])
    return SingleTransformPipeline.from_pretrained(bundle)


def flow_errors(pipeline: SingleTransformPipeline, count: int) -> pd.Series:
    """Mean distance, px, from the simulator's exact flow on the pixels of the target's body that the source shows too.

    From one drawn pose to another, from a pose to itself, and from a pose to the same one shifted by each of SHIFTS.
    """
    phantom = BodyPhantom(range(HELD_OUT, HELD_OUT + count), pipeline.size)
    phases = torch.stack([torch.rand(2, generator=generator(s, 91)) for s in phantom.seeds])
    begin, other = phantom.poses(phases).unbind(1)
    cases = {"another pose": other, "identity": begin}
    for shift in S.SHIFTS:
        moved = begin.clone()
        moved[:, :2] += torch.tensor(shift) / 32  # poses are in half pictures
        cases[f"shift {shift} of 64"] = moved
    found = {}
    for name, end in cases.items():
        both = torch.stack([begin, end], 1)
        points = torch.where(phantom.keypoints_visible(both)[..., None], phantom.keypoints(both), torch.nan)
        truth = phantom.flow(end, begin)
        seen = phantom.visible(end, begin) & (phantom.layers(end[:, None]) > 0)
        ours = pipeline(phantom.frames(begin[:, None])[:, 0], points[:, 0], points[:, 1], refine=False).flow
        found[name] = float((ours - truth).square().sum(1, keepdim=True).sqrt()[seen].mean())
        if name == "another pose":
            found["another pose, no motion"] = float(truth.square().sum(1, keepdim=True).sqrt()[seen].mean())
    return pd.Series(found)


def save_pictures(path: Path, pipeline: SingleTransformPipeline, pairs: S.Pairs, count: int = 10) -> None:
    """Rows: source, target, TPS warp, flow, the flow alone, ours."""
    from torchvision.utils import save_image

    every = len(pairs.identity) // count
    few = S.Pairs(
        *(value[::every][:count] for value in (pairs.source, pairs.target, pairs.begin, pairs.end, pairs.identity))
    )
    out = pipeline(few.source, few.begin, few.end)
    rows = [
        few.source,
        few.target,
        S.baseline_frames(few, S.TPS),
        flow_to_color(out.flow, 16.0),
        out.warped,
        out.frames,
    ]
    save_image(torch.cat(rows), path, nrow=count, padding=1)


def score(
    runs: Path,
    seeds: int,
    overrides: list[str],
    config: SingleTransformConfig,
    pairs: S.Pairs,
    data: FrameSource,
    pictures: Path | None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(scores of all methods, behaviour of the flow, distance from the exact flow), each with variant and seed."""
    tables, behaviours, errors = [S.score_baselines(pairs, data.schema).assign(variant="", seed=0)], [], []
    for variant, changes in variants(config).items():
        for seed in range(seeds if variant == FULL else 1):
            began = time.monotonic()
            pipeline = load(runs, variant, seed, changes, overrides)
            print(
                f"{variant}, seed {seed}: {(time.monotonic() - began) / 60:.1f} minutes of training in this run",
                flush=True,
            )
            tables.append(S.score_pipeline(pipeline, pairs).assign(variant=variant, seed=seed))
            behaviours.append(S.flow_behaviour(pipeline, pairs).assign(variant=variant, seed=seed))
            errors.append(flow_errors(pipeline, 40).rename((variant, seed)))
            if pictures is not None and variant == FULL and seed == 0:
                save_pictures(pictures, pipeline, pairs)
    return pd.concat(tables), pd.concat(behaviours), pd.DataFrame(errors)


def peak(rows: int | None, training: bool) -> float:
    """MiB that one pass of the paper's network over one pair of 256 px poses adds to this process's peak."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, poses = MatchingFlow(chunk_rows=rows), torch.rand(2, 1, 18, 256, 256)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.set_grad_enabled(training):
        flow = network(*poses)
    if training:
        flow.mean().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def memory() -> int:
    """Each case in a fresh process, since a peak never falls."""
    bars, found = Bars(), {}
    print(machine())
    for training in (False, True):
        for rows in (None, 16, 8, 4):
            words = [sys.executable, __file__, "--measure", str(rows or 0), str(int(training))]
            found[training, rows] = float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            print(
                f"{'training' if training else 'inference'}, {'whole' if rows is None else f'{rows} rows at a time'}: "
                f"{found[training, rows]:.0f} MiB more at the peak",
                flush=True,
            )
    for training, name in ((False, "inference"), (True, "training")):
        bars.at_most(f"8 rows at a time against the whole, {name}", found[training, 8] / found[training, None], 0.7, 2)
    return bars.close()


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=Path, default=Path("runs/single-transform"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--pictures", type=Path)
    options.add_argument("--memory", action="store_true")
    options.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    options.add_argument("--set", nargs="*", default=[], help="overrides of the configuration")
    arguments = options.parse_args()
    if arguments.measure:
        print(peak(arguments.measure[0] or None, bool(arguments.measure[1])))
        return 0
    if arguments.memory:
        return memory()
    config = load_config(CONFIG, METHOD.config, arguments.set)
    data = FrameSource(config.data, config.size, 0)
    pairs = S.held_out_pairs(data)
    scores, behaviour, errors = score(
        arguments.runs, arguments.seeds, arguments.set, config, pairs, data, arguments.pictures
    )
    figures = [name for name in S.FIGURES if name in scores]
    means = scores.groupby(["variant", "method", "seed"], sort=False)[figures].mean()
    print(
        f"\n{config.data.adapter} {config.size} px, {len(pairs.identity)} pairs of {len(set(pairs.identity))} held-out identities; "
        f"{arguments.seeds} seeds; {Perceptual().provenance}; {machine()}\n"
    )
    print(means.round(4).to_string(), "\n")
    means = means.sort_index()
    ours = means.loc[(FULL, S.FULL)]
    alone = means.loc[(FULL, S.FLOW_ALONE)]
    for name, part in (("ours", ours), ("the flow alone", alone)):
        print(
            f"{name}, mean ± standard deviation over {len(part)} seeds: "
            + ", ".join(f"{f} {part[f].mean():.4f} ± {part[f].std(ddof=1):.4f}" for f in figures)
        )
    truth = behaviour.groupby(["variant", "seed", "case"], sort=False)[["error", "fetched"]].mean()
    print("\nNear the limbs, px:\n" + truth.round(3).to_string())
    print("\nDistance from the simulator's flow on the body's own pixels, px:\n" + errors.round(3).to_string(), "\n")

    bars = Bars()
    others = means.loc[""].droplevel("seed")
    best = others.loc[list(WARPS), "LPIPS_squeeze"]
    for seed, value in ours["LPIPS_squeeze"].items():
        bars.at_most(f"LPIPS-squeeze of ours / of {best.idxmin()}, seed {seed}", value / best.min(), 0.75, 3)
    still = others.loc[S.NO_EDIT, "LPIPS_squeeze"]
    bars.at_most("LPIPS-squeeze of ours / of no edit, mean over seeds", ours["LPIPS_squeeze"].mean() / still, 1, 3)
    first = ours.loc[0]
    for variant, method, table in (
        (NO_AFFINE, S.FULL, "Table 4"),
        (NO_REFINEMENT, S.FLOW_ALONE, "Table 3"),
        (NO_FILTER, S.FULL, "not in the paper's tables"),
    ):
        other = means.loc[(variant, method, 0)]
        for name in ("LPIPS_squeeze", "SSIM", "L1"):
            difference = float(first[name] - other[name])
            bars.check(
                f"full against {variant} ({table}), {name}",
                difference > 0 if name == "SSIM" else difference < 0,
                f"{first[name]:.4f} against {other[name]:.4f}",
                "the full method is better",
            )
    exact = errors.loc[[FULL]].mean()
    for case in [name for name in errors if name.startswith(("identity", "shift"))]:
        bars.at_most(f"flow on the body, {case}: distance from the truth, px, mean over seeds", exact[case], 0.5, 2)
    print(f"The paper, full against either ablation: {PAPER}.")
    return bars.close()


if __name__ == "__main__":
    sys.exit(main())
