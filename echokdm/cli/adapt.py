"""`echokdm adapt`: a bundle that knows one hospital's scanner."""

from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.shared import BundleOption, OverwriteOption, output_folder, told_path
from echokdm.core import defaults


def adapt(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Outlined clips of ten patients or more: a folder in EchoNet's or CAMUS' "
            "layout, or of clips with their outlines; or ADAPTER:FOLDER.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The bundle to write.")],
    bundle: BundleOption = defaults.BUNDLE,
    also: Annotated[
        str | None,
        typer.Option(
            "--also",
            metavar="ADAPTER:FOLDER",
            help="A second data set to learn from, such as camus:CAMUS; its licence holds for the weights.",
            show_default=False,
        ),
    ] = None,
    train_steps: Annotated[
        int | None,
        typer.Option(
            "--train-steps", help="Steps of training; default: some minutes on two cores.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same patients held out.")] = defaults.SEED,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="FOLDER", help="Keep the simulated hearts here for the next time.", show_default=False
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Teach a bundle's segmenter your own scanner's outlined clips; written only where it is better on held-out
    patients."""
    folder = output_folder(context, out, overwrite)
    from echokdm.methods.kdm.adapt import Lesson, adapt_bundle

    result = adapt_bundle(
        data,
        folder,
        bundle=bundle,
        also=also,
        lesson=Lesson() if train_steps is None else Lesson(train_steps),
        seed=seed,
        cache=cache,
        overwrite=overwrite,
    )
    before, after = result.before, result.after
    unused = f"; {result.unused} without a usable outline" if result.unused else ""
    typer.echo(f"Learned from {result.learned}, judged by {result.held_out}{unused}; {result.minutes:.1f} minutes")
    typer.echo(
        f"Held-out patients, Dice ED {before.ed:.3f} -> {after.ed:.3f}, ES {before.es:.3f} -> {after.es:.3f}; "
        f"held-out phantoms {before.phantoms:.3f} -> {after.phantoms:.3f}"
    )
    typer.echo(
        f"Research only: {told_path(folder / 'README.md', out)}; use the folder as --bundle. It is as "
        "sensitive as the clips it learned from."
    )
