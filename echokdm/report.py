"""Outputs of a run, written whole or not at all: clips, DICOM, tables, and one self-contained page of HTML."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from echokdm import figures
from echokdm.core.errors import OutputError
from echokdm.derive import Derived
from echokdm.io.atomic import atomic_folder
from echokdm.io.tracings import turn_masks, turn_rows
from echokdm.ops.cycle import clip_ejection_fraction, volumes_at
from echokdm.pages import data_uri, render
from echokdm.synth import Synthesis

PLAYBACK = 3  # the MP4 and the GIF are enlarged so many times, since 112 pixels are small on a screen
REAL, ASKED, DRAWN, MEASURED = "#52606d", "#c2410c", "#1d6fb8", "#15803d"


def write_synthesis(result: Synthesis, out: str | Path, *, overwrite: bool = False, command: str = "echokdm synth CLIP") -> Path:
    """Write synth.mp4, synth.gif, synth.dcm, keypoints.csv, run.json and report.html into the folder `out`, and return it.

    All but report.html, which holds timings, are the same bytes for the same run. Nothing names the source file or its
    patient. Raises OutputError where the folder exists, the disk is full or a pixel outside the sector would leave.
    """
    from echokdm.io.dicom_out import write_dicom
    from echokdm.io.tracings import write_tracings
    from echokdm.io.write import write_gif, write_mp4
    from echokdm.ops.ventricle import tracing_from_keypoints

    clip, points = result.clip, result.trajectory.keypoints
    check_masked(clip.frames, result.source.model.sector_mask)
    with atomic_folder(out, overwrite=overwrite) as folder:
        write_mp4(folder / "synth.mp4", clip.frames, clip.fps, scale=PLAYBACK)
        write_gif(folder / "synth.gif", clip.frames, clip.fps, scale=PLAYBACK)
        write_dicom(folder / "synth.dcm", clip.frames, clip.fps, weights_hash=result.weights_sha256, weights=result.options["bundle"],
                    entropy=[json.dumps(result.options, sort_keys=True)], spacing_mm=clip.spacing_mm, mask_verified=True,
                    view=clip.view)
        write_tracings(folder / "keypoints.csv", {"synth": {t: tracing_from_keypoints(p) for t, p in enumerate(points)}})
        (folder / "run.json").write_text(as_json(run_record(result, command)), encoding="utf-8")
        (folder / "report.html").write_text(report_html(result, command), encoding="utf-8")
    return Path(out)


def write_keypoints(derived: Derived, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write keypoints.csv, masks.nii.gz, volumes.csv, volumes.png, measures.json and overlay.png into `out`, and return it.

    Key-points and masks are in the source clip's own pixels. Raises OutputError as `write_synthesis` does.
    """
    from echokdm.io.tracings import write_tracings
    from echokdm.io.write import write_nifti
    from echokdm.ops.ventricle import keypoints_to_mask, tracing_from_keypoints

    clip, points = derived.clip, derived.keypoints_source
    times = np.arange(len(points)) / clip.fps
    with atomic_folder(out, overwrite=overwrite) as folder:
        write_tracings(folder / "keypoints.csv", {"clip": {t: turn_rows(tracing_from_keypoints(p), clip) for t, p in enumerate(points)}})
        masks = turn_masks(np.stack([keypoints_to_mask(p, *clip.size) for p in points]), clip)
        write_nifti(folder / "masks.nii.gz", masks, spacing_mm=clip.spacing_mm, fps=clip.fps)
        unit = derived.unit.replace("^", "")
        sure = [""] * len(points) if derived.confidence is None else [f"{c:.3f}" for c in derived.confidence]
        rows = [f"frame,time_s,volume_{unit},found,confidence", *(f"{t},{s:.4f},{v:.4f},{int(f)},{c}" for t, (s, v, f, c) in
                                                                  enumerate(zip(times, derived.volumes, derived.found, sure, strict=True)))]
        (folder / "volumes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        curves = [("left ventricle", derived.volumes, DRAWN, ".-")]
        (folder / "volumes.png").write_bytes(figures.volume_plot(times, curves, derived.unit, derived.beats if derived.moves else ()))
        (folder / "measures.json").write_text(as_json(measures(derived)), encoding="utf-8")
        (folder / "overlay.png").write_bytes(figures.png(overlay_sheet(derived)))
    return Path(out)


def check_masked(frames: torch.Tensor, sector: Any) -> None:
    """Raise OutputError unless every pixel outside the sector (H, W) is black: it is the proof behind "clean pixel data"."""
    outside = ~torch.as_tensor(np.asarray(sector), dtype=torch.bool)
    if float((frames * outside).abs().max()) > 0.5 / 255:
        raise OutputError("The synthetic frames are not black outside the sector, so nothing was written; the bundle is not usable.")


def as_json(record: dict[str, Any]) -> str:
    """Readable JSON, the same for the same record."""
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A number for a table; None where there is none."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def measures(derived: Derived) -> dict[str, Any]:
    """ED, ES, volumes and EF of a derived clip, for measures.json."""
    v = derived.volumes
    record: dict[str, Any] = {
        "frames": len(v), "fps": rounded(derived.clip.fps), "fps_assumed": bool(derived.clip.meta.get("fps_assumed", False)),
        "spacing_mm": None if derived.clip.spacing_mm is None else [rounded(s, 6) for s in derived.clip.spacing_mm],
        "volume_unit": derived.unit, "volume_of": "single-plane Simpson, 20 chords",
        "found_in_frames": int(derived.found.sum()), "outlines_from": "file" if derived.given else "segmenter",
        "confidence": rounded(derived.clip_confidence), "flagged_frames": derived.flagged,
    }
    if derived.moves:
        ends = volumes_at(v, derived.turns)
        record["beats"] = [{"ed_frame": ed, "es_frame": es, "edv": rounded(edv), "esv": rounded(esv),
                            "ef_percent": rounded(clip_ejection_fraction(v, [turn]), 2)}
                           for (ed, es), turn, (edv, esv) in zip(derived.beats, derived.turns, ends, strict=True)]
        record["ef_percent"] = rounded(derived.ejection_fraction, 2)
    return record


def run_record(result: Synthesis, command: str) -> dict[str, Any]:
    """Everything that repeats a run, for run.json: no path, no name, no time. The source is known by its de-identified pixels."""
    import hashlib

    source = result.source
    pixels = np.rint(source.model.clip.frames.numpy() * 255).astype(np.uint8)
    return {
        "synthetic": True, "use": "research only", "command": command, "options": result.options,
        "bundle": {"name": result.options["bundle"], "weights_sha256": result.weights_sha256,
                   "licence": result.weights_licence},
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in ("echokdm", "torch", "diffusers", "numpy")}},
        "source": {
            "frames": len(source.clip), "fps": rounded(source.clip.fps), "fps_assumed": bool(source.clip.meta.get("fps_assumed", False)),
            "height": source.clip.size[0], "width": source.clip.size[1],
            "masked_pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
            "confidence": rounded(source.clip_confidence), "flagged_frames": source.flagged,
        },
        "output": {"frames": len(result.clip), "fps": rounded(result.clip.fps), "size": list(result.clip.size),
                   "spacing_mm": None if result.clip.spacing_mm is None else [rounded(s, 6) for s in result.clip.spacing_mm],
                   "ed_frame": result.trajectory.ed, "es_frame": result.trajectory.es,
                   "beats": [{"ed_frame": ed, "es_frame": es} for ed, es in result.trajectory.beats]},
        "ef_percent": {name: rounded(value, 2) for name, value in result.ejection_fractions().items()},
        "warning": result.warning or None,
    }


