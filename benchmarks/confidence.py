"""Does it know when it does not know? The confidence of each frame's outline against its Dice with the experts'
outline.

    python benchmarks/confidence.py [--bundle B] [--split choose] [--patients N] [--kinds N] [--phantoms N] [--sheet FILE.png]
    python benchmarks/confidence.py [--bundle FOLDER] --fit

ECHOKDM_TEST_DATA names the folder that holds camus/. --split: parts of `camus_split`; "calibrate" is choose and judge,
on which the shipped numbers were fitted and whose figures are therefore of a fit, unless it is made here; "held-back"
is for a final check. ED and ES of each patient go through the product as a clip of two frames, as they are and degraded
in --kinds ways drawn for each patient (`degrade.py`). What the product refuses has no outline and counts in no figure
but the refusals. Flagged: confidence below `ops.confidence.FLAGGED_BELOW`. In brackets: 95 % intervals by bootstrap
over patients. --fit: the map from signs to confidence is fitted anew, on one half of the patients for the figures of
the other and on all for the bundle, whose index it is written to.
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bars import Bars, begin, parser
from degrade import DEGRADED, MIRRORED, degraded
from hearts import PAIR_FPS, PHASES, hearts, outlines_of
from hearts_sheet import draw_sheet, tile
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from torch import Tensor

from echokdm.core.errors import EchoKDMError
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints, load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.methods.bundle import find_bundle, set_confidence
from echokdm.metrics.intervals import Interval, correlation_interval, mean_interval
from echokdm.metrics.volume import dice
from echokdm.ops.confidence import BIAS, FLAGGED_BELOW, GOOD, SIGNS, Calibration

PARTS = {"choose": ("choose",), "judge": ("judge",), "calibrate": ("choose", "judge"), "held-back": ("held_back",)}
PLAIN, PHANTOM = "plain", "phantom"
CAUGHT, DISTURBED = 80.0, 10.0  # percent: of the bad frames at least, of the others at most
RIDGE = 1.0  # of the weights, a sign's spread being 1


class Recorder:
    """Stands in for a pipeline's calibration and remembers the signs."""

    def __init__(self, calibration: Calibration | None) -> None:
        self.calibration, self.signs = calibration, dict[str, Tensor]()

    def __call__(self, signs: Mapping[str, Tensor]) -> Tensor:
        self.signs = dict(signs)
        return signs[SIGNS[0]] if self.calibration is None else self.calibration(signs)


def phantoms(count: int) -> Iterator[tuple[str, Clip, np.ndarray]]:
    """As `hearts.hearts`, of phantoms that no training saw."""
    from echokdm.phantom.a4c import A4CPhantom

    for seed in range(FIRST_SEED, FIRST_SEED + count):
        phantom = A4CPhantom([seed])
        phases = torch.stack([torch.zeros(1), phantom.end_systole], 1)
        yield f"phantom {seed}", Clip(phantom.frames(phases)[0], PAIR_FPS), (phantom.masks(phases)[0] == 1).numpy()


def versions_of(subject: str, clip: Clip, truth: np.ndarray, kinds: int) -> Iterator[tuple[str, Clip, np.ndarray]]:
    """The clip as it is, and degraded in so many ways, drawn from the subject's name."""
    yield (PHANTOM if subject.startswith(PHANTOM) else PLAIN), clip, truth
    rng = np.random.default_rng(list(hashlib.sha256(subject.encode()).digest()))
    for kind in rng.permutation([*DEGRADED, MIRRORED])[:kinds]:
        frames, masks = degraded(kind, clip.frames[:, 0].numpy(), truth, rng)
        yield kind, clip.with_frames(torch.as_tensor(frames[:, None], dtype=torch.float32)), masks


