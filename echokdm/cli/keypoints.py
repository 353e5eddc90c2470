"""`echokdm keypoints`: the left ventricle of a clip, in files."""

from typing import Annotated

import typer

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


def keypoints_command(
    context: typer.Context,
    clip: ClipArgument = None,
    keypoints: KeypointsOption = None,
    any_view: AnyViewOption = False,
    allow_print: AllowPrintOption = False,
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom",
            help="Write segmentation.dcm (DICOM SEG) and measures.dcm (SR) too, of a DICOM clip "
            "alone. They belong to the clip's patient: both hold the name, ID, dates and UIDs.",
        ),
    ] = False,
    bundle: BundleOption = defaults.BUNDLE,
    device: DeviceOption = defaults.DEVICE,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    demo: DemoOption = False,
) -> None:
    """Find the left ventricle: 40 key-points a frame, masks, volumes, end-diastole, end-systole, ejection fraction."""
    source = demo_or(clip, demo)
    check_coded(dicom, any_view)
    folder = output_folder(context, out, overwrite, "demo-keypoints" if demo else "")
    from echokdm.echo.bundle import load_pipeline, weights_hash
    from echokdm.echo.derive import derive_keypoints
    from echokdm.io.dicom_out import Origin
    from echokdm.io.dicom_source import read_source
    from echokdm.ops.cycle import clip_ejection_fraction, volumes_at
    from echokdm.report.synthesis import write_keypoints

    header = read_source(source) if dicom else None
    pipeline = load_pipeline(bundle, device, say) if dicom and keypoints is None else None
    origin = None if pipeline is None else Origin(weights_hash(pipeline), pipeline.bundle_name)
    derived = derive_keypoints(
        source,
        bundle=bundle if pipeline is None else pipeline,
        keypoints=keypoints,
        any_view=any_view,
        allow_print=allow_print,
        device=device,
        progress=say,
    )
    write_keypoints(derived, folder, overwrite=overwrite, source=header, origin=origin)
    if derived.moves:
        for (ed, es), turn, (edv, esv) in zip(
            derived.beats, derived.turns, volumes_at(derived.volumes, derived.turns), strict=True
        ):
            typer.echo(
                f"ED frame {ed}: {edv:.1f} {derived.unit}, ES frame {es}: {esv:.1f} {derived.unit}, "
                f"EF {clip_ejection_fraction(derived.volumes, [turn]):.1f} %"
            )
        typer.echo(
            f"EF {derived.ejection_fraction:.1f} %, the mean of {len(derived.beats)} beats"
            if len(derived.beats) > 1
            else f"EF {derived.ejection_fraction:.1f} %"
        )
    if derived.sureness:
        typer.echo(derived.sureness)
    if dicom:
        typer.echo(
            "The two DICOM objects hold the patient's name, ID, dates and UIDs: they belong where the clip does."
        )
    typer.echo(
        f"Research only: {told_path(folder / 'overlay.png', out)}, beside it keypoints.csv, masks.nii.gz, volumes.csv, "
        f"volumes.svg, measures.json{OBJECTS * dicom}"
    )
