"""The page of a synthesis: source and result in step, M-mode, volumes, what was asked and what was measured."""

import math
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image

from echokdm.core.frames import Frames, chosen, each, parts
from echokdm.echo.synthesis import MOST_MISSED, Synthesis
from echokdm.ops.cycle import volumes_at
from echokdm.ops.m_mode import Line, line_across, m_mode
from echokdm.ops.walls import WALLS
from echokdm.report import figures
from echokdm.report.charts import SVG, Chart, m_mode_chart, volume_chart
from echokdm.report.pages import data_uri, render

REAL, ASKED, DRAWN, MEASURED = "#52606d", "#c2410c", "#1d6fb8", "#15803d"
MOMENTS, TILE = 5, 200  # of the strip, and px a side
PICTURE = 420  # px a side
FILM = 500  # frames, the first, of the page's film, which a browser has in memory whole


def report_html(result: Synthesis, command: str, m_mode_line: Line | None = None) -> str:
    """The self-contained page: no link leaves it, and every picture is inside. m_mode_line: ends in px of the clip;
    else across."""
    return render("report.html.j2", **_page(result, command, m_mode_line))


def _page(result: Synthesis, command: str, line: Line | None) -> dict[str, Any]:
    times = np.arange(len(result.clip)) / result.clip.fps
    curves = [
        ("asked for", result.trajectory.asked, ASKED, "--"),
        ("drawn by the key-points", result.drawn_volumes, DRAWN, "-"),
    ]
    if result.measured_volumes is not None:
        curves.append(("measured again on the output", result.measured_volumes, MEASURED, "."))
    if result.source.moves:
        curves.insert(0, ("the source clip", result.source.volumes[result.trajectory.frames], REAL, ":"))
    real = result.real_frames()
    return {
        "title": _title(result),
        "how": _how(result),
        "warning": result.warning,
        "video": _video(result, real),
        "in_step": real is not None,
        "ef_rows": _ef_rows(result),
        "strain_rows": _strain_rows(result),
        "walls": WALLS,
        "notes": _notes(result),
        "most_missed": f"{MOST_MISSED:g}",
        "unit_words": "mL" if result.unit == "mL" else "cubic pixels (the clip has no pixel spacing)",
        "volume_plot": data_uri(volume_chart(times, curves, result.unit, result.trajectory.beats).encode(), SVG),
        "m_mode": data_uri(_m_mode(result, real, line).encode(), SVG),
        "pictures": _pictures(result, real),
        "strip": data_uri(figures.png(_strip(result, real, times))),
        "agreement": _agreement(result, real),
        "command": command,
        "facts": _facts(result),
        "timings": [(name, f"{s:.2f} s") for name, s in result.timings.items()],
        "version": version("echokdm"),
    }


def _title(result: Synthesis) -> str:
    wish = result.wish
    parts = ["motion of a driving clip"] if result.driven else []
    for key, words in (
        ("ef", "ejection fraction {:g} % asked for"),
        ("edv", "end-diastolic volume {} asked for"),
        ("gls", "longitudinal strain {:g} % asked for"),
        ("heart_rate", "{:g} beats a minute"),
        ("beats", "{} beats"),
    ):
        parts += [words.format(getattr(wish, key))] if getattr(wish, key) is not None else []
    parts += [f"{wall} at {factor:g} of its motion" for wall, factor in wish.walls.items()]
    parts += ["points dragged"] if wish.drag else []
    return ", ".join(parts) if parts else "the clip's own motion"


def _how(result: Synthesis) -> str:
    if result.from_frame is None:
        return "Each frame is a frame of a real clip that was deformed; speckle, valves and atria are its own."
    return "These frames were made by a generative model from one frame of a real clip."


def _cut(result: Synthesis, frames: Frames) -> Frames:
    """What is shown of frames (N, C, H, W)."""
    rows, columns = figures.sector_box(result.mask)
    return each(frames, lambda some: some[..., rows, columns])


def _video(result: Synthesis, real: Frames | None) -> str:
    """Source beside result in one film, so that they play in step, at their own size; an address that holds it."""
    shown = np.arange(min(len(result.clip), FILM))
    clips = [chosen(_cut(result, frames), shown) for frames in (real, result.clip.frames) if frames is not None]
    return data_uri(figures.mp4(figures.side_by_side(*clips), result.clip.fps), "video/mp4")


