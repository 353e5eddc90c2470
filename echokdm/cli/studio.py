"""`echokdm studio`: a clip edited with the mouse, on a local page."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from echokdm.cli.shared import (
    AllowPrintOption,
    AnyViewOption,
    BundleOption,
    ClipArgument,
    DemoOption,
    DeviceOption,
    KeypointsOption,
    demo_or,
    say,
)
from echokdm.core import defaults
from echokdm.core.errors import ConfigError


def studio(
    clip: ClipArgument = None,
    keypoints: KeypointsOption = None,
    any_view: AnyViewOption = False,
    allow_print: AllowPrintOption = False,
    bundle: BundleOption = defaults.BUNDLE,
    device: DeviceOption = defaults.DEVICE,
    port: Annotated[
        int,
        typer.Option(
            "--port", help="Of this machine; default: any that is free.", min=0, max=65535, show_default=False
        ),
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the page's address alone.")] = False,
    demo: DemoOption = False,
) -> None:
    """Edit a clip with the mouse, on a page that this machine serves to itself alone. Without a clip one is dropped on
    the page."""
    from echokdm.studio.serve import check_installed, serve

    check_installed()
    source = demo_or(clip, demo) if clip is not None or demo else None
    if keypoints is not None and source is None:
        raise ConfigError("--keypoints holds the outlines of one clip: name that clip too.")
    import webbrowser

    from echokdm.echo.bundle import load_pipeline
    from echokdm.studio.heart import Settings, open_heart

    settings = Settings(load_pipeline(bundle, device, say), Path(bundle).name, device, any_view, allow_print)
    given = None if source is None else open_heart(source, settings, keypoints, demo, say)

    def ready(address: str) -> None:
        typer.echo(f"The studio is at {address}\nIt ends with the page's Stop button, or with Ctrl-C.")
        if not no_browser:
            webbrowser.open(address)

    with suppress(KeyboardInterrupt):  # as it was told
        serve(settings, given, port, ready)
