"""Does a synthetic cohort help where patients are few? Ejection fraction and segmentation learnt with and without one.

    python examples/augmentation_study.py --out study [--sizes 25 50 100] [--seeds 5] [--rounds 2] [--judge validation]

Patients are simulated hearts whose outlines are known exactly. Each round adds one synthetic clip a patient, with
another ejection fraction: made by the model, and beside it by a thin-plate spline alone, which moves the same pictures
to the same key-points. A small U-Net learns the left ventricle from end-diastolic and end-systolic frames, and a small
3-D network the ejection fraction from a clip and the U-Net's ventricle in it: from the patients alone, with the
spline's clips, or with the model's, for the same number of steps. A seed draws the patients and the initial weights.
Everything is kept in --out; a run that was stopped goes on there. `augmentation_study_cases.py`, beside this file, makes
the clips.
"""

import argparse
import platform
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from augmentation_study_cases import FRAMES, Cases, joined, load, make_cohorts, read_cohort, real_cases
from torch import Tensor, nn

from echokdm.core import defaults
from echokdm.core.seeding import derive_seed, generator
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.io.atomic import atomic_file
from echokdm.metrics.intervals import difference_interval
from echokdm.metrics.volume import dice

# Patients by their seeds: none trained the bundle, and the three groups share none.
POOL, VALIDATION, TEST = (FIRST_SEED + 10_000 * group for group in (5, 6, 7))
ARMS = {"none": "patients alone", "spline": "+ spline clips", "echokdm": "+ echokdm clips"}
SCORES = {"EF": "MAE of EF, points", "LV": "Dice of the LV"}


# Two networks, learnt by one recipe that was chosen on the validation patients: an outline, and from clip and outline
# the EF.


def lv_network() -> nn.Module:
    """Frame (B, 1, SIDE, SIDE) as `standard` gives it -> logit of the left ventricle (B, 1, SIDE, SIDE)."""
    from monai.networks.nets import UNet

    return UNet(2, 1, 1, (16, 32, 64, 96), (2, 2, 2), norm="instance")


def lv_loss(network: nn.Module, cases: Cases, draw: torch.Generator) -> Tensor:
    """Dice and cross-entropy, of one batch under `jitter`."""
    from monai.losses import DiceCELoss

    frames, masks = jitter(cases.frames.flatten(0, 1)[:, None] / 255, cases.masks.flatten(0, 1)[:, None].float(), draw)
    return DiceCELoss(sigmoid=True)(network(standard(frames)), (masks > 0.5).float())


def lv_probability(network: nn.Module, frames: Tensor) -> Tensor:
    """Of each pixel of frames (N, T, SIDE, SIDE) uint8, the same shape."""
    with torch.no_grad():
        found = [
            network(standard(part.flatten(0, 1)[:, None] / 255)).sigmoid().view(part.shape) for part in frames.split(10)
        ]
    return torch.cat(found)


class EFNetwork(nn.Module):
    """Clips and their ventricles' probability, both (B, FRAMES, SIDE, SIDE) in [0, 1] -> EF (B,), 0 at 45 % and 1 at 75
    %."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool3d((1, 2, 2))]
        for inputs, outputs, stride in ((2, 16, (1, 2, 2)), (16, 24, 2), (24, 32, 2)):
            layers += [nn.Conv3d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.ReLU()]
        # Averaged over the picture alone: what comes when tells the ejection.
        self.layers = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool3d((FRAMES // 4, 1, 1)),
            nn.Flatten(),
            nn.Linear(8 * FRAMES, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )

    def forward(self, clips: Tensor, ventricles: Tensor) -> Tensor:
        return self.layers(torch.stack([standard(clips), ventricles], 1))[:, 0]


def ef_loss(network: nn.Module, cases: Cases, ventricles: Tensor, draw: torch.Generator) -> Tensor:
    """Huber's, of one batch under `jitter`."""
    return F.smooth_l1_loss(network(*jitter(cases.clips / 255, ventricles, draw)), (cases.ef - 45) / 30, beta=0.2)