def _m_mode(result: Synthesis, real: Frames | None, line: Line | None) -> Chart:
    line = line or line_across(result.keypoints[result.trajectory.ed], result.mask)
    rows = [
        (name, m_mode(frames, line))
        for name, frames in (("source", real), ("synthetic", result.clip.frames))
        if frames is not None
    ]
    length = None if result.clip.spacing_mm is None else _length_mm(line, result.clip.spacing_mm)
    where = figures.with_line(result.clip.frames[result.trajectory.ed], line, figures.sector_box(result.mask))
    return m_mode_chart(rows, result.clip.fps, length, where)


def _length_mm(line: Line, spacing_mm: tuple[float, float]) -> float:
    (x0, y0), (x1, y1) = line
    return float(np.hypot((x1 - x0) * spacing_mm[1], (y1 - y0) * spacing_mm[0]))


def _ef_rows(result: Synthesis) -> list[dict[str, Any]]:
    fractions = result.ejection_fractions()
    source, beats = result.source, result.trajectory.beats
    ends = {"asked": result.trajectory.asked, "drawn": result.drawn_volumes, "measured": result.measured_volumes}
    rows: list[dict[str, Any]] = []
    names = {
        "source": "Source clip",
        "asked": "Asked for",
        "drawn": "Drawn by the key-points",
        "measured": "Measured again",
    }
    for key, name in names.items():
        missed = key == "measured" and bool(result.warning)
        if fractions[key] is None:
            rows.append({"name": name, "ef": "none", "edv": "", "esv": "", "missed": missed})
            continue
        volumes, turns = (source.volumes, source.turns) if key == "source" else (ends[key], beats)
        assert volumes is not None  # there is a fraction of them
        edv, esv = volumes_at(volumes, turns).mean(0)
        unit, digits = ("mL", 1) if result.unit == "mL" else ("px\u00b3", 0)
        rows.append(
            {
                "name": name,
                "ef": f"{fractions[key]:.1f} %",
                "edv": f"{edv:.{digits}f} {unit}",
                "esv": f"{esv:.{digits}f} {unit}",
                "missed": missed,
            }
        )
    return rows


def _strain_rows(result: Synthesis) -> list[tuple[str, list[str]]]:
    """Percent at end-systole, the whole line and the six walls."""
    names = {"source": "Source clip", "drawn": "Drawn by the key-points", "measured": "Measured again"}
    return [
        (names[key], [f"{value:.1f}" for value in values.values()])
        for key, values in result.strains().items()
        if values is not None
    ]


def _notes(result: Synthesis) -> list[str]:
    notes = []
    if result.trajectory.left_out:
        notes.append(
            f"So few frames can't show every beat, which takes two: {result.trajectory.left_out} of the motion's are not counted."
        )
    if result.source.clip.meta.get("fps_assumed"):
        notes.append(
            f"The source file states no frame rate; {result.source.clip.fps:g} frames per second were assumed."
        )
    if len(result.clip) > FILM:
        notes.append(f"The film shows the first {FILM} of {len(result.clip)} frames; synth.mp4 holds all.")
    if not result.source.found.all():
        missing = int((~result.source.found).sum())
        notes.append(f"The ventricle's outline was interpolated in {missing} of {len(result.source.found)} frames.")
    if result.source.sureness:
        notes.append(f"Of the source clip: {result.source.sureness}")
    if not result.source.searched:
        notes.append("The source's sector was not searched for print, so nothing here is claimed to be free of it.")
    return notes


