"""`echokdm deid`: echo DICOM without the patient; and what is said of every batch that was de-identified."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echokdm.cli.shared import told_path
from echokdm.core.errors import ConfigError
from echokdm.core.files import check_plain

if TYPE_CHECKING:
    from echokdm.deid import Summary

NOTHING_PUT_OUT = 2

SaltOption = Annotated[
    Path | None,
    typer.Option(
        "--salt",
        metavar="FILE",
        show_default=False,
        help="A secret of 16 bytes or more, so that "
        "runs agree on subjects and UIDs, and one that was stopped goes on; without it "
        "one is drawn and forgotten.",
    ),
]
ShiftDatesOption = Annotated[
    bool,
    typer.Option(
        "--shift-dates",
        help="Keep study dates, a patient's all moved back by the same one to ten years, rather than none.",
    ),
]


def deid(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A folder of DICOM ultrasound, read with all folders in it, or one file."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for what is put out.")],
    salt: SaltOption = None,
    shift_dates: ShiftDatesOption = False,
) -> None:
    """De-identify echo DICOM: headers rewritten, pixels masked by the sector; what is not sure is quarantined."""
    from echokdm.core.progress import progress_bar
    from echokdm.deid import deidentify_folder

    secret = read_salt(salt)
    with progress_bar() as shown:
        bar = shown.add_task("de-identifying", total=None)
        summary = deidentify_folder(
            source,
            out,
            salt=secret,
            shift_dates=shift_dates,
            progress=lambda done, total: shown.update(bar, completed=done, total=total),
        )
    tell_batch(summary, out, "Input N of quarantine.csv is line N of `find IN ! -type d | LC_ALL=C sort`.")


def read_salt(salt: Path | None) -> bytes | None:
    """The secret in a file, where one is named. Raises ConfigError where it can't be read."""
    try:
        return None if salt is None else check_plain(salt, ConfigError).read_bytes()
    except OSError:
        raise ConfigError("The file of --salt can't be read: check the path.") from None


def tell_batch(summary: "Summary", out: Path, numbered: str) -> None:
    """Print what became of a batch; exit code 2 where nothing was put out. numbered: what the numbers in quarantine.csv
    count."""
    typer.echo(f"{len(summary.outputs)} of {summary.inputs} files de-identified: {told_path(out, out)}")
    for sentence, count in summary.reasons():
        typer.echo(f"  {count:5} quarantined: {sentence}")
    if summary.quarantined:
        typer.echo(numbered)
    if not summary.outputs:
        typer.echo("Nothing could be put out.", err=True)
        raise typer.Exit(NOTHING_PUT_OUT)
    typer.echo(
        f"Look at every sheet in {told_path(out / 'review', out)} before you pass anything on: no program finds all "
        "that may be burned in."
    )