def overlay_sheet(derived: Derived) -> Image.Image:
    """The 40 points over end-diastole and end-systole in the source clip's own pixels, what lies outside the sector blacked out."""
    frames = [derived.ed, derived.es] if derived.moves else [derived.ed]
    inside = torch.as_tensor(np.asarray(derived.sector.mask), dtype=torch.bool)
    scale = max(1.0, min(3.0, 720 / derived.clip.size[1]))
    tiles = [figures.overlay(derived.clip.frames[t] * inside, derived.keypoints_source[t], scale) for t in frames]
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles) + 8 * (len(tiles) - 1), tiles[0].height), "white")
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k * (tile.width + 8), 0))
    return sheet


def report_html(result: Synthesis, command: str) -> str:
    """The self-contained page: no link leaves it, and every picture is inside."""
    return render("report.html.j2", **_page(result, command))


def _page(result: Synthesis, command: str) -> dict[str, Any]:
    times = np.arange(len(result.clip)) / result.clip.fps
    curves = [("asked for", result.trajectory.asked, ASKED, "--"), ("drawn by the key-points", result.drawn_volumes, DRAWN, "-")]
    if result.measured_volumes is not None:
        curves.append(("measured again on the output", result.measured_volumes, MEASURED, "."))
    if result.trajectory.real is not None:
        curves.insert(0, ("the source clip", result.source.volumes[result.trajectory.real], REAL, ":"))
    return {
        "title": _title(result), "warning": result.warning, "clips": _clips(result), "ef_rows": _ef_rows(result), "notes": _notes(result),
        "unit_words": "mL" if result.unit == "mL" else "cubic pixels (the clip has no pixel spacing)",
        "volume_plot": data_uri(figures.volume_plot(times, curves, result.unit, result.trajectory.beats)),
        "pictures": _pictures(result), "strip": data_uri(figures.png(_strip(result, times))), "agreement": _agreement(result),
        "command": command, "facts": _facts(result), "timings": [(name, f"{s:.2f} s") for name, s in result.timings.items()],
        "version": version("echokdm"),
    }