def jitter(pixels: Tensor, ventricles: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each case (B, C, H, W) in [0, 1] shifted, turned, scaled and brightened by its own draw; its ventricles move
    along."""
    reach = torch.tensor([0.1, 0.1, 0.2, 0.1, 0.5])[:, None]  # half the side, twice; radians; share; powers of two
    x, y, turn, scale, gamma = (2 * torch.rand(5, len(pixels), generator=draw) - 1) * reach
    cos, sin = (1 + scale) * turn.cos(), (1 + scale) * turn.sin()
    matrix = torch.stack([torch.stack([cos, -sin, x], 1), torch.stack([sin, cos, y], 1)], 1)
    both = torch.cat([pixels, ventricles], 1)
    moved = F.grid_sample(both, F.affine_grid(matrix, list(both.shape), align_corners=False), align_corners=False)
    pixels, ventricles = moved.split([pixels.shape[1], ventricles.shape[1]], 1)
    return pixels.clamp(0, 1) ** (2**gamma).view(-1, 1, 1, 1), ventricles


def standard(frames: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over each frame (..., H, W): gain changes within a beat."""
    return (frames - frames.mean((-2, -1), keepdim=True)) / frames.std((-2, -1), keepdim=True).clamp(min=1e-3)


def fit(
    network: nn.Module,
    loss: Callable[[list[Tensor]], Tensor],
    kinds: Sequence[Cases],
    batch: int,
    rate: float,
    steps: int,
    draw: torch.Generator,
) -> nn.Module:
    """`steps` batches of rows, as many of the one kind as of the other where there are two; loss: of the rows (B,) of
    each kind."""
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss([torch.randint(len(cases.ef), (batch // len(kinds),), generator=draw) for cases in kinds]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def train_and_judge(kinds: Sequence[Cases], judge: Cases, seed: int, steps: Sequence[int]) -> pd.DataFrame:
    """Both networks learnt from real cases, and synthetic ones where there are any; a row a judged case: LV (Dice) and
    EF (points)."""
    draw = generator(seed, 2)
    torch.manual_seed(derive_seed(seed, 3))
    lv, ef = lv_network(), EFNetwork()

    def outline_loss(rows: list[Tensor]) -> Tensor:
        return lv_loss(lv, joined([cases.at(r) for cases, r in zip(kinds, rows, strict=True)]), draw)

    fit(lv, outline_loss, kinds, 8, 5e-3, steps[0], draw)
    ventricles = [lv_probability(lv, cases.clips) for cases in kinds]

    def volume_loss(rows: list[Tensor]) -> Tensor:
        seen = torch.cat([found[r] for found, r in zip(ventricles, rows, strict=True)])
        return ef_loss(ef, joined([cases.at(r) for cases, r in zip(kinds, rows, strict=True)]), seen, draw)

    fit(ef, volume_loss, kinds, 8, 3e-3, steps[1], draw)
    overlap = dice(lv_probability(lv, judge.frames) > 0.5, judge.masks).mean(1)
    with torch.no_grad():
        found = ef(judge.clips / 255, lv_probability(lv, judge.clips)) * 30 + 45
    return pd.DataFrame({"case": judge.patient, "EF": (found - judge.ef).abs(), "LV": overlap})


# From all trainings to a table and a figure.


def over_seeds(values: pd.Series) -> tuple[float, float, float]:
    """Mean of a value a seed, and Student's 95 % interval; nan for one seed."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.sem() if len(values) > 1 else np.nan
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """A row an arm, and one a paired difference of two arms, for each score and number of patients.

    low, high: 95 % over seeds (Student's t). tests_low, tests_high, of differences: 95 % over the judged patients
    (bootstrap).
    """
    rows = []
    for score, (patients, part) in product(SCORES, results.groupby("patients")):
        pairs = part.pivot(index=["seed", "case"], columns="arm", values=score).dropna()
        seeds = pairs.groupby("seed").mean()
        arms = [arm for arm in ARMS if arm in seeds]
        for arm in arms:
            rows.append((score, patients, arm, len(seeds), *over_seeds(seeds[arm]), np.nan, np.nan))
        for arm, other in combinations(arms[::-1], 2):
            tests = difference_interval(pairs[arm], pairs[other], pairs.index.get_level_values("case"))
            rows.append(
                (
                    score,
                    patients,
                    f"{arm} - {other}",
                    len(seeds),
                    *over_seeds(seeds[arm] - seeds[other]),
                    tests.low,
                    tests.high,
                )
            )
    return pd.DataFrame(
        rows, columns=["score", "patients", "arm", "seeds", "mean", "low", "high", "tests_low", "tests_high"]
    )


def draw_figure(table: pd.DataFrame, path: Path) -> None:
    """Each score against the number of patients, with intervals over seeds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(SCORES), figsize=(8, 3.4), layout="constrained")
    for panel, (score, label) in zip(axes, SCORES.items(), strict=True):
        sizes = sorted(table["patients"].unique())
        for i, (arm, name) in enumerate(ARMS.items()):
            rows = table[(table["score"] == score) & (table["arm"] == arm)].set_index("patients").reindex(sizes)
            reach = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            panel.errorbar(
                np.arange(len(sizes)) + 0.08 * (i - 1), rows["mean"], reach, marker="o", capsize=3, label=name
            )
        panel.set(xticks=range(len(sizes)), xticklabels=sizes, xlabel="patients", ylabel=label)
    axes[0].legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def study(
    out: Path,
    bundle: str = defaults.BUNDLE,
    sizes: Sequence[int] = (25, 50, 100),
    rounds: int = 2,
    seeds: int = 5,
    arms: Sequence[str] = tuple(ARMS),
    steps: Sequence[int] = (1200, 1000),
    judge: str = "test",
    judged: int = 100,
) -> pd.DataFrame:
    """Make what `out` lacks: cohorts, trainings, results.csv (every score), summary.csv and figure.png. Returns the
    summary.

    judge: "test", or "validation" to choose a recipe by. judged: how many of those patients.
    """
    count = max(sizes)
    first = {"test": TEST, "validation": VALIDATION}[judge]
    real, others = (
        real_cases(range(start, start + number), out / f"{name}-{number}.npz")
        for name, start, number in (("patients", POOL, count), (judge, first, judged))
    )
    cohort = out / f"{count}-patients"
    make_cohorts(range(POOL, POOL + count), rounds, bundle, cohort)
    extra = {
        "none": [],
        "spline": [joined([load(cohort / f"round{r}.npz") for r in range(rounds)])],
        "echokdm": [joined([read_cohort(cohort / f"round{r}") for r in range(rounds)])],
    }
    results = []
    for seed, patients, arm in product(range(seeds), sizes, arms):
        path = (
            out
            / "trainings"
            / f"{judge}-{judged}-{rounds}rounds-{steps[0]}-{steps[1]}steps"
            / f"{patients}-{arm}-{seed}.csv"
        )
        if not path.exists():
            chosen = torch.randperm(count, generator=generator(seed, 1))[:patients]
            table = train_and_judge([cases.of(chosen) for cases in (real, *extra[arm])], others, seed, steps)
            with atomic_file(path) as temporary:
                table.assign(patients=patients, arm=arm, seed=seed).to_csv(temporary, index=False)
        results.append(pd.read_csv(path, keep_default_na=False))
        print(
            f"{patients} patients, {arm}, seed {seed}: {results[-1][list(SCORES)].mean().round(4).to_dict()}",
            flush=True,
        )
    results = pd.concat(results, ignore_index=True)
    table = summary(results)
    for name, written in (("results.csv", results), ("summary.csv", table)):
        with atomic_file(out / name) as temporary:
            written.to_csv(temporary, index=False)
    draw_figure(table, out / "figure.png")
    return table


def main() -> None:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="a folder for cohorts, trainings, results.csv, summary.csv and figure.png",
    )
    parser.add_argument("--bundle", default=defaults.BUNDLE, help="trained weights: a shipped name or a folder")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[25, 50, 100], help="numbers of patients; the largest is made"
    )
    parser.add_argument("--rounds", type=int, default=2, help="synthetic clips a patient")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        default=[1200, 1000],
        help="batches for the outline, and for the ejection fraction",
    )
    parser.add_argument(
        "--judge", choices=("test", "validation"), default="test", help="validation: to choose a recipe by"
    )
    parser.add_argument("--judged", type=int, default=100, help="patients to judge by")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, so the same figures again
    table = study(**vars(arguments))
    print(
        f"\nSimulated patients; {arguments.judged} of {arguments.judge} to judge by, seeds 0 to {arguments.seeds - 1}; "
        f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}"
    )
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep=""))


if __name__ == "__main__":
    main()
