"""Audit cohorts of phantoms, edited clips and clips from one frame, with near-copies planted among them, and without.

    python benchmarks/audit.py [--bundle B] [--patients 50] [--per-clip 4] [--copies 10] [--total 200] [--keep FOLDER] [--beyond]

Held-out phantoms are the real patients: `--patients` of TRAIN, from which a cohort of either kind is made through the
code of `echokdm augment`, and 20 of VAL and TEST. As many of a cohort's clips are audited as leave room for the copies
in `--total`; the copies are of ten kinds, each of another patient. Bars: every copy found, 2 others flagged at most; 60
clips of the cohort alone are clean; four planted leaks between splits are found. --beyond: what other and stronger
disguises come to, to know where the audit ends.
"""

import csv
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bars import Bars, begin, parser
from near_copies import BEYOND, PLANTED

from echokdm.cohort.audit import Audit, audit_cohort
from echokdm.cohort.audit.clips import QUERY_FRAMES, in_model_frame, open_clip
from echokdm.cohort.audit.result import COPY
from echokdm.cohort.make import Making, augment_cohort, read_manifest
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.core.errors import EchoKDMError
from echokdm.core.types import Clip
from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.io.write import write_avi
from echokdm.ops.clip_alignment import compare_clips, pick_frames, texture

HELD_OUT, FPS = 20, 20.0
Rows = list[tuple[str, str, str]]


def write_real(root: Path, patients: int) -> Rows:
    """An EchoNet folder of phantoms, one beat each, TRAIN first; returns its list."""
    from echokdm.phantom.a4c import A4CPhantom

    rows = []
    for i in range(patients + HELD_OUT):
        rows.append((f"PAT{i:04d}", "TRAIN" if i < patients else ("VAL", "TEST")[i % 2], f"phantom-{i}"))
        file = root / "Videos" / f"{rows[-1][0]}.avi"
        if not file.exists():
            clip = A4CPhantom([FIRST_SEED + i]).clip(FPS)[0]
            write_avi(file, clip.frames, clip.fps)
    write_list(root, rows)
    return rows


