"""Make a cohort from held-out phantoms through the same code as `echokdm augment`, check it and read it back.

    python benchmarks/cohort.py [--bundle B] [--patients 50] [--per-clip 4] [--ef uniform:20-70] [--fps 20] [--keep FOLDER]

Each patient's clip of one beat gives `--per-clip` synthetic ones. Bars: EF asked against EF measured on what was
accepted, MAE <= 3 points; >= 80 % accepted; `echokdm validate` finds no problem; the EchoNet-Dynamic adapter gives back
the 40 points within half a pixel and their EF within half a point of the list's.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from bars import Bars, begin, parser

from echokdm.cohort.make import augment_cohort
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.cohort.validate import validate_folder
from echokdm.data.adapters import find_adapter
from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.io.tracings import read_tracings
from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.volume import ejection_fraction_error, r_squared
from echokdm.ops.ventricle import outline_of_tracing, simpson_volume


def read_back(folder: Path) -> tuple[float, float]:
    """Worst (distance in px of a key-point, points of EF) between what was written and what the adapter reads."""
    adapter, written = find_adapter("echonet-dynamic"), read_tracings(folder / "VolumeTracings.csv")
    worst_point = worst_ef = 0.0
    for row in adapter.index(folder).to_dict("records"):
        item = adapter.read(row)
        for frame, rows in written[row["sequence"]].items():
            distance = np.linalg.norm(item.keypoints[frame].numpy() - outline_of_tracing(rows), axis=1).max()
            worst_point = max(worst_point, float(distance))
        volumes = simpson_volume(item.keypoints[item.visible.all(1)].numpy())
        worst_ef = max(worst_ef, abs(100 * (1 - volumes.min() / volumes.max()) - item.labels["EF"]))
    return worst_point, float(worst_ef)


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 50)
    options.add_argument("--per-clip", type=int, default=4)
    options.add_argument("--ef", default="uniform:20-70")
    options.add_argument("--fps", type=float, default=20.0)
    options.add_argument(
        "--keep", type=Path, help="a folder for the cohort, gone on with where it is unfinished; default: thrown away"
    )
    arguments = options.parse_args()
    print(begin(arguments))
    from echokdm.phantom.a4c import A4CPhantom

    pipeline = load_pipeline(arguments.bundle)
    started = time.perf_counter()
    clips = [A4CPhantom([FIRST_SEED + i]).clip(arguments.fps)[0] for i in range(arguments.patients)]
    sources, refused = read_sources(clips, pipeline)
    plan = plan_cohort(sources, arguments.per_clip, arguments.ef, split="80/10/10")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "cohort"
        manifest = augment_cohort(plan, sources, folder, bundle=pipeline)
        seconds = time.perf_counter() - started
        report = validate_folder(folder)
        worst_point, worst_ef = read_back(folder) if manifest["accepted"].any() else (np.nan, np.nan)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    kept = manifest[manifest["accepted"]]
    asked, drawn, measured = (kept[column].to_numpy(float) for column in ("asked", "drawn", "measured"))
    print(
        f"{arguments.patients} phantoms, seeds from {FIRST_SEED}, {len(refused)} refused; {len(manifest)} clips planned, "
        f"{int((plan['note'] != '').sum())} wishes beyond their source's range; {seconds:.0f} s with {report.frames} frames kept, "
        f"{size / 2**20:.1f} MiB"
    )
    for line in refused:
        print("     ", line)
    for number, rows in manifest.groupby("tries"):
        print(
            f"      after {number} tries: {int(rows['accepted'].sum())} accepted, {int((~rows['accepted']).sum())} rejected"
        )
    for row in manifest[~manifest["accepted"]].itertuples():
        print(f"      rejected {row.id} (phantom clip {row.clip}), asked {row.asked:.1f}: {row.reason}")
    first = manifest["accepted"] & (manifest["tries"] == 1)
    print(f"      accepted at the first try: {100 * first.mean():.1f} %")
    label = mean_interval(ejection_fraction_error(measured, drawn), kept["clip"])
    spread = f", R2 {r_squared(measured, drawn):.3f}" if len(kept) > 1 else ""
    print(
        f"      measured against the label: MAE {label.value:.2f} [{label.low:.2f}, {label.high:.2f}], "
        f"bias {np.mean(measured - drawn):+.2f}{spread}"
    )
    error = mean_interval(ejection_fraction_error(measured, asked), kept["clip"])
    bars = Bars()
    bars.check(
        "EF asked against measured, accepted clips: MAE, points",
        error.value <= 3,
        f"{error.value:.2f} [{error.low:.2f}, {error.high:.2f}]",
        "<= 3",
    )
    bars.at_least("accepted, percent", 100 * manifest["accepted"].mean(), 80, 1)
    bars.check("problems that validate finds", report.sound, "; ".join(report.problems.lines()) or "none", "none")
    bars.at_most("read back: worst key-point, px", worst_point, 0.5, 3)
    bars.at_most("read back: worst EF, points", worst_ef, 0.5, 3)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
