"""`echokdm export`: a bundle for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from echokdm.cli.shared import say, told_path


def export(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Trained weights: a name or a folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    to: Annotated[
        Literal["monai-bundle", "onnx", "hub-folder"],
        typer.Option(
            "--to",
            help="The segmenter for monai.bundle, all networks as ONNX, or the whole bundle as a model hub has it.",
        ),
    ],
) -> None:
    """Write a bundle in a form that other programs read. Nothing is uploaded; the licence of the weights goes along."""
    from echokdm.export import write_hub_folder, write_monai_bundle, write_onnx
    from echokdm.methods.bundle import bundle_licence, find_bundle

    if to == "onnx":
        for name, difference in write_onnx(bundle, out, lambda name: say(f"Exporting {name}")).items():
            typer.echo(f"{name:20} differs from torch by at most {difference:.1e}")
    elif to == "hub-folder":
        write_hub_folder(bundle, out)
    else:
        write_monai_bundle(bundle, out)
    typer.echo(f"{to}: {told_path(out, out)}; licence of the weights: {bundle_licence(find_bundle(bundle))}")