def measure(clip: Clip, truth: np.ndarray, pipeline: Any) -> tuple[list[dict[str, Any]], list[np.ndarray | None]]:
    """Dice, confidence and signs of each frame, nan where the clip is refused; and the outlines."""
    try:
        derived = derive_keypoints(clip, bundle=pipeline)
    except EchoKDMError:
        return [{"Dice": np.nan, "confidence": np.nan} for _ in clip.frames], [None] * len(clip)
    outlines, signs = outlines_of(derived), pipeline.calibration.signs
    return [
        {
            "Dice": float(dice(outlines[t], truth[t])) if derived.found[t] else np.nan,
            "confidence": float(derived.confidence[t]),
            **{name: float(values[t]) for name, values in signs.items()},
        }
        for t in range(len(clip))
    ], outlines


def fit(table: pd.DataFrame) -> dict[str, float]:
    """Weights of a logistic map from the signs to whether the Dice is at least GOOD, by penalised maximum
    likelihood."""
    signs, good = table[list(SIGNS)].to_numpy(), (table["Dice"] >= GOOD).to_numpy(float)
    centre, spread = signs.mean(0), signs.std(0)
    columns = np.column_stack([(signs - centre) / spread, np.ones(len(signs))])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logit, held = columns @ weights, RIDGE * np.append(weights[:-1], 0)
        return (
            float(np.logaddexp(0, logit).sum() - good @ logit + held @ weights / 2),
            columns.T @ (expit(logit) - good) + held,
        )

    found = minimize(loss, np.zeros(columns.shape[1]), jac=True).x
    weights = found[:-1] / spread
    return {
        name: round(float(w), 4)
        for name, w in zip((*SIGNS, BIAS), (*weights, found[-1] - weights @ centre), strict=True)
    }


def cross_fitted(table: pd.DataFrame) -> pd.DataFrame:
    """The table with each half of the patients judged by what was fitted to the other."""
    half = table["subject"].isin(sorted(table["subject"].unique())[::2])
    table = table.copy()
    for mine, others in ((half, ~half), (~half, half)):
        signs = {name: torch.from_numpy(table.loc[mine, name].to_numpy(copy=True)) for name in SIGNS}
        table.loc[mine, "confidence"] = Calibration(fit(table[others].dropna(subset=["Dice"])))(signs).numpy()
    return table


def figures(table: pd.DataFrame) -> dict[str, Interval]:
    """Correlations with Dice, and the shares in percent that are flagged of the bad frames and of the others."""
    sure, found, who = table["confidence"], table["Dice"], table["subject"]
    flagged, bad, far = 100.0 * (sure < FLAGGED_BELOW), found < GOOD, found < GOOD - 0.1
    return {
        "r with Dice": correlation_interval(sure, found, who),
        "rank correlation": correlation_interval(rankdata(sure), rankdata(found), who),
        f"flagged of Dice < {GOOD:g}, %": mean_interval(flagged[bad], who[bad]),
        f"flagged of Dice < {GOOD - 0.1:g}, %": mean_interval(flagged[far], who[far]),
        "flagged of the others, %": mean_interval(flagged[~bad], who[~bad]),
    }


