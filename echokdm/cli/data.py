"""`echokdm adapters` and `echokdm data`: what data sets can be read, whether a folder is sound, and how it looks."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echokdm.cli.shared import reading_bar, tell_problems, told_path
from echokdm.core.errors import ClipError, ConfigError
from echokdm.core.naming import names_shown

if TYPE_CHECKING:
    from echokdm.core.types import Sequence as DataSequence
    from echokdm.data.adapters import Adapter, Row

data_app = typer.Typer(no_args_is_help=True, help="Check a data set, or look at it.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An adapter; `echokdm adapters` lists them.")]
RootArgument = Annotated[Path, typer.Argument(metavar="ROOT", help="The data set's folder.")]


def adapters() -> None:
    """List the data sets that can be read, with their key-points and layout."""
    from echokdm.data.adapters import survey_adapters

    plugins = survey_adapters()
    rows = [("name", "key-points", "layout")]
    rows += [
        (p.name, "", f"not available: {p.reason}") if p.reason else (p.name, p.value.schema or "none", p.value.what)
        for p in plugins
    ]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, schema, what in rows:
        typer.echo(f"{name:{wide[0]}}  {schema:{wide[1]}}  {what}".rstrip())


@data_app.command()
def check(name: NameArgument, root: RootArgument) -> None:
    """Read the whole folder; print counts by split and every problem. Exit code 2 where there is any."""
    from echokdm.data.adapters import find_adapter
    from echokdm.data.check import check_folder

    checked = check_folder(find_adapter(name), root, reading_bar())
    counts = checked.counts
    typer.echo(f"{name}: {counts['sequences'].sum()} sequences, {counts['frames'].sum()} frames")
    for split, row in counts.iterrows():
        typer.echo(f"  {split:8} {row['sequences']:7} sequences {row['subjects']:7} subjects {row['frames']:9} frames")
    sizes = list(checked.sizes.items())
    if sizes:
        shown = ", ".join(f"{width} x {height} ({count})" for (height, width), count in sizes[:5])
        typer.echo(f"  pictures {shown}" + (f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""))
    if checked.empty:
        typer.echo(f"  {checked.empty} of {counts['frames'].sum()} frames without a person")
    tell_problems(checked.problems)


@data_app.command()
def preview(
    name: NameArgument,
    root: RootArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="Default: <name>-preview.png.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Number of sequences, spread over the index.")] = 12,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write a contact sheet: one frame of each of some sequences, with its key-points drawn."""
    if count < 1:
        raise ConfigError(f"--count takes a number from 1, not {count}.")
    from echokdm.data.adapters import find_adapter
    from echokdm.io.atomic import atomic_file
    from echokdm.report.figures import contact_sheet

    path = out or Path(f"{name}-preview.png")
    adapter = find_adapter(name)
    with atomic_file(path, overwrite) as temporary:
        index = adapter.index(root)
        picks = index.iloc[[i * len(index) // min(count, len(index)) for i in range(min(count, len(index)))]]
        places = [f"sequence {place + 1}" for place in picks.index] if not names_shown() else picks["sequence"]
        shown = [(place, _to_show(adapter, row)) for place, row in zip(places, picks.to_dict("records"), strict=True)]
        sheet = contact_sheet([(name, sequence) for name, (sequence, _) in shown])
        sheet.save(temporary, "PNG")
    typer.echo(f"{len(picks)} of {len(index)} sequences: {told_path(path, out, 'PNG')}")
    for name, (_, fault) in shown:
        if fault:
            typer.echo(f"  left black, {name}: {fault}", err=True)


def _to_show(adapter: "Adapter", row: "Row") -> "tuple[DataSequence, str]":
    """A sequence and ""; of hearts the sector alone, or blackness and the reason where none is found or print may lie
    over it."""
    import torch

    from echokdm.core.types import A4C_BLOODPOOL_40, Clip
    from echokdm.deid.gate import search_print
    from echokdm.io import find_sector
    from echokdm.io.read import ASSUMED_FPS

    sequence = adapter.read(row)
    if adapter.schema != A4C_BLOODPOOL_40.name:
        return sequence, ""
    clip = Clip(sequence.frames, float(sequence.labels.get("fps", ASSUMED_FPS)), sequence.labels.get("spacing_mm"))
    try:
        sector = find_sector(clip)
        search_print(clip, sector)
    except ClipError as error:
        return replace(sequence, frames=torch.zeros_like(sequence.frames)), str(error)
    return replace(sequence, frames=sequence.frames * torch.as_tensor(sector.mask)), ""
