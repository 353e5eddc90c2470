"""The paper's tables on held-out phantoms, and KDM against its ablations and baselines, pair by pair.

    python benchmarks/kdm_tables.py [--bundle B] [--patients 200] [--out FOLDER]

Bars, for each kind of pairs: lower LPIPS than TPS, without F2I and without K2F; lower MSE and MD than no edit, TPS and
without K2F, the 95 % interval of the paired difference below zero; MSE <= 1.1 x without F2I; K2F's flow off by at most
0.4 x the motion.
"""

from pathlib import Path

import pandas as pd
from bars import Bars, begin, parser

from echokdm.evaluation.held_out import CARRIED, ED_TO_ES, KDM, NO_EDIT, NO_F2I, NO_K2F, RANDOM, TPS
from echokdm.evaluation.paper import compared
from echokdm.evaluation.run import Evaluation, evaluate
from echokdm.metrics.intervals import Interval, difference_interval, ratio_interval

LOWER = {"LPIPS_squeeze": (TPS, NO_F2I, NO_K2F), "MSE_img": (NO_EDIT, TPS, NO_K2F), "MD": (NO_EDIT, TPS, NO_K2F)}
PAPER = {NO_F2I: 0.878, NO_K2F: 0.732}  # LPIPS_alx of the whole over that of the ablation, its Table 3


def bracketed(found: Interval) -> str:
    """A ratio and its interval."""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def check_pictures(images: pd.DataFrame, bars: Bars) -> None:
    """Paired differences and ratios of KDM and the others."""
    for pair in (ED_TO_ES, RANDOM):
        for score, others in LOWER.items():
            for other in others:
                mine, theirs, patients = compared(images, pair, KDM, other, score)
                found = difference_interval(mine, theirs, patients)
                ratio = ratio_interval(mine, theirs, patients).value
                paper = f"; the paper's ratio {PAPER[other]:.3f}" if score == "LPIPS_squeeze" and other in PAPER else ""
                figure = f"{found.value:+.5f} [{found.low:+.5f}, {found.high:+.5f}], ratio {ratio:.3f}{paper}, n {found.count}"
                bars.check(f"{pair}: {score} of KDM - {other}", found.high < 0, figure, "below 0")
        ratio = ratio_interval(*compared(images, pair, KDM, NO_F2I, "MSE_img"))
        bars.check(f"{pair}: MSE of KDM / without F2I", ratio.value <= 1.1, bracketed(ratio), "<= 1.1")
        still = ratio_interval(*compared(images, pair, KDM, NO_EDIT, "LPIPS_squeeze"))
        print(f"      {pair}: LPIPS of KDM / no edit {bracketed(still)}")


def check_flow(flows: pd.DataFrame, bars: Bars) -> None:
    """K2F's flow in the heart over the mean true motion there."""
    part = flows[(flows["flow"] == CARRIED) & (flows["against"] == "truth") & (flows["region"] == "heart")]
    found = {score: ratio_interval(part[score], part["motion"], part["patient"]) for score in ("EPE", "MAE")}
    bars.check(
        "K2F-net's end-point error / mean true motion in the heart",
        found["EPE"].value <= 0.4,
        f"{bracketed(found['EPE'])} (MAE over dx, dy: {found['MAE'].value:.3f})",
        "<= 0.4",
    )


def main() -> int:
    """Parse the command line, print tables and verdicts."""
    options = parser(__doc__, 200)
    options.add_argument("--out", type=Path, help="a folder for the tables and every pair's scores")
    arguments = options.parse_args()
    print(begin(arguments))
    result: Evaluation = evaluate(arguments.bundle, patients=arguments.patients, out=arguments.out, overwrite=True)
    bars = Bars()
    check_pictures(result.scores["images"], bars)
    check_flow(result.scores["flows"], bars)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