def _title(result: Synthesis) -> str:
    wish = result.options
    parts = ["motion of a driving clip"] if wish["driving"] else []
    parts += [f"ejection fraction {wish['ef']:g} % asked for"] if wish["ef"] is not None else []
    parts += ["points dragged"] if wish["drag"] else []
    return ", ".join(parts) if parts else "the clip's own motion, made again from one frame"


def _clips(result: Synthesis) -> list[dict[str, str]]:
    """Real beside synthetic where they share their motion, and the synthetic clip with the outline asked for."""
    clip, real = result.clip, result.real_frames()
    outlined = torch.stack([torch.from_numpy(np.array(figures.outlined(f, p, 2.0))).permute(2, 0, 1) / 255
                            for f, p in zip(clip.frames, result.trajectory.keypoints, strict=True)])
    clips = [] if real is None else [("Real (the source clip, masked)", real)]
    clips += [("Synthetic", clip.frames), ("Synthetic, with the outline asked for", outlined)]
    return [{"name": name, "uri": data_uri(figures.gif(frames, clip.fps), "image/gif")} for name, frames in clips]


def _ef_rows(result: Synthesis) -> list[dict[str, str]]:
    fractions = result.ejection_fractions()
    source, beats = result.source, result.trajectory.beats
    ends = {"asked": result.trajectory.asked, "drawn": result.drawn_volumes, "measured": result.measured_volumes}
    rows = []
    names = {"source": "Source clip", "asked": "Asked for", "drawn": "Drawn by the key-points", "measured": "Measured again"}
    for key, name in names.items():
        if fractions[key] is None:
            rows.append({"name": name, "ef": "none", "edv": "", "esv": ""})
            continue
        volumes, turns = (source.volumes, source.turns) if key == "source" else (ends[key], beats)
        edv, esv = volumes_at(volumes, turns).mean(0)
        unit, digits = ("mL", 1) if result.unit == "mL" else ("px\u00b3", 0)
        rows.append({"name": name, "ef": f"{fractions[key]:.1f} %", "edv": f"{edv:.{digits}f} {unit}",
                     "esv": f"{esv:.{digits}f} {unit}"})
    return rows


def _notes(result: Synthesis) -> list[str]:
    notes = []
    if result.trajectory.left_out:
        notes.append(f"So few frames can't show every beat, which takes two: {result.trajectory.left_out} of the motion's are not counted.")
    if result.source.clip.meta.get("fps_assumed"):
        notes.append(f"The source file states no frame rate; {result.source.clip.fps:g} frames per second were assumed.")
    if not result.source.found.all():
        missing = int((~result.source.found).sum())
        notes.append(f"The ventricle's outline was interpolated in {missing} of {len(result.source.found)} frames.")
    if result.source.sureness:
        notes.append(f"Of the source clip: {result.source.sureness}")
    return notes


