"""The command line: one thin function a command. What is heavy is imported inside, so `echokdm --help` is instant."""

from typing import Annotated

import typer

from echokdm.cli.adapt import adapt
from echokdm.cli.audit import audit
from echokdm.cli.cohort import augment, validate
from echokdm.cli.data import adapters, data_app
from echokdm.cli.deid import deid
from echokdm.cli.export import export
from echokdm.cli.keypoints import keypoints_command
from echokdm.cli.methods import evaluate, generate, methods, train
from echokdm.cli.pacs import fetch, listen, send
from echokdm.cli.pipeline import run
from echokdm.cli.refusals import SHOW_NAMES, OneSentence
from echokdm.cli.studio import studio
from echokdm.cli.synth import synth
from echokdm.core.naming import showing_names

app = typer.Typer(
    cls=OneSentence,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Echocardiography video that does what its key-points ask. Synthetic output, for research only.",
)


def show_version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        from echokdm import __version__

        typer.echo(f"echokdm {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
]


DebugOption = Annotated[bool, typer.Option("--debug", help="Say where an error was raised, without what was read.")]


ShowNamesOption = Annotated[
    bool,
    typer.Option(
        SHOW_NAMES,
        help="Of any command: name files in messages and tables, where a name may be "
        "a patient's. Else they are told by their places.",
    ),
]


@app.callback()
def root(
    context: typer.Context,
    version: VersionOption = False,
    debug: DebugOption = False,
    show_names: ShowNamesOption = False,
) -> None:
    """Echocardiography video that does what its key-points ask. Synthetic output, for research only."""
    context.with_resource(showing_names(show_names))


def doctor() -> None:
    """Say what works on this machine, and how to mend what does not."""
    from echokdm.cli.doctor import main

    raise typer.Exit(main())


app.command()(synth)
app.command("keypoints")(keypoints_command)
app.command()(train)
app.command()(generate)
app.command()(methods)
app.command()(evaluate)
app.command()(studio)
app.command()(run)
app.command()(deid)
app.command()(fetch)
app.command()(listen)
app.command()(send)
app.command()(adapt)
app.command()(export)
app.command()(augment)
app.command()(validate)
app.command()(audit)
app.command()(adapters)
app.command()(doctor)
app.add_typer(data_app, name="data")