def write_list(root: Path, rows: Rows, edited: Collection[str] = ()) -> Path:
    """A FileList of (name, split, subject), which says of the clips named in `edited` that they are."""
    with (root / "FileList.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("FileName", "Split", "Subject", "Edited"))
        writer.writerows((*row, int(row[0] in edited)) for row in rows)
    return root


def beside(videos: Path, root: Path) -> Path:
    """A folder with the same videos, for a list of its own."""
    root.mkdir(parents=True)
    (root / "Videos").mkdir()
    for file in videos.iterdir():
        (root / "Videos" / file.name).symlink_to(file.resolve())
    return root


def plant_copies(root: Path, real: Path, patients: int, copies: int) -> dict[str, str]:
    """Near-copies of TRAIN patients, no two of one; name -> kind."""
    kinds = {}
    for k in range(copies):
        kind, disguise = list(PLANTED.items())[k % len(PLANTED)]
        clip = open_clip(real / "Videos" / f"PAT{7 * k % patients:04d}.avi", "")
        kinds[f"SYN9{k:05d}"] = kind
        write_avi(root / "Videos" / f"SYN9{k:05d}.avi", disguise(clip.frames).clamp(0, 1), clip.fps)
    return kinds


def plant_leaks(home: Path, real: Path, listed: Rows, cohort: Path, genuine: Rows) -> tuple[Path, Path]:
    """A few clips of both sets, whose lists put a patient of each into two splits, and clips of a patient into the
    wrong one."""
    theirs = [*listed[:8], *listed[-8:]]
    theirs[4], theirs[5] = (theirs[4][0], "TRAIN", "both"), (theirs[5][0], "VAL", "both")
    names = [row[0] for row in genuine[:8]]
    ours = [
        (names[0], "TRAIN", listed[-1][2]),
        (names[1], "VAL", listed[3][2]),
        (names[2], "TRAIN", "twice"),
        (names[3], "TEST", "twice"),
        *((name, "TRAIN", listed[0][2]) for name in names[4:]),
    ]
    return (
        write_list(beside(real / "Videos", home / "leaky-real"), theirs),
        write_list(beside(cohort / "Videos", home / "leaky-synthetic"), ours),
    )


def tell(audit: Audit) -> None:
    """Figures that have no bar."""
    genuine = audit.pairs[~audit.pairs["copy"]]
    own = genuine[genuine["from_own_source"] == "yes"]["motion_agreement"]
    others = audit.reference["other_motion_agreement"]
    compared = f"median {own.median():.2f}, highest {own.max():.2f}" if len(own) else "edited ones are not compared"
    print(
        f"      motion agreement: {len(own)} clips with their own source, {compared}; synthetic clips with other patients, highest "
        f"{genuine['other_motion_agreement'].max():.2f}; {len(others)} held-out patients with others, highest {others.max():.2f}; "
        f"a copy from {COPY}"
    )
    print(
        f"      copies that the audit planted itself: {audit.found:.0%} of {len(audit.controls)} found, lowest "
        f"{audit.controls.min():.2f}"
    )
    for test in audit.tests:
        print(
            f"      C_T in {test.space}: {test.statistic:+.1f} ({test.synthetic} against {test.reference}): {test.meaning}"
        )


def tell_beyond(real: Path, patients: int = 10) -> None:
    """Motion agreement of other disguises with their originals."""
    for kind, disguise in (PLANTED | BEYOND).items():
        agreements = []
        for i in range(0, 5 * patients, 5):
            clip = open_clip(real / "Videos" / f"PAT{i:04d}.avi", "")
            try:
                copy = in_model_frame(Clip(disguise(clip.frames).clamp(0, 1).contiguous(), clip.fps))
            except EchoKDMError:
                continue
            picked = pick_frames(len(copy.frames), QUERY_FRAMES)
            agreements.append(
                compare_clips(
                    texture(copy.frames[picked], copy.sector),
                    torch.tensor(picked) / clip.fps,
                    texture(clip.frames, clip.sector),
                    clip.fps,
                ).motion
            )
        found = sum(value >= COPY for value in agreements)
        low, middle = (min(agreements), np.median(agreements)) if agreements else (np.nan, np.nan)
        print(
            f"      {kind}: {found} of {len(agreements)} found (sector found in {len(agreements)} of {patients}), "
            f"median {middle:.2f}, lowest {low:.2f}",
            flush=True,
        )


def check_kind(
    one_frame: bool, home: Path, scratch: Path, listed: Rows, arguments: Any, pipeline: Any, bars: Bars
) -> None:
    """Make, audit and judge a cohort of clips from one frame, or of edited ones."""
    kind, patients, real = "one-frame" if one_frame else "edited", arguments.patients, home / "real"
    cohort, scratch = home / f"cohort-{kind}", scratch / kind
    if not (cohort / "run.json").exists():
        sources, _ = read_sources([real / "Videos" / f"PAT{i:04d}.avi" for i in range(patients)], pipeline)
        plan = plan_cohort(sources, arguments.per_clip, "uniform:20-70", split="TRAIN")
        augment_cohort(plan, sources, cohort, Making(one_frame=one_frame), bundle=pipeline)
    manifest = read_manifest(cohort)
    genuine: Rows = [(row.id, row.split, row.subject) for row in manifest[manifest["accepted"]].itertuples()]
    genuine = genuine[: arguments.total - arguments.copies]
    edited = set() if one_frame else {name for name, *_ in genuine}
    mixed = beside(cohort / "Videos", scratch / "mixed")
    kinds = plant_copies(mixed, real, patients, arguments.copies)
    write_list(mixed, [*genuine, *((name, "TRAIN", f"nobody-{name}") for name in kinds)], edited)
    audit = audit_cohort(real, mixed, bundle=pipeline)
    print(
        f"{kind}: {patients} phantoms of TRAIN and {HELD_OUT} held out, seeds from {FIRST_SEED}; {len(genuine)} genuine clips, "
        f"{len(kinds)} copies"
    )
    for row in audit.pairs[audit.pairs["clip"].isin(kinds)].itertuples():
        print(
            f"      {kinds[row.clip]}: motion agreement {row.motion_agreement:.2f}, pixel distance {row.pixel_distance:.3f}"
        )
    tell(audit)
    flagged = set(audit.copies["clip"])
    bars.at_least(f"{kind}: copies found, share", len(flagged & set(kinds)) / len(kinds), 1.0, 2)
    bars.at_most(f"{kind}: others flagged", len(flagged - set(kinds)), 2, 0)
    bars.check(f"{kind}: leaks where none was planted", not audit.leaks, str(audit.leaks or "none"), "none")
    alone = beside(cohort / "Videos", scratch / "alone")
    clean = audit_cohort(real, write_list(alone, genuine[-60:], edited), bundle=pipeline)
    tell(clean)
    bars.check(f"{kind}: the cohort alone", clean.clean, clean.verdict, "clean")
    if edited:
        unsaid = audit_cohort(real, write_list(alone, genuine[-60:]), bundle=pipeline)
        print(f"      without the column Edited {len(unsaid.copies)} of these {len(unsaid.pairs)} are flagged")
    leaks = audit_cohort(*plant_leaks(scratch, real, listed, cohort, genuine), bundle=pipeline).leaks
    for leak, clips in leaks.items():
        print(f"      {leak}: {', '.join(clips)}")
    bars.at_least(f"{kind}: planted leaks found, a kind each", sum(len(clips) == 1 for clips in leaks.values()), 4, 0)


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 50)
    options.add_argument("--per-clip", type=int, default=4)
    options.add_argument("--copies", type=int, default=10)
    options.add_argument("--total", type=int, default=200)
    options.add_argument(
        "--keep", type=Path, help="a folder for real clips and cohorts, used again if there; default: thrown away"
    )
    options.add_argument("--beyond", action="store_true", help="other disguises alone")
    arguments = options.parse_args()
    print(begin(arguments))
    bars = Bars()
    with tempfile.TemporaryDirectory() as scratch:
        home = arguments.keep or Path(scratch)
        listed = write_real(home / "real", arguments.patients)
        if arguments.beyond:
            tell_beyond(home / "real")
            return 0
        pipeline = load_pipeline(arguments.bundle)
        for one_frame in (False, True):
            check_kind(one_frame, home, Path(scratch), listed, arguments, pipeline, bars)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
