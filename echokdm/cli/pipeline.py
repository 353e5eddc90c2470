"""`echokdm run`: all stages of a pipeline's YAML, from raw files to an audited cohort."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from echokdm.cli.shared import DeviceOption, told_path
from echokdm.core import defaults


def run(
    config: Annotated[Path, typer.Argument(metavar="PIPELINE", help="A YAML, such as pipelines/a4c-dicom.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="a.b=c",
            help="Override a value, such as stages.ingest.source=/data/export; repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Default: runs/<name>.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is done already, what is to run and why, and stop.")
    ] = False,
    device: DeviceOption = defaults.DEVICE,
) -> None:
    """Run a pipeline: every stage once. A second run does nothing; a stopped one goes on; a changed value re-runs what
    follows from it."""
    from echokdm.core.progress import track
    from echokdm.pipeline.plan import read_pipeline
    from echokdm.pipeline.run import plan_lines, run_pipeline
    from echokdm.pipeline.stages import check_losses

    pipeline = read_pipeline(config, overrides or [], out)
    if dry_run:
        for line in plan_lines(pipeline):
            typer.echo(line)
        check_losses(pipeline)
        return

    def bar(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        return track(items, label, total)

    folder = run_pipeline(pipeline, device=device, say=lambda text: typer.echo(text, err=True), track=bar)
    pages = sorted(f"{step.name}/report.html" for step in pipeline.steps if step.kind == "report")
    typer.echo(
        f"Research only: {told_path(folder, out)}"
        + (f"; look at {', '.join(told_path(folder / page, out) for page in pages)}" if pages else "")
    )
