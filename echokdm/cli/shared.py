"""What the commands share: options, output folders, progress on stderr, and how a folder's problems are told."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

import typer

from echokdm.core.errors import BusyError, ConfigError, OutputError
from echokdm.core.naming import called, names_shown

BAD_DATA = 2
OBJECTS = ", segmentation.dcm, measures.dcm"  # of --dicom

BundleOption = Annotated[str, typer.Option("--bundle", help="Trained weights: a name or a folder.")]
AnyViewOption = Annotated[
    bool, typer.Option("--any-view", help="Work on other views than the apical 4-chamber one too, with a warning.")
]
AllowPrintOption = Annotated[
    bool,
    typer.Option(
        "--allow-print",
        help="Take clips with print over the sector too, if it names nobody: "
        "nothing is searched, and no output claims to be free of it.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        show_default=False,
        help="Default: the command's name and a number, such as synth-1: the next that is free.",
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the files of an output folder that exists.")
]
ClipArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CLIP",
        help="An apical 4-chamber clip: DICOM, AVI, MP4, GIF, NIfTI, .npz or a folder of frames.",
        show_default=False,
    ),
]
DemoOption = Annotated[
    bool,
    typer.Option(
        "--demo", help="Use the real A4C clip that pydicom ships; the default folder's name begins with demo."
    ),
]
KeypointsOption = Annotated[
    Path | None,
    typer.Option(
        "--keypoints",
        metavar="FILE",
        show_default=False,
        help="The ventricle's outlines, "
        "in the clip's own pixels, instead of the segmenter's: CSV in EchoNet VolumeTracings form, or NIfTI masks.",
    ),
]


def check_coded(dicom: bool, any_view: bool) -> None:
    """Raise ConfigError where measures would get codes of a view that may be another."""
    if dicom and any_view:
        raise ConfigError(
            "What --dicom writes is coded as of an apical 4-chamber view: leave --dicom or --any-view out."
        )


def demo_or(clip: Path | None, demo: bool) -> Path:
    """The clip named, or pydicom's. Raises ConfigError where it is both or neither."""
    if demo == (clip is not None):
        raise ConfigError("Name one clip, or pass --demo instead to use the one that pydicom ships.")
    if clip is not None:
        return clip
    from pydicom.examples import get_path

    return Path(get_path("ybr_color"))


def output_folder(context: typer.Context, out: Path | None, overwrite: bool, default: str = "") -> Path:
    """The folder to write, this command's alone until it ends; refused before any work where it exists or another run
    has it.

    Without `out` it is `default` or, where that is empty, the command's name and the first number that is free: never
    an input's name, which may be a patient's. Raises OutputError.
    """
    from echokdm.io.atomic import claim

    command = context.info_name or ""
    given = chain.from_iterable(value if isinstance(value, list) else [value] for value in context.params.values())
    inputs = [Path(value) for value in given if isinstance(value, str | Path) and value != out]
    if out is None and not default:
        for folder in (Path(f"{command}-{number}") for number in count(1)):
            with suppress(BusyError):
                if not folder.exists():
                    context.with_resource(claim(folder, command, apart=inputs))
                    if not folder.exists():  # else another run has just ended in it
                        return folder
    folder = out if out is not None else Path(default)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{called('The output', folder)} is a file; name a folder with --out.")
    context.with_resource(claim(folder, command, apart=inputs))
    if folder.exists() and not overwrite:
        raise OutputError(
            f"{called('The output folder', folder)} exists already; pass --overwrite to replace it or choose another with "
            "--out."
        )
    return folder


def told_path(path: Path, given: Path | None, word: str = "OUT") -> str:
    """How an output is told. given: what the user named, which `word` stands for unless names are shown: who typed it
    knows it."""
    if given is None or names_shown():
        return str(path)
    return word if path == given else f"{word}/{path.relative_to(given).as_posix()}"


def say(message: str) -> None:
    """Progress, on stderr."""
    typer.echo(f"  {message} ...", err=True)


def reading_bar() -> Callable[[Iterable[Any], int], Iterable[Any]]:
    """What wraps rows, of which it is told the number, in a progress bar on stderr."""
    from echokdm.core.progress import track

    return lambda rows, total: track(rows, "reading", total)


def counted(
    engine: Callable[..., Iterable[Any]], label: str, size: Callable[[Any], int] = lambda _: 1
) -> Callable[..., Iterator[Any]]:
    """An engine of `workers` with a bar on stderr. size: how many results an item gives."""
    from echokdm.core.progress import track

    return lambda build, items: track(engine(build, items), label, sum(map(size, items)))


def tell_problems(problems: Any) -> None:
    """Print all of a `data.adapters.problems.Problems`; exit code 2 where there is any."""
    if not len(problems):
        typer.echo("No problem found.")
        return
    typer.echo(f"{len(problems)} problems:", err=True)
    for line in problems.lines(shown=10):
        typer.echo(f"  {line}", err=True)
    if problems.withheld:
        typer.echo("Names are left out, since they may be patients' names: --show-names tells them.", err=True)
    raise typer.Exit(BAD_DATA)
