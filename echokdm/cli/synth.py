"""`echokdm synth`: what the clip is asked for, to the folder of what came of it."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.parsing import parse_drag, parse_line
from echokdm.cli.shared import (
    OBJECTS,
    AllowPrintOption,
    AnyViewOption,
    BundleOption,
    ClipArgument,
    DemoOption,
    DeviceOption,
    KeypointsOption,
    OutOption,
    OverwriteOption,
    check_coded,
    demo_or,
    output_folder,
    say,
    told_path,
)
from echokdm.core import defaults
from echokdm.report.command import repeatable

NOT_MEASURED = 3


def synth(
    context: typer.Context,
    clip: ClipArgument = None,
    ef: Annotated[
        float | None, typer.Option("--ef", help="Ejection fraction, percent, 5 to 80.", show_default=False)
    ] = None,
    edv: Annotated[
        str | None,
        typer.Option(
            "--edv",
            metavar="V|P%",
            help="End-diastolic volume: mL (px^3 where there is no spacing) or percent of the clip's own, 60 to 150 %.",
            show_default=False,
        ),
    ] = None,
    gls: Annotated[
        float | None, typer.Option("--gls", help="Global longitudinal strain, percent, -30 to 0.", show_default=False)
    ] = None,
    wall: Annotated[
        list[str] | None,
        typer.Option(
            "--wall",
            metavar="WALL=FACTOR",
            help="Motion of one wall, from -0.5 (dyskinetic) over "
            "0 (akinetic) to 1.5, such as apical-septal=0; repeatable.",
            show_default=False,
        ),
    ] = None,
    heart_rate: Annotated[
        float | None, typer.Option("--heart-rate", help="Beats a minute, 30 to 200.", show_default=False)
    ] = None,
    beats: Annotated[
        int | None, typer.Option("--beats", help="So many times one beat, looped without a jump.", show_default=False)
    ] = None,
    driving: Annotated[
        Path | None,
        typer.Option(
            "--driving", metavar="CLIP2", help="A clip whose ventricular motion is carried over.", show_default=False
        ),
    ] = None,
    keypoints: KeypointsOption = None,
    any_view: AnyViewOption = False,
    allow_print: AllowPrintOption = False,
    drag: Annotated[
        list[str] | None,
        typer.Option(
            "--drag",
            metavar="i:dx,dy",
            help="Move key-point i (0 to 39), or i-j all from i to j, by pixels of the clip; repeatable.",
            show_default=False,
        ),
    ] = None,
    from_frame: Annotated[
        int | None,
        typer.Option(
            "--from-frame",
            metavar="N",
            help="Make every frame from this one alone, from 0, instead of each from the clip's own of the same phase.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            help="Number of frames to make, spread over the motion; default: the clip's.",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", help="Frames per second; default: the clip's.", show_default=False)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            help="A square of so many pixels around the sector; default: the clip's own picture.",
            show_default=False,
        ),
    ] = None,
    m_mode: Annotated[
        str | None,
        typer.Option(
            "--m-mode",
            metavar="x0,y0,x1,y1",
            help="The page's M-mode along this line, in pixels of the output; default: across the ventricle.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", help="Network steps a frame, of the one-frame mode.")
    ] = defaults.STEPS,
    without: Annotated[
        str | None,
        typer.Option(
            "--without", metavar="f2i|k2f", help="Leave a network of the one-frame mode out.", show_default=False
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler", metavar="own|paper", help="paper: as the paper runs the one-frame mode, in 300 network calls."
        ),
    ] = "own",
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = defaults.SEED,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Write segmentation.dcm (DICOM SEG) and measures.dcm (SR) too: what the frames "
            "were drawn by, for synth.dcm. Nothing in them is of the source's patient.",
        ),
    ] = False,
    bundle: BundleOption = defaults.BUNDLE,
    device: DeviceOption = defaults.DEVICE,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    demo: DemoOption = False,
) -> None:
    """Edit a clip of a heart, frame by frame, at its own size. Without a wish the clip comes back as it was."""
    source = demo_or(clip, demo)
    check_coded(dicom, any_view)
    folder = output_folder(context, out, overwrite, "demo" if demo else "")
    offsets, line = parse_drag(drag or []), None if m_mode is None else parse_line(m_mode)
    from echokdm.echo.bundle import load_pipeline
    from echokdm.echo.derive import derive_keypoints
    from echokdm.echo.synthesis import Stopwatch, check_source, synthesize
    from echokdm.echo.wish import Sampling, Wish
    from echokdm.io import read_clip
    from echokdm.ops.walls import parse_walls
    from echokdm.report.synthesis import write_synthesis

    wish = Wish(ef, edv, gls, parse_walls(wall or []), offsets, heart_rate, beats, frames, fps, size)
    sampling = Sampling(seed, from_frame, steps, without=without, sampler=sampler)
    wish.check()
    sampling.check()
    watch = Stopwatch()
    say("Reading the clip")
    given = read_clip(source)
    watch.lap("read the clip")
    check_source(given, wish, sampling, driving is not None)
    pipeline = load_pipeline(bundle, device, say)
    watch.lap("load the bundle")
    heart = derive_keypoints(
        given, keypoints=keypoints, any_view=any_view, allow_print=allow_print, bundle=pipeline, progress=say
    )
    # No pixel of the driving clip is put out.
    leader = (
        None
        if driving is None
        else derive_keypoints(driving, any_view=any_view, allow_print=True, bundle=pipeline, progress=say)
    )
    watch.lap("find the ventricle")
    result = synthesize(heart, wish, sampling, driving=leader, bundle=pipeline, progress=say)
    result = replace(result, timings=watch.seconds | result.timings)
    command = repeatable(
        "synth",
        clip=None if demo else "CLIP",
        demo=demo,
        ef=ef,
        edv=edv,
        gls=gls,
        wall=wall or None,
        heart_rate=heart_rate,
        beats=beats,
        driving="CLIP2" if driving else None,
        keypoints="FILE" if keypoints else None,
        any_view=any_view,
        allow_print=allow_print,
        drag=drag or None,
        from_frame=from_frame,
        frames=frames,
        fps=fps,
        size=size,
        m_mode=m_mode,
        steps=steps,
        without=without,
        sampler=None if sampler == "own" else sampler,
        seed=seed,
        dicom=dicom,
        bundle=Path(bundle).name,
        device=device,
    )
    say("Writing the outputs")
    write_synthesis(result, folder, overwrite=overwrite, command=command, m_mode_line=line, dicom=dicom)
    if result.source.sureness:
        typer.echo(result.source.sureness)
    for name, value in result.ejection_fractions().items():
        typer.echo(f"EF {name:9s} {'none' if value is None else f'{value:5.1f} %'}")
    if result.warning:
        typer.echo(f"Warning: {result.warning}", err=True)
    typer.echo(
        f"Synthetic, research only: {told_path(folder / 'report.html', out)}, beside it synth.mp4, synth.gif, synth.dcm, "
        f"keypoints.csv, run.json{OBJECTS * dicom}"
    )
    if result.measured is None:
        raise typer.Exit(NOT_MEASURED)