def _pictures(result: Synthesis, real: Frames | None) -> list[dict[str, str]]:
    """Of the frame that is farthest from the source's: what was there and what was asked, the flow, the result."""
    source, wish = result.source, result.trajectory
    picks = wish.frames if result.from_frame is None else np.full(len(wish.frames), result.from_frame)
    moved = np.linalg.norm(wish.keypoints - source.keypoints[picks], axis=2).mean(1)
    far = int(moved.argmax())
    # beyond it colours would turn dark
    reach = max(math.ceil(2 * float(result.edited.flow[far].square().sum(0).sqrt().max())) / 2, 0.5)
    moment, frame = f"{far / result.clip.fps:.2f} s", source.model.clip.frames[picks[far]]
    scale, made = PICTURE / frame.shape[1], result.edited.model.clip.frames[far]
    items = [
        (
            f"Source frame for {moment} with its 40 key-points (white) and those asked for",
            figures.overlay(frame, wish.keypoints[far], scale, extra=[(source.keypoints[picks[far]], "white")]),
        ),
        (
            f"Flow to {moment}, colour-coded (Baker et al.): where each pixel comes from, in pixels of the model's frame",
            figures.flow_picture(result.edited.flow[far], reach, scale, source.model.sector_mask),
        ),
        (f"Synthetic frame, {moment}, with the outline asked for", figures.outlined(made, wish.keypoints[far], scale)),
    ]
    return [{"name": name, "uri": data_uri(figures.png(image))} for name, image in items]


def _strip(result: Synthesis, real: Frames | None, times: np.ndarray) -> Image.Image:
    box = figures.sector_box(result.mask)
    rows = [
        (name, _cut(result, frames))
        for name, frames in (("source", real), ("synthetic", result.clip.frames))
        if frames is not None
    ]
    corner = np.array([box[1].start, box[0].start])
    outlines = [None] * len(rows) + [result.keypoints - corner]
    rows.append(("synthetic and outline", rows[-1][1]))
    return figures.strip(rows, list(times), MOMENTS, scale=TILE / max(rows[0][1].shape[2:]), outlines=outlines)


def _agreement(result: Synthesis, real: Frames | None) -> list[dict[str, str]]:
    """Mean squared errors against the real frames, where one frame was moved by the clip's own motion."""
    wish, start = result.wish, result.from_frame
    if real is None or start is None or wish.ef is not None or wish.drag or result.driven:
        return []
    model, picks = result.source.model, result.trajectory.frames
    others = np.flatnonzero(picks != start)
    inside = torch.as_tensor(np.asarray(model.sector_mask), dtype=torch.bool)
    truth = chosen(model.clip.frames, picks[others])
    still = chosen(model.clip.frames, np.full(len(others), start))
    frames = (
        ("Synthetic", chosen(result.edited.model.clip.frames, others)),
        ("Warp alone", chosen(result.edited.warped, others)),
        ("No edit", still),
    )
    return [{"name": name, "value": f"{_squared_error(made, truth, inside):.5f}"} for name, made in frames]


def _squared_error(made: Frames, truth: Frames, inside: torch.Tensor) -> float:
    """Mean over frames (N, 1, S, S) and what is `inside` (S, S); nan of no frame."""
    total = sum(
        float((one - other)[..., inside].double().square().sum())
        for one, other in zip(parts(made), parts(truth), strict=True)
    )
    return total / (len(made) * int(inside.sum())) if len(made) else float("nan")


def _facts(result: Synthesis) -> list[tuple[str, str]]:
    source, clip, sampling = result.source, result.clip, result.sampling
    spacing = "unknown" if clip.spacing_mm is None else f"{clip.spacing_mm[0]:.3f} x {clip.spacing_mm[1]:.3f} mm"
    made = (
        "each from the source's of the same phase"
        if result.from_frame is None
        else f"all from frame {result.from_frame}"
    )
    return [
        (
            "Source",
            f"{len(source.clip)} frames of {source.clip.size[1]} x {source.clip.size[0]} pixels, {source.clip.fps:.4g} a second",
        ),
        ("Frames", made),
        ("Outlines from", "a file" if source.given else "the bundle's segmenter"),
        (
            "Output",
            f"{len(clip)} frames of {clip.size[1]} x {clip.size[0]} pixels at {clip.fps:.4g} per second; pixel {spacing}",
        ),
        (
            "Bundle",
            f"{result.bundle_name}, weights SHA-256 {result.weights_sha256[:16]}, licence {result.weights_licence}",
        ),
        ("Network steps, strength, seed", f"{sampling.steps}, {sampling.strength:g}, {sampling.seed}"),
    ]
