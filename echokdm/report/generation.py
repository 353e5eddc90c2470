"""Outputs of `echokdm generate`, written whole or not at all: clip, strip, record, and one self-contained page of HTML."""

import json
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from echokdm.io.atomic import atomic_folder
from echokdm.io.write import write_gif, write_mp4
from echokdm.methods.generate import Generation
from echokdm.ops.flow import flow_to_color
from echokdm.ops.render import render_keypoints
from echokdm.report import figures
from echokdm.report.pages import data_uri, render

PLAYBACK = 4  # MP4 and GIF are enlarged so many times, since 64 pixels are small on a screen
SHOWN, THUMBNAIL = 8, 128  # frames of a strip, and px a side


def write_generation(result: Generation, out: str | Path, *, overwrite: bool = False, command: str = "echokdm generate") -> Path:
    """Write generated.mp4, generated.gif, strip.png, run.json and report.html into the folder `out`, and return it.

    Nothing names a source file. Raises OutputError where the folder exists or the disk is full.
    """
    frames = result.made.frames
    record = {"synthetic": True, "use": "research only", "command": command, "method": result.method.name, "options": result.options,
              "versions": {name: version(name) for name in ("echokdm", "torch", "diffusers")},
              "frames_without_keypoints": result.empty,
              "output": {"frames": len(frames), "fps": round(result.fps, 3), "size": list(frames.shape[2:])}}
    with atomic_folder(out, "generate", overwrite) as folder:
        write_mp4(folder / "generated.mp4", frames, result.fps, scale=PLAYBACK)
        write_gif(folder / "generated.gif", frames, result.fps, scale=PLAYBACK)
        (folder / "strip.png").write_bytes(figures.png(sheet(result)))
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(_page(result, command), encoding="utf-8")
    return Path(out)


def sheet(result: Generation) -> Image.Image:
    """What was given above what was made: sources, driving frames, key-points, generated frames, flow, the method's own pictures."""
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
    return render("generation.html.j2", title=result.method.title, paper=result.method.paper,
                  clip=data_uri(figures.gif(result.made.frames, result.fps), "image/gif"), strip=data_uri(figures.png(sheet(result))),
                  command=command, facts=[(name, value) for name, value in result.options.items() if value not in (None, False, {})],
                  seconds=f"{result.seconds:.1f}", version=version("echokdm"))
