"""Outputs of `echokdm generate`, written whole or not at all: picture or clip, strip, record, and one self-contained
page of HTML."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from echokdm.core.frames import Frames, each
from echokdm.io.atomic import atomic_folder
from echokdm.io.write import write_gif, write_mp4
from echokdm.methods.generate import Generation
from echokdm.ops.flow import flow_to_color
from echokdm.ops.render import render_keypoints
from echokdm.report import figures
from echokdm.report.pages import data_uri, render

# MP4 and GIF are enlarged so many times where their frames are no larger than SMALL, since 64 pixels are small on a
# screen
PLAYBACK = 4
SMALL = 256  # px, the longer side
SCREEN = 640  # px, the longer side of GIF and page at most
SHOWN, THUMBNAIL = 8, 128  # frames of a strip, and px a side


def write_generation(
    result: Generation, out: str | Path, *, overwrite: bool = False, command: str = "echokdm generate"
) -> Path:
    """Write generated.png or, of several frames, frames/ of PNG, generated.mp4 and generated.gif; strip.png, run.json
    and report.html.

    They go into the folder `out`, which is returned. Nothing names a source file. Raises OutputError where the folder
    exists or the disk is full.
    """
    frames = result.frames
    scale = PLAYBACK if max(frames.shape[2:]) <= SMALL else 1
    record = {
        "synthetic": True,
        "use": "research only",
        "command": command,
        "method": result.method.name,
        "options": result.options,
        "versions": {name: version(name) for name in ("echokdm", "torch", "diffusers")},
        "frames_without_keypoints": result.empty,
        "output": {"frames": len(frames), "fps": round(result.fps, 3), "size": list(frames.shape[2:])},
    }
    with atomic_folder(out, "generate", overwrite) as folder:
        if len(frames) == 1:
            (folder / "generated.png").write_bytes(figures.png(figures.to_image(frames[0])))
        else:
            (folder / "frames").mkdir()
            for number, frame in enumerate(frames):
                (folder / "frames" / f"{number:05d}.png").write_bytes(figures.png(figures.to_image(frame)))
            write_mp4(folder / "generated.mp4", frames, result.fps, scale=scale)
            write_gif(folder / "generated.gif", _for_screen(frames), result.fps, scale=scale)
        (folder / "strip.png").write_bytes(figures.png(sheet(result)))
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(_page(result, command), encoding="utf-8")
    return Path(out)


def _for_screen(frames: Frames) -> Frames:
    """Frames (T, 3, H, W) no larger than `SCREEN`."""
    return each(frames, lambda some: figures.smaller(some, SCREEN))


def sheet(result: Generation) -> Image.Image:
    """What was given above what was made: sources, driving frames, key-points, generated frames, flow, the method's own
    pictures."""
    made, asked = result.made, result.request
    rows = [("sources", asked.sources)]
    if asked.condition is not None:
        rows.append(("condition", asked.condition))
    if asked.driving is not None:
        rows.append(("driving", asked.driving))
    if asked.target_keypoints is not None and result.schema is not None:
        size = made.frames.shape[2:]
        rows.append(("key-points", render_keypoints(asked.target_keypoints, result.schema, *size)[:, :3]))
    rows.append(("generated", made.frames))
    if made.flow is not None:
        reach = max(float(made.flow.norm(dim=1).max()), 1.0)
        rows.append((f"flow, full colour {reach:.1f} px", flow_to_color(made.flow, reach)))
    return figures.labelled_rows([*rows, *made.pictures.items()], SHOWN, THUMBNAIL)


def _page(result: Generation, command: str) -> str:
    shown = _for_screen(result.frames)
    clip = (
        data_uri(figures.png(figures.to_image(shown[0])), "image/png")
        if len(shown) == 1
        else data_uri(figures.gif(shown, result.fps), "image/gif")
    )
    height, width = result.frames.shape[2:]
    facts = [("frames", f"{len(result.frames)} of {width} x {height} pixels"), *_facts(result.options)]
    return render(
        "generation.html.j2",
        title=result.method.title,
        paper=result.method.paper,
        clip=clip,
        strip=data_uri(figures.png(sheet(result))),
        command=command,
        facts=facts,
        seconds=f"{result.seconds:.1f}",
        version=version("echokdm"),
    )


def _facts(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was asked for, in words; what was not is left out."""
    facts = []
    for name, value in options.items():
        if value is None or value is False or value == {}:
            continue
        if name == "drag":
            shared: dict[tuple[float, float], list[str]] = {}
            for point, (dx, dy) in value.items():
                shared.setdefault((dx, dy), []).append(point)
            text = "; ".join(f"{', '.join(points)} by ({dx:g}, {dy:g}) pixels" for (dx, dy), points in shared.items())
        elif isinstance(value, list):
            text = ", ".join(f"{item:g}" for item in value)
        else:
            text = "yes" if value is True else str(value)
        facts.append((name.replace("_", " "), text))
    return facts
