"""`echokdm fetch`, `send` and `listen`: a hospital's archive, by DICOMweb or by C-FIND, C-MOVE and C-STORE."""

from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.deid import SaltOption, ShiftDatesOption, read_salt, tell_batch
from echokdm.core import defaults
from echokdm.core.errors import ConfigError

REFUSED = 2

UrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="https://HOST/dicom-web or dimse://AET@HOST:PORT; dimses for TLS. A token "
        "is read from ECHOKDM_DICOMWEB_TOKEN.",
    ),
]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for what is put out, as of `deid`.")]
AetOption = Annotated[
    str, typer.Option("--aet", metavar="TITLE", help="This station's AE title, by which archives know it.")
]
HostOption = Annotated[
    str,
    typer.Option(
        "--host", metavar="ADDRESS", help="The address to listen at; the default is reached from this machine alone."
    ),
]
PortOption = Annotated[int, typer.Option("--port", help="The port to listen at.")]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        metavar="PEM",
        show_default=False,
        help="This station's TLS certificate with its key: what arrives has to come by TLS.",
    ),
]


def fetch(
    url: UrlArgument,
    out: OutArgument,
    study: Annotated[
        list[str] | None,
        typer.Option("--study", metavar="UID", help="A study, by its UID; repeatable.", show_default=False),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="KEYWORD=VALUE",
            show_default=False,
            help="Studies whose attributes match, such as StudyDate=20240101-20241231; repeatable, and all have to.",
        ),
    ] = None,
    salt: SaltOption = None,
    shift_dates: ShiftDatesOption = False,
    aet: AetOption = defaults.AET,
    host: HostOption = defaults.HOST,
    port: PortOption = defaults.PORT,
    certificate: CertificateOption = None,
) -> None:
    """Fetch ultrasound from an archive, each object de-identified as it arrives. C-MOVE has the archive send it to
    --host and --port."""
    from echokdm.core.progress import progress_bar
    from echokdm.pacs import Asked, Station
    from echokdm.pacs import fetch as run_fetch
    from echokdm.pacs.door import read_query

    asked, station = Asked(study or [], read_query(query or [])), Station(aet, host, port, certificate)
    secret = read_salt(salt)
    with progress_bar() as shown:
        bar = shown.add_task("fetching", total=None)
        summary = run_fetch(
            url,
            out,
            asked,
            salt=secret,
            shift_dates=shift_dates,
            station=station,
            progress=lambda done, total: shown.update(bar, completed=done, total=total),
        )
    tell_batch(summary, out, "Input N of quarantine.csv is the N-th by SOP Instance UID of what the archive lists.")


def send(
    url: UrlArgument,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="DICOM files, and folders with all folders in them.")
    ],
    aet: AetOption = defaults.AET,
    certificate: CertificateOption = None,
) -> None:
    """Store DICOM files in an archive, as they are: take the patient out with `deid` first. What the archive has is not
    sent again."""
    from echokdm.core.progress import progress_bar
    from echokdm.pacs import Station
    from echokdm.pacs import send as run_send

    with progress_bar() as shown:
        bar = shown.add_task("sending", total=None)
        sent = run_send(
            url,
            files,
            station=Station(aet, certificate=certificate),
            progress=lambda done, total: shown.update(bar, completed=done, total=total),
        )
    typer.echo(f"{sent.stored} files stored" + (f", {sent.there} were there already" if sent.there else ""))
    if sent.refused:
        typer.echo(
            f"{sent.refused} files were refused by the archive: check which kinds of objects it takes.", err=True
        )
        raise typer.Exit(REFUSED)


def listen(
    out: OutArgument,
    idle: Annotated[
        float | None,
        typer.Option(
            "--idle", metavar="SECONDS", help="End when nothing came for so long; else at Ctrl-C.", show_default=False
        ),
    ] = None,
    salt: SaltOption = None,
    shift_dates: ShiftDatesOption = False,
    aet: AetOption = defaults.AET,
    host: HostOption = defaults.HOST,
    port: PortOption = defaults.PORT,
    certificate: CertificateOption = None,
) -> None:
    """Receive ultrasound by C-STORE until Ctrl-C, each object de-identified as it arrives; then write the folder."""
    if idle is not None and not 0 < idle < float("inf"):
        raise ConfigError("--idle takes a number of seconds above 0.")
    from echokdm.core.progress import progress_bar
    from echokdm.pacs import Station
    from echokdm.pacs import listen as run_listen

    station, secret = Station(aet, host, port, certificate), read_salt(salt)
    typer.echo(f"  Listening as {aet} at {host}, port {port}; Ctrl-C ends it ...", err=True)
    with progress_bar(figures=True) as shown:
        bar = shown.add_task("receiving", total=None, figures="")
        summary = run_listen(
            out,
            station,
            idle=idle,
            salt=secret,
            shift_dates=shift_dates,
            progress=lambda taken, refused: shown.update(bar, completed=taken, figures=f"{refused} refused"),
        )
    tell_batch(summary, out, "The numbers of quarantine.csv are in no order that tells of an input.")