def _pictures(result: Synthesis) -> list[dict[str, str]]:
    """Source with its points, then the frame farthest from it: outline wished for, flow, warp, result."""
    source, start = result.source, result.source_frame
    frame, points = source.model.clip.frames[start], source.keypoints[start]
    moved = np.linalg.norm(result.trajectory.keypoints - points, axis=2).mean(1)
    far = int(moved.argmax())
    reach = max(float(np.ceil(result.flow[far].square().sum(0).sqrt().max() * 2) / 2), 0.5)  # beyond it colours would turn dark
    wish = result.trajectory.keypoints[far]
    moment = f"{far / result.clip.fps:.2f} s"
    items = [
        ("Source frame with its 40 key-points", figures.overlay(frame, points, 4.0)),
        (f"Asked for at {moment}: key-points on the source frame (white: where they were)",
         figures.overlay(frame, wish, 4.0, extra=[(points, "white")])),
        (f"Flow to {moment}, colour-coded (Baker et al.): where each pixel comes from", figures.flow_picture(result.flow[far], reach, 4.0,
                                                                                                          source.model.sector_mask)),
        (f"Source frame warped by the flow, {moment}", figures.to_image(result.warped[far], 4.0)),
        (f"Synthetic frame, {moment}", figures.to_image(result.clip.frames[far], 4.0)),
    ]
    real = result.real_frames()
    if real is not None:
        items.append((f"Real frame of the same motion, {moment}", figures.to_image(real[far], 4.0)))
    return [{"name": name, "uri": data_uri(figures.png(image))} for name, image in items]


def _strip(result: Synthesis, times: np.ndarray) -> Image.Image:
    real = result.real_frames()
    rows = [] if real is None else [("real", real)]
    rows += [("synthetic", result.clip.frames), ("synthetic and outline", result.clip.frames)]
    outlines = [None] * (len(rows) - 1) + [result.trajectory.keypoints]
    return figures.strip(rows, list(times), scale=2.0, outlines=outlines)


def _agreement(result: Synthesis) -> list[dict[str, str]]:
    """Mean squared errors against the real frames, where the wish was the source's own motion."""
    real = result.real_frames()
    wish = result.options
    if real is None or wish["ef"] is not None or wish["drag"]:
        return []
    others = torch.as_tensor(result.trajectory.real != result.source_frame)
    inside = torch.as_tensor(np.asarray(result.source.model.sector_mask), dtype=torch.bool)
    still = result.source.model.clip.frames[result.source_frame].expand_as(real)
    frames = (("Synthetic", result.clip.frames), ("Warp alone", result.warped), ("No edit", still))
    return [{"name": name, "value": f"{float((made - real)[others][..., inside].square().mean()):.5f}"} for name, made in frames]


def _facts(result: Synthesis) -> list[tuple[str, str]]:
    source, clip, wish = result.source, result.clip, result.options
    spacing = "unknown" if clip.spacing_mm is None else f"{clip.spacing_mm[0]:.3f} x {clip.spacing_mm[1]:.3f} mm"
    return [
        ("Source", f"{len(source.clip)} frames of {source.clip.size[1]} x {source.clip.size[0]} pixels, {source.clip.fps:.4g} a second"),
        ("Source frame", str(result.source_frame)),
        ("Outlines from", "a file" if source.given else "the bundle's segmenter"),
        ("Output", f"{len(clip)} frames of {clip.size[1]} x {clip.size[0]} pixels at {clip.fps:.4g} per second; pixel {spacing}"),
        ("Bundle", f"{wish['bundle']}, weights SHA-256 {result.weights_sha256[:16]}, licence {result.weights_licence}"),
        ("Network steps, strength, seed", f"{wish['steps']}, {wish['strength']:g}, {wish['seed']}"),
    ]
