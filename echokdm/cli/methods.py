"""`echokdm train`, `generate`, `methods` and `evaluate`: what works with a bundle of any method."""

from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.parsing import parse_drag, parse_numbers
from echokdm.cli.shared import BundleOption, DeviceOption, OutOption, OverwriteOption, output_folder, told_path
from echokdm.core import defaults
from echokdm.report.command import repeatable


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML, such as configs/kdm-a4c-112.yaml.")],
    stage: Annotated[str | None, typer.Option("--stage", help="Train this stage alone.", show_default=False)] = None,
    from_bundle: Annotated[
        str | None, typer.Option("--from", metavar="BUNDLE", help="Start from trained weights.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the run is kept.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=c", help="Override a value; repeatable.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")] = False,
) -> None:
    """Train a bundle, all stages in order or one at a time."""
    from echokdm.methods.train import train_config

    train_config(config, stage=stage, from_bundle=from_bundle, out=out, overrides=overrides or [], dry_run=dry_run)


def generate(
    context: typer.Context,
    source: Annotated[
        list[Path],
        typer.Option(
            "--source", "--exemplar", metavar="IMG", help="A picture; repeatable where the method takes several."
        ),
    ],
    bundle: Annotated[
        str, typer.Option("--bundle", help="Trained weights: a folder, or the name of shipped ones: face, people.")
    ],
    source_keypoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--source-keypoints",
            metavar="FILE",
            show_default=False,
            help="A source's "
            "key-points, one file a source: .pts, dlib .xml, .json of OpenPose, COCO "
            "or MediaPipe, .npy.",
        ),
    ] = None,
    driving: Annotated[
        Path | None,
        typer.Option("--driving", metavar="VIDEO", help="A clip whose motion is carried over.", show_default=False),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(
            "--keypoints",
            metavar="FILE",
            show_default=False,
            help="Key-points asked for: of the driving clip or, without one, in the first source's pixels.",
        ),
    ] = None,
    condition: Annotated[
        Path | None,
        typer.Option("--condition", metavar="IMG", help="A picture of what goes where.", show_default=False),
    ] = None,
    drag: Annotated[
        list[str] | None,
        typer.Option(
            "--drag",
            metavar="i:dx,dy",
            help="Move key-point i, or i-j all from i to j, by pixels of the source; repeatable.",
            show_default=False,
        ),
    ] = None,
    gamma: Annotated[
        str | None,
        typer.Option("--gamma", metavar="0,0.5,1", help="Shares of the motion, a frame each.", show_default=False),
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="Carry over the driving clip's motion since its first frame.")
    ] = False,
    whole: Annotated[bool, typer.Option("--whole", help="Don't cut pictures to their key-points.")] = False,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Network steps; default: the method's own.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = defaults.SEED,
    device: DeviceOption = defaults.DEVICE,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Generate with a bundle of any method: move key-points, follow a driving clip, or fill in a condition."""
    folder = output_folder(context, out, overwrite)
    offsets, shares = parse_drag(drag or []), None if gamma is None else parse_numbers("--gamma", gamma)
    from echokdm.methods.generate import PictureWish
    from echokdm.methods.generate import generate as run_generation
    from echokdm.report.generation import write_generation

    wish = PictureWish(driving, keypoints, condition, offsets, shares, relative)
    result = run_generation(
        bundle,
        source,
        wish,
        source_keypoints=source_keypoints or [],
        whole=whole,
        steps=steps,
        seed=seed,
        device=device,
    )
    command = repeatable(
        "generate",
        bundle=Path(bundle).resolve().name,
        source=["IMG"] * len(source),
        source_keypoints=["FILE"] * len(source_keypoints or []) or None,
        driving="VIDEO" if driving else None,
        keypoints="FILE" if keypoints else None,
        condition="IMG" if condition else None,
        drag=drag or None,
        gamma=gamma,
        relative=relative,
        whole=whole,
        steps=steps,
        seed=seed,
        device=device,
    )
    write_generation(result, folder, overwrite=overwrite, command=command)
    if result.empty:
        typer.echo(f"The files of key-points hold nobody in {result.empty} frames.")
    made = "generated.png" if len(result.frames) == 1 else "frames, generated.mp4, generated.gif"
    typer.echo(
        f"Synthetic, research only: {told_path(folder / 'report.html', out)}, beside it {made}, strip.png, run.json"
    )


def methods() -> None:
    """List the methods that can be trained, with what `generate` takes for each and its paper."""
    from echokdm.methods.base import survey_methods

    for plugin in survey_methods():
        if plugin.reason:
            typer.echo(f"{plugin.name}: not available: {plugin.reason}")
            continue
        takes = ", ".join(
            "several --source" if wish == "sources" else f"--{wish}" for wish in sorted(plugin.value.takes)
        )
        typer.echo(f"{plugin.name}: {plugin.value.title}\n  takes {takes}\n  {plugin.value.paper}")


def evaluate(
    context: typer.Context,
    bundle: BundleOption = defaults.BUNDLE,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="phantom|FOLDER|ADAPTER:ROOT",
            help="Held-out phantoms of its kind, a folder of clips, or the held-out split of a data set.",
        ),
    ] = defaults.DATA,
    out: OutOption = None,
    device: DeviceOption = defaults.DEVICE,
    overwrite: OverwriteOption = False,
) -> None:
    """Score a bundle as the paper's tables do."""
    folder = output_folder(context, out, overwrite)
    from echokdm.evaluation.run import evaluate as run_evaluation

    run_evaluation(bundle=bundle, data=data, out=folder, device=device, overwrite=overwrite)
