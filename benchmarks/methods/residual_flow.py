"""Residual flow on held-out identities: no edit against K = 1, 2, 3 sources by one checkpoint, over seeds; the paper's
Table 4, one seed.

    python benchmarks/methods/residual_flow.py [--config C] [--out runs/residual-flow-benchmark] [--seeds 3] [--set a.b=c ...]

Trains what is not yet in --out and goes on where it was stopped. Every variant of Table 4 is trained anew, as in the
paper, from the same warmed-up flow and for as many steps. Bars: LPIPS at K = 1 over no edit at most 0.75, and K = 3
better than K = 2 better than K = 1, in the mean over seeds; the signs of Table 4 at K = 2 and, without the residual
flow, at K = 3.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bars import Bars, machine  # noqa: E402

from echokdm.core.config import load_config  # noqa: E402
from echokdm.losses.perceptual import Perceptual  # noqa: E402
from echokdm.methods.residual_flow import METHOD  # noqa: E402
from echokdm.methods.residual_flow.pipeline import ResidualFlowPipeline  # noqa: E402
from echokdm.methods.residual_flow.scores import (  # noqa: E402
    DRAW_SEED,
    FIGURES,
    FULL,
    NO_EDIT,
    SOURCES,
    VARIANTS,
    baselines,
    held_out_cases,
    score_pipeline,
)
from echokdm.methods.train import train_config  # noqa: E402
from echokdm.metrics.intervals import difference_interval  # noqa: E402

LPIPS = "LPIPS_squeeze"


def train_variant(config: Path, out: Path, overrides: Sequence[str], variant: str, seed: int) -> Path:
    """The bundle of one variant and seed; those other than the full method start from the full one's flow, warmed
    up."""
    folder = out / f"{variant.replace('/', '').replace(' ', '-')}-{seed}"
    switches = [f"network.{part}=false" for part in VARIANTS[variant]]
    if variant != FULL and not (folder / "flow").exists():
        warm = out / f"{FULL}-{seed}" / "warm"
        shutil.copytree(warm, folder / "bundle" / "flow_net")
        shutil.copytree(warm.parent / "flow", folder / "flow")
    settings = [*overrides, *switches, f"seed={seed}"]
    if variant == FULL and not (folder / "warm").exists():
        train_config(config, "flow", out=folder, overrides=settings)
        shutil.copytree(folder / "bundle" / "flow_net", folder / "warm")
    return train_config(config, out=folder, overrides=settings)


def show(scores: pd.DataFrame, labels: list[str]) -> None:
    """Mean of the seeds' means, and their standard deviation where there are several."""
    figures = [name for name in FIGURES if name in scores]
    means = scores.groupby([*labels, "seed"], sort=False)[figures].mean().groupby(labels, sort=False)
    mean, spread, count = means.mean(), means.std(ddof=1), means.size()
    for key, row in mean.iterrows():
        name = ", K = ".join(str(k) for k in key) if isinstance(key, tuple) else str(key)
        cells = [f"{f} {row[f]:.4f}" + (f" ± {spread.loc[key, f]:.4f}" if count.loc[key] > 1 else "") for f in figures]
        print(f"      {name:32s} {'  '.join(cells)}", flush=True)


def main() -> int:
    """Parse the command line, train what is missing, print figures and verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--config", type=Path, default=Path("configs/residual-flow-face-64.yaml"))
    options.add_argument("--out", type=Path, default=Path("runs/residual-flow-benchmark"))
    options.add_argument("--seeds", type=int, default=3, help="seeds of training and of the cases drawn; default 3")
    options.add_argument("--set", action="append", default=[], dest="overrides", metavar="a.b=c")
    options.add_argument("--threads", type=int, default=0)
    arguments = options.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config, METHOD.config, arguments.overrides)
    data = METHOD.data(config)
    cases = {seed: held_out_cases(data, DRAW_SEED + seed) for seed in range(arguments.seeds)}
    identities = len({int(case["identity"]) for case in cases[0]})
    print(
        f"{config.data.adapter}, {config.size} px, {identities} held-out identities, {len(cases[0])} cases drawn anew for each of "
        f"{arguments.seeds} seeds; {config.data.root} identities in training; "
        f"flow {config.flow.steps} and joint {config.joint.steps} steps of {config.joint.batch}\n"
        f"{Perceptual('squeeze').provenance}; losses on {config.losses.backbone}\n"
        f"{machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        flush=True,
    )

    runs = [(FULL, seed) for seed in range(arguments.seeds)] + [(name, 0) for name in VARIANTS if name != FULL]
    bundles = {run: train_variant(arguments.config, arguments.out, arguments.overrides, *run) for run in runs}
    parts = [baselines(cases[seed], data.schema).assign(seed=seed) for seed in cases]
    for (variant, seed), bundle in bundles.items():
        pipeline = ResidualFlowPipeline.from_pretrained(bundle)
        parts += [score_pipeline(pipeline, cases[seed], k).assign(method=variant, seed=seed) for k in SOURCES]
    scores = pd.concat(parts, ignore_index=True)
    scores.to_csv(arguments.out / "scores.csv", index=False)
    still, full = scores[scores["method"] == NO_EDIT], scores[scores["method"] == FULL]
    print("Table 1 in form; ± is the standard deviation over seeds")
    show(pd.concat([scores[scores["K"].eq(1) & ~scores["method"].isin(VARIANTS)], full]), ["method", "K"])
    print("Table 4 in form, seed 0")
    show(scores[scores["method"].isin(VARIANTS) & (scores["seed"] == 0)], ["method", "K"])

    bars = Bars()
    ratios = full[full["K"] == 1].groupby("seed")[LPIPS].mean() / still.groupby("seed")[LPIPS].mean()
    bars.check(
        "LPIPS at K = 1 over no edit",
        ratios.mean() <= 0.75,
        f"{ratios.mean():.3f}, seeds {ratios.round(3).tolist()}",
        "<= 0.75",
    )
    for k in (2, 3):
        more, fewer = (full[full["K"] == n].groupby("seed")[LPIPS].mean() for n in (k, k - 1))
        bars.check(
            f"LPIPS, K = {k} less K = {k - 1}",
            (more - fewer).mean() < 0,
            f"{(more - fewer).mean():.4f}, seeds {(more - fewer).round(4).tolist()}",
            "< 0",
        )
    own = full[full["seed"] == 0]
    for variant, k in [(name, 2) for name in VARIANTS if name != FULL] + [("w/o res", 3)]:
        other, mine = scores[(scores["method"] == variant) & (scores["K"] == k)], own[own["K"] == k]
        found = difference_interval(other[LPIPS].to_numpy(), mine[LPIPS].to_numpy(), mine["identity"].to_numpy())
        bars.check(
            f"Table 4: LPIPS of {variant} less full, K = {k}",
            found.value > 0,
            f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
            "> 0",
        )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
