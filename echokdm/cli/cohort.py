"""`echokdm augment` makes a cohort from a folder of clips; `echokdm validate` checks any folder in EchoNet-Dynamic's
layout."""

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.shared import (
    AllowPrintOption,
    AnyViewOption,
    BundleOption,
    DeviceOption,
    counted,
    reading_bar,
    say,
    tell_problems,
    told_path,
)
from echokdm.core import defaults
from echokdm.core.errors import ConfigError


def validate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder with FileList.csv, VolumeTracings.csv, Videos/.")
    ],
) -> None:
    """Check an EchoNet-Dynamic folder, its tables, videos, tracings and volumes; print every problem. Exit code 2 where
    there is any."""
    from echokdm.cohort.validate import validate_folder

    report = validate_folder(folder, reading_bar())
    splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    typer.echo(f"{report.clips} clips ({splits or 'none'}), {report.frames} frames, volumes in {report.unit}")
    tell_problems(report.problems)


class EngineName(StrEnum):
    """Choices of --engine."""

    local = "local"
    ray = "ray"


def augment(
    clips: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of apical 4-chamber clips, or one clip.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write; an unfinished cohort there is gone on with.")
    ],
    per_clip: Annotated[int, typer.Option("--per-clip", help="Synthetic clips from each clip.")] = defaults.PER_CLIP,
    ef: Annotated[
        str,
        typer.Option(
            "--ef",
            metavar="uniform:20-70|match:FILE|balance",
            help="Ejection fractions to ask for: evenly from a "
            "range, as in a FileList's EF column, or so that the clips' own histogram becomes flat.",
        ),
    ] = defaults.EF,
    motion: Annotated[
        str,
        typer.Option(
            "--motion",
            metavar="own|others|library:FOLDER",
            help="Whose motion: the clip's own, another patient's of the same split, or one of a folder of clips.",
        ),
    ] = defaults.MOTION,
    split: Annotated[
        str, typer.Option("--split", metavar="TRAIN|VAL|TEST|80/10/10", help="Split of all, or shares of the patients.")
    ] = defaults.SPLIT,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Points by which the EF measured on a clip may miss its label.")
    ] = defaults.TOLERANCE,
    tries: Annotated[int, typer.Option("--tries", help="Tries before a clip is rejected.")] = defaults.TRIES,
    steps: Annotated[int, typer.Option("--steps", help="Network steps a frame.")] = defaults.STEPS,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write each clip as DICOM too.")] = False,
    nifti: Annotated[bool, typer.Option("--nifti", help="Write each clip and its ventricle as NIfTI too.")] = False,
    one_frame: Annotated[
        bool,
        typer.Option(
            "--one-frame",
            help="Make each clip from its source's end-diastolic frame alone, as KDM "
            "does, instead of editing the whole clip.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = defaults.SEED,
    engine: Annotated[
        EngineName,
        typer.Option(
            "--engine",
            help="Who makes the clips: this process, or workers of Ray here or on the cluster of RAY_ADDRESS.",
        ),
    ] = EngineName.local,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Workers of Ray; default: one a core, or one a GPU.", show_default=False),
    ] = None,
    any_view: AnyViewOption = False,
    allow_print: AllowPrintOption = False,
    bundle: BundleOption = defaults.BUNDLE,
    device: DeviceOption = defaults.DEVICE,
) -> None:
    """Make many labelled synthetic clips from a folder of clips, as an EchoNet-Dynamic folder. Stopped runs go on where
    they were."""
    from echokdm.cohort.folder import check_free
    from echokdm.cohort.make import Making, augment_cohort
    from echokdm.cohort.motion import borrow_motions
    from echokdm.cohort.plan import check_wishes, plan_cohort, read_sources
    from echokdm.cohort.workers import ray_engine, serial
    from echokdm.echo.bundle import load_pipeline
    from echokdm.io.atomic import claim
    from echokdm.io.folder import clip_files
    from echokdm.ops.confidence import told_of_clips

    check_free(out)
    check_wishes(per_clip, ef, split)
    options = Making(tolerance, tries, steps, dicom, nifti, one_frame)
    options.check()
    if workers is not None and engine != "ray":
        raise ConfigError("--workers is of Ray: add --engine ray.")
    if motion not in ("own", "others") and not motion.startswith("library:"):
        raise ConfigError("--motion takes own, others or library:FOLDER.")
    with ExitStack() as stack:
        stack.enter_context(claim(out, "augment", inside=True))
        files, library = clip_files(clips), []
        if motion.startswith("library:"):
            library = clip_files(Path(motion.removeprefix("library:")), "The folder of --motion library")
        # Ray's workers take the pipeline to their own devices.
        pipeline = load_pipeline(bundle, device if engine == "local" else "cpu", say)
        chosen = serial if engine == "local" else stack.enter_context(ray_engine(workers, device))
        looking = counted(chosen, "looking for ventricles")
        sources, refused = read_sources(
            files, pipeline, say, engine=looking, any_view=any_view, allow_print=allow_print
        )
        for line in refused:
            typer.echo(f"  left out, {line}", err=True)
        for source in sources:
            if source.doubt:
                typer.echo(f"  Warning: clip {source.number}: {source.doubt}", err=True)
        if sureness := told_of_clips(
            {s.number: float(s.confidence.mean()) for s in sources if s.confidence is not None}
        ):
            typer.echo(f"  {sureness}", err=True)
        plan = plan_cohort(sources, per_clip, ef, seed, split)
        changed = plan["note"][plan["note"] != ""].str.split().str[0].value_counts()
        for word, count in changed.items():
            typer.echo(
                f"  {count} wishes lay beyond what their clip allows and were {word}; manifest.csv has each", err=True
            )
        drivers = sources if motion == "others" else ()
        if library:
            # Of a library the motion alone is taken, and no pixel is put out.
            drivers, unused = read_sources(library, pipeline, say, engine=looking, any_view=any_view, allow_print=True)
            for line in unused:
                typer.echo(f"  left out of the library, {line}", err=True)
        if motion != "own":
            plan = borrow_motions(plan, drivers, seed, bool(library))
        manifest = augment_cohort(
            plan,
            sources,
            out,
            options,
            bundle=pipeline,
            drivers=drivers,
            progress=say,
            engine=counted(chosen, "making clips", lambda share: len(share[1])),
        )
    kept = manifest[manifest["accepted"]]
    typer.echo(f"{len(kept)} of {len(manifest)} clips accepted, from {len(sources)} of {len(files)} source clips")
    if len(kept):
        error = (kept["measured"] - kept["asked"]).abs().mean()
        typer.echo(
            f"EF measured on them misses the EF asked for by {error:.1f} points in the mean, labels by "
            f"{(kept['measured'] - kept['drawn']).abs().mean():.1f}"
        )
    if len(kept) and not one_frame:
        typer.echo(
            "Each is its source clip, edited, and carries that patient's pixels: share it as you would share the source"
        )
    typer.echo(
        f"Synthetic, research only: {told_path(out, out)}; check it with: echokdm validate {told_path(out, out)}"
    )
