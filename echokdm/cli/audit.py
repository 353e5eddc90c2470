"""`echokdm audit` looks for copies of real clips in a synthetic cohort, and for patients in two splits."""

from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.shared import BundleOption, DeviceOption, OutOption, OverwriteOption, output_folder, say, told_path
from echokdm.core import defaults

FOUND = 1


def audit(
    context: typer.Context,
    real: Annotated[
        Path,
        typer.Argument(
            metavar="REAL", help="The real clips: a folder with FileList.csv and Videos/, or any folder of clips."
        ),
    ],
    synth: Annotated[
        Path, typer.Argument(metavar="SYNTH", help="The synthetic clips, such as what `echokdm augment` wrote.")
    ],
    out: OutOption = None,
    bundle: BundleOption = defaults.AUDIT_BUNDLE,
    device: DeviceOption = defaults.DEVICE,
    overwrite: OverwriteOption = False,
) -> None:
    """Look for copies of real clips among synthetic ones, and for patients in two splits. Exit code 0 where there is
    nothing, 1 where there is anything or not every clip could be audited, 2 for bad input."""
    folder = output_folder(context, out, overwrite)
    from echokdm.cohort.audit import audit_cohort
    from echokdm.cohort.audit.report import write_audit

    result = audit_cohort(real, synth, bundle=bundle, device=device, progress=say)
    write_audit(
        result,
        folder,
        overwrite=overwrite,
        command=f"echokdm audit REAL SYNTH --bundle {Path(bundle).name} --device {device}",
    )
    typer.echo(result.verdict)
    for row in result.copies.itertuples():
        typer.echo(f"  {row.clip} copies {row.nearest} (motion agreement {row.motion_agreement:.2f})")
    for kind, clips in result.leaks.items():
        typer.echo(
            f"  {len(clips)} {kind}: {', '.join(clips[:10])}"
            + (f" and {len(clips) - 10} more" if len(clips) > 10 else "")
        )
    for test in result.tests:
        typer.echo(f"C_T in {test.space}: {test.statistic:+.1f}, {test.meaning}")
    typer.echo(f"Planted copies found: {result.found:.0%} of {len(result.controls)}")
    typer.echo(f"{told_path(folder / 'report.html', out)}, beside it audit.json, pairs.csv, worst-pairs.png")
    if not result.clean:
        raise typer.Exit(FOUND)
