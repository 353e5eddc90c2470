"""Ask for an ejection fraction and measure it again on the output, through the same code as `echokdm synth --ef`.

    python benchmarks/ef_on_request.py [--bundle B] [--patients 100] [--fps 20]

Each held-out phantom's clip of one beat is synthesised with one EF between 20 and 70 %, evenly spread over the
patients; the segmenter finds the ventricle in the source and in the output. A request beyond what a source allows,
which `synth` refuses with the range, is asked again at that range's end. Bars: MAE <= 4 points, R2 >= 0.9.
"""

import numpy as np
from bars import Bars, begin, parser

from echokdm.core.errors import GeometryError
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints, load_pipeline
from echokdm.echo.synthesis import Synthesis, synthesize
from echokdm.echo.wish import Wish
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.volume import ejection_fraction_error, r_squared
from echokdm.ops.trajectory import ef_limits

LOW, HIGH = 20.0, 70.0
GOLDEN = 0.6180339887  # its multiples fill an interval evenly, whatever the number of patients


def request(clip: Clip, ef: float, pipeline) -> tuple[float, Synthesis]:
    """(EF asked for, what came of it); the end of the source's range where `ef` lies beyond it."""
    try:
        return ef, synthesize(clip, Wish(ef=ef), bundle=pipeline)
    except GeometryError:
        source = derive_keypoints(clip, bundle=pipeline)  # raises again where no ventricle was found
        highest = float(np.floor(ef_limits(source.keypoints, source.ed, fps=clip.fps, beats=source.beats)[1]))
        if highest >= ef:
            raise
        return highest, synthesize(clip, Wish(ef=highest), bundle=pipeline)


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 100)
    options.add_argument("--fps", type=float, default=20.0)
    arguments = options.parse_args()
    print(begin(arguments))
    from rich.progress import track

    from echokdm.phantom.a4c import A4CPhantom

    pipeline = load_pipeline(arguments.bundle)
    rows, seeds, refused, adapted = [], [], [], 0
    for i in track(range(arguments.patients), description="synthesising", transient=True):
        wish = LOW + (HIGH - LOW) * (i * GOLDEN % 1)
        phantom = A4CPhantom([FIRST_SEED + i])
        clip = phantom.clip(arguments.fps)[0]
        try:
            asked, result = request(clip, wish, pipeline)
        except GeometryError as error:
            refused.append(f"{FIRST_SEED + i}: {error}")
            continue
        adapted += asked != wish
        seeds.append(FIRST_SEED + i)
        ef = result.ejection_fractions()
        rows.append(
            (
                asked,
                *(np.nan if ef[k] is None else ef[k] for k in ("drawn", "measured", "source")),
                float(phantom.ejection_fraction[0]),
            )
        )
    asked, drawn, measured, source, truth = np.array(rows, float).reshape(-1, 5).T
    found = np.isfinite(measured)
    print(
        f"{arguments.patients} phantoms, seeds from {FIRST_SEED}; {len(rows)} synthesised, {adapted} of them at the end of their range; "
        f"{len(refused)} refused; ventricle found in {int(found.sum())} outputs"
    )
    for line in refused:
        print("     ", line)
    if not found.all():
        print("      not found in the output of seeds", *(seeds[i] for i in np.flatnonzero(~found)))
    own = mean_interval(ejection_fraction_error(source, truth))
    print(
        f"      the segmenter on the sources: MAE {own.value:.2f} [{own.low:.2f}, {own.high:.2f}] points against the phantom's own EF"
    )
    print(f"      drawn by the key-points: MAE {ejection_fraction_error(drawn, asked).mean():.2f} points")
    error = mean_interval(ejection_fraction_error(measured, asked))
    bias = mean_interval(measured - asked)
    print(f"      measured - asked: {bias.value:+.2f} [{bias.low:+.2f}, {bias.high:+.2f}] points")
    for low in range(20, 70, 10):
        part = found & (asked >= low) & (asked < low + 10)
        if part.any():
            print(
                f"      asked {low}-{low + 10}: n {int(part.sum())}, measured - asked {np.mean((measured - asked)[part]):+.2f}, "
                f"MAE {np.abs(measured - asked)[part].mean():.2f}"
            )
    bars = Bars()
    bars.check(
        "EF on request: MAE, points", error.value <= 4, f"{error.value:.2f} [{error.low:.2f}, {error.high:.2f}]", "<= 4"
    )
    bars.at_least(
        "EF on request: R2", r_squared(measured[found], asked[found]) if found.sum() > 1 else float("nan"), 0.9, 3
    )
    everywhere = bool(len(rows) and found.all())
    bars.check(
        "EF on request: outputs in which the ventricle was found",
        everywhere,
        f"{int(found.sum())} of {len(rows)}",
        "all",
    )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