def report(table: pd.DataFrame, bars: Bars) -> None:
    """Figures of plain, degraded and all frames, then by kind, then how true the probabilities are."""
    known = table.dropna(subset=["Dice", "confidence"])
    plain, made_up = known["kind"] == PLAIN, known["kind"] == PHANTOM
    groups = {
        "plain": known[plain],
        "degraded": known[~plain & ~made_up],
        "all": known,
        **({"phantoms": known[made_up]} if made_up.any() else {}),
    }
    for name, rows in groups.items():
        print(
            f"\n{name}: {len(rows)} frames of {rows['subject'].nunique()}, {int((rows['Dice'] < GOOD).sum())} with Dice < {GOOD:g}"
        )
        found = figures(rows)
        for what, value in found.items():
            digits = 1 if what.endswith("%") else 2
            print(
                f"  {what:26s} {value.value:7.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}], n {value.count}"
            )
        if name in ("plain", "degraded"):
            caught, disturbed = (
                found[what].value for what in (f"flagged of Dice < {GOOD:g}, %", "flagged of the others, %")
            )
            bars.at_least(f"{name}: bad frames flagged, %", caught, CAUGHT, 1)
            bars.at_most(f"{name}: others flagged, %", disturbed, DISTURBED, 1)
    print("\nkind: frames, refused, Dice, bad, of them flagged, others flagged")
    for kind, rows in table.groupby("kind"):
        sure, bad = rows["confidence"] < FLAGGED_BELOW, rows["Dice"] < GOOD
        print(
            f"  {kind:13s} {len(rows):4d} {int(rows['Dice'].isna().sum()):4d}  {rows['Dice'].mean():.3f} {int(bad.sum()):4d} "
            f"{int((bad & sure).sum()):4d} {int((~bad & sure & rows['Dice'].notna()).sum()):4d}"
        )
    print(f"\nconfidence: frames, mean, share with Dice >= {GOOD:g}")
    steps = pd.cut(known["confidence"], [0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 1], include_lowest=True)
    for step, rows in known.groupby(steps, observed=True):
        print(f"  {step!s:14s} {len(rows):5d}  {rows['confidence'].mean():.3f}  {(rows['Dice'] >= GOOD).mean():.3f}")


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 0, "so many patients of each part, 0 for all")
    options.add_argument("--split", choices=list(PARTS), default="choose", help="whose patients; default choose")
    options.add_argument("--kinds", type=int, default=5, help="so many degradations of each patient; default 5")
    options.add_argument(
        "--phantoms", type=int, default=0, metavar="N", help="N held-out phantoms beside the patients; default none"
    )
    options.add_argument(
        "--fit", action="store_true", help="fit to these patients, and write the numbers into the bundle's index"
    )
    options.add_argument("--sheet", type=Path, help="a PNG of bad frames, experts green, ours red, the surest first")
    arguments = options.parse_args()
    if arguments.fit and arguments.split == "held-back":
        options.error("the patients held back are not to fit to")
    try:
        return run(arguments)
    except EchoKDMError as error:
        options.exit(2, f"{error}\n")


def run(arguments: argparse.Namespace) -> int:
    """What the options ask for; the exit code."""
    from rich.progress import track

    print(begin(arguments))
    pipeline, rows, tiles, bars = load_pipeline(arguments.bundle), [], [], Bars()
    if pipeline.calibration is None and not arguments.fit:
        print("This bundle has no calibration: fit one with --fit.")
        return 2
    pipeline.calibration = Recorder(None if arguments.fit else pipeline.calibration)
    subjects = [
        *(heart for part in PARTS[arguments.split] for heart in hearts(part, arguments.patients)),
        *phantoms(arguments.phantoms),
    ]
    for subject, *heart in track(subjects, arguments.split, transient=True):
        for kind, clip, truth in versions_of(subject, *heart, arguments.kinds):
            measured, outlines = measure(clip, truth, pipeline)
            rows += [
                {"subject": subject, "kind": kind, "phase": phase, **row}
                for phase, row in zip(PHASES, measured, strict=True)
            ]
            if arguments.sheet and min(row["Dice"] for row in measured) < GOOD:
                words = "  ".join(f"{row['Dice']:.2f} {row['confidence']:.2f}" for row in measured)
                tiles.append((-measured[0]["confidence"], f"{kind}  {words}", tile(clip, truth, outlines)))
    table = pd.DataFrame(rows)
    if arguments.fit:
        known = table.dropna(subset=["Dice"])
        weights = fit(known)
        set_confidence(find_bundle(arguments.bundle), weights)
        print(f"written: {weights}; the figures are of either half of the patients by the other half's fit")
        table = cross_fitted(table)
    report(table, bars)
    if tiles:
        draw_sheet([item[1:] for item in sorted(tiles, key=lambda item: item[0])], arguments.sheet)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
