"""Real hearts: the ventricle that the product finds in CAMUS' ED and ES frames against the experts', Dice, area and EF.

    python benchmarks/real_hearts.py [--bundle B] [--split choose] [--patients N] [--sheet FILE.png]
    python benchmarks/real_hearts.py [--bundle B] --network-alone | --phantoms N | --tracings

ECHOKDM_TEST_DATA names the folder that holds camus/ and echo/. --split: a part of `camus_split`, or both for "choose"
beside "held_back" with the gap between them; the patients held back are for a final check, not for choosing by. Ours:
the product's whole ventricle of 40 key-points, on the clip's own pixels, found in each frame alone and in the two as a
clip. The experts' EF is had from their masks by the same single-plane Simpson. What was refused counts as refused and
in no other figure. In brackets: 95 % intervals by bootstrap over patients. --network-alone: the segmenter's likeliest
class without key-points. --phantoms: EF of two beats of held-out phantoms, thinned from 50 to 6 frames/s. --tracings:
Dice with four frames traced by hand.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bars import Bars, begin, parser
from hearts import ALONE, FULL_FPS, NETWORK, PAIR, PHASES, hand_tracings, hearts, measure, thinned_phantom
from hearts_sheet import draw_sheet, tile

from echokdm.core.errors import EchoKDMError
from echokdm.data.adapters.camus import PARTS
from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.metrics.intervals import Interval, correlation_interval, mean_interval, ratio_interval

SHOWN = 60  # patients of a sheet
FIGURES = tuple(
    f"{what} {phase}{end}"
    for what, end in (("Dice", ""), ("area", ", mean of ratios"), ("area", ", ratio of sums"))
    for phase in PHASES
)
EF_FIGURES = ("EF, MAE", "EF, bias", "EF, r")
# Least and greatest value of a figure, by which weights are judged.
BARS = {
    "a4c": {
        "Dice ED": (0.935, 1),
        "Dice ES": (0.915, 1),
        "area ED, mean of ratios": (0.96, 1.04),
        "area ES, mean of ratios": (0.96, 1.04),
        "refused, %": (0, 1),
        "EF, MAE": (0, 6.5),
        "EF, bias": (-1.5, 1.5),
        "EF, r": (0.8, 1),
    },
    "a4c-phantom": {"Dice ED": (0.89, 1), "Dice ES": (0.86, 1), "EF, MAE": (0, 12), "EF, bias": (-4, 4)},
}
MEAN_MOVES, ONE_MOVES = 2.0, 6.0  # points of EF, by thinning
TRACED_MEAN, TRACED_LEAST = 0.90, 0.86  # Dice


def figures(rows: pd.DataFrame) -> dict[str, Interval]:
    """The figures of one way, by name."""
    error, found = rows["EF"] - rows["expert EF"], {}
    for phase in PHASES:
        mine, theirs = rows[f"area {phase}"], rows[f"expert area {phase}"]
        found |= {
            f"Dice {phase}": mean_interval(rows[f"Dice {phase}"]),
            f"area {phase}, mean of ratios": mean_interval(mine / theirs),
            f"area {phase}, ratio of sums": ratio_interval(mine, theirs),
        }
    found["refused, %"] = mean_interval(100 * rows["refused"].map(len) / rows["clips"])
    found |= dict(
        zip(
            EF_FIGURES,
            (mean_interval(error.abs()), mean_interval(error), correlation_interval(rows["EF"], rows["expert EF"])),
            strict=True,
        )
    )
    return found


def measure_part(part: str, pipeline: Any, arguments: argparse.Namespace) -> pd.DataFrame:
    """Rows of every patient in every way; the sheet, where asked for, of the frames alone."""
    from rich.progress import track

    ways = (NETWORK,) if arguments.network_alone else (ALONE, PAIR)
    began, rows, tiles = time.process_time(), [], []
    for subject, clip, truth in track(hearts(part, arguments.patients), part, transient=True):
        for way in ways:
            row, outlines = measure(subject, clip, truth, pipeline, way)
            rows.append(row)
            if arguments.sheet and way == ways[0]:
                scores = [row[f"Dice {phase}"] for phase in PHASES]
                caption = f"{subject}  " + "  ".join(f"{p} {s:.3f}" for p, s in zip(PHASES, scores, strict=True))
                tiles.append((np.mean(np.nan_to_num(scores)), caption, tile(clip, truth, outlines)))
    table = pd.DataFrame(rows)
    patients = table["subject"].nunique()
    print(f"{part}: {patients} patients, {(time.process_time() - began) / patients:.2f} s of processor time each")
    if tiles:
        tiles.sort(key=lambda item: item[0])
        path = arguments.sheet
        draw_sheet(
            [item[1:] for item in tiles[:SHOWN]],
            path.with_stem(f"{path.stem}-{part}") if arguments.split == "both" else path,
        )
    return table


def print_refusals(reasons: Iterable[list[str]]) -> None:
    """How often each reason was given."""
    for reason, count in Counter(reason for clip in reasons for reason in clip).most_common():
        print(f"      refused {count} x: {reason}")


def print_figures(tables: dict[str, pd.DataFrame], held_to: str | None, bars: Bars) -> None:
    """A column a part and, of two, the gap; bars on the last."""
    for way in next(iter(tables.values()))["way"].unique():
        columns = {part: table[table["way"] == way] for part, table in tables.items()}
        found = {part: figures(rows) for part, rows in columns.items()}
        print(
            f"\n{way}".ljust(32)
            + "".join(f"{part:>28}" for part in found)
            + ("           gap" if len(found) > 1 else "")
        )
        for name in (*FIGURES, "refused, %", *(() if way == NETWORK else EF_FIGURES)):
            values = [column[name] for column in found.values()]
            digits = 1 if name in ("refused, %", *EF_FIGURES[:2]) else 3
            line = "".join(f"{f'{v.value:.{digits}f} [{v.low:.{digits}f}, {v.high:.{digits}f}]':>28}" for v in values)
            print(
                f"  {name}".ljust(31)
                + line
                + (f"{values[-1].value - values[0].value:>+14.{digits}f}" if len(values) > 1 else "")
            )
        for part, rows in columns.items():
            print(f"  {part}: refused {int(rows['refused'].map(len).sum())} of {int(rows['clips'].sum())} clips")
            print_refusals(rows["refused"])
        if held_to and way != NETWORK:
            last = list(found)[-1]
            for name, (least, most) in BARS[held_to].items():
                value = found[last][name].value
                bars.check(f"{last}, {way}: {name}", least <= value <= most, f"{value:.3f}", f"{least:g} to {most:g}")


def check_phantoms(count: int, pipeline: Any, bars: Bars) -> None:
    """EF of phantom clips against their own at FULL_FPS."""
    from rich.progress import track

    seeds = track(range(FIRST_SEED, FIRST_SEED + count), "phantoms", transient=True)
    table = pd.DataFrame([row for seed in seeds for row in thinned_phantom(seed, pipeline)])
    found, true = (table.pivot(index="seed", columns="fps", values=name) for name in ("EF", "true EF"))
    print(
        f"\nphantoms, {count}: frames/s; mean EF; mean and largest change from {FULL_FPS:g} frames/s; the same of true volumes"
    )
    for fps in sorted(found, reverse=True):
        moved, sampled = (values[fps] - values[FULL_FPS] for values in (found, true))
        print(
            f"  {fps:5.1f}  {found[fps].mean():5.1f}  {moved.mean():+5.1f} {_largest(moved):+6.1f}    "
            f"{true[fps].mean():5.1f}  {sampled.mean():+5.1f} {_largest(sampled):+6.1f}"
        )
        if fps < FULL_FPS:
            for what, value, bar in (
                ("change of the mean EF", moved.mean(), MEAN_MOVES),
                ("largest change", _largest(moved), ONE_MOVES),
            ):
                bars.check(f"{fps:.1f} frames/s: {what}", abs(value) <= bar, f"{value:+.1f}", f"within {bar:g}")
    print(f"  refused {int(table['refused'].map(len).sum())} of {len(table)} clips")
    print_refusals(table["refused"])


def _largest(changes: pd.Series) -> float:
    """The change that is farthest from zero, with its sign; nan where there is none."""
    known = changes.dropna()
    return float(known.iloc[known.abs().argmax()]) if len(known) else np.nan


def check_tracings(pipeline: Any, bars: Bars) -> None:
    """Dice with the frames traced by hand."""
    table = hand_tracings(pipeline)
    for row in table.itertuples():
        print(f"  {row.clip}, frame {row.frame}: Dice {row.Dice:.3f}")
    print_refusals(table["refused"])
    bars.at_least("hand tracings: mean Dice", float(table["Dice"].mean(skipna=False)), TRACED_MEAN, 3)
    bars.at_least("hand tracings: least Dice", float(table["Dice"].min(skipna=False)), TRACED_LEAST, 3)


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 0, "so many patients of the part, 0 for all")
    options.add_argument(
        "--split", choices=[*PARTS, "held-back", "both"], default="choose", help="whose patients; default choose"
    )
    options.add_argument(
        "--sheet", type=Path, help=f"a PNG of up to {SHOWN} patients, experts green, ours red, worst first"
    )
    options.add_argument(
        "--bars", choices=list(BARS), help="what to hold the weights to; default: by the bundle's name, else none"
    )
    options.add_argument("--network-alone", action="store_true", help="the segmenter's own Dice, quick")
    options.add_argument("--phantoms", type=int, metavar="N", help="instead: EF of N phantom clips, thinned")
    options.add_argument("--tracings", action="store_true", help="instead: frames traced by hand")
    arguments = options.parse_args()
    try:
        return run(arguments)
    except EchoKDMError as error:
        options.exit(2, f"{error}\n")


def run(arguments: argparse.Namespace) -> int:
    """What the options ask for; the exit code."""
    print(begin(arguments))
    pipeline, bars = load_pipeline(arguments.bundle), Bars()
    if arguments.tracings:
        check_tracings(pipeline, bars)
    if arguments.phantoms:
        check_phantoms(arguments.phantoms, pipeline, bars)
    if not arguments.tracings and not arguments.phantoms:
        name = Path(arguments.bundle).name
        parts = ("choose", "held_back") if arguments.split == "both" else (arguments.split.replace("-", "_"),)
        tables = {part: measure_part(part, pipeline, arguments) for part in parts}
        print_figures(tables, arguments.bars or (name if name in BARS else None), bars)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
