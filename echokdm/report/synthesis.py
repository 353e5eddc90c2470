"""Outputs of a run, written whole or not at all: clips, DICOM, tables, records."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from echokdm.core.errors import OutputError
from echokdm.core.frames import Frames, each, gather
from echokdm.core.versions import versions
from echokdm.echo.derive import Derived
from echokdm.echo.outlines import write_outlines
from echokdm.echo.synthesis import Synthesis
from echokdm.io.atomic import atomic_folder
from echokdm.io.tracings import turn_masks
from echokdm.ops.cycle import clip_ejection_fraction, volumes_at
from echokdm.ops.m_mode import Line
from echokdm.report import figures
from echokdm.report.charts import volume_chart
from echokdm.report.synthesis_page import DRAWN, report_html

if TYPE_CHECKING:
    from pydicom import Dataset

    from echokdm.io.dicom_out import Origin

LEAST_SIDE = 320  # px; smaller MP4s and GIFs are enlarged by a whole factor, since they are small on a screen
GIF_SIDE = 480  # px; larger GIFs are made smaller, which are else as large as the clip without compression


def write_synthesis(
    result: Synthesis,
    out: str | Path,
    *,
    overwrite: bool = False,
    command: str = "echokdm synth CLIP",
    m_mode_line: Line | None = None,
    dicom: bool = False,
) -> Path:
    """Write synth.mp4, synth.gif, synth.dcm, keypoints.csv, run.json and report.html into the folder `out`, and return
    it.

    dicom: write segmentation.dcm and measures.dcm too, of the outlines that the frames were drawn by; they refer to
    synth.dcm. m_mode_line: as `synthesis_page.report_html` takes it. All but report.html, which holds timings, are the
    same bytes for the same run. Nothing names the source file or its patient. Raises OutputError where the folder
    exists, the disk is full or a pixel outside the sector would leave.
    """
    from echokdm.io.dicom_out import Origin, write_dicom
    from echokdm.io.dicom_source import read_source
    from echokdm.io.tracings import write_tracings
    from echokdm.io.write import write_gif, write_mp4
    from echokdm.ops.ventricle import keypoints_to_mask, tracing_from_keypoints
    from echokdm.report.dicom_objects import write_drawn

    clip, points = result.clip, result.keypoints
    check_masked(clip.frames, result.mask)
    scale = -(-LEAST_SIDE // min(clip.size))
    with atomic_folder(out, "synth", overwrite) as folder:
        write_mp4(folder / "synth.mp4", clip.frames, clip.fps, scale=scale)
        small = each(clip.frames, lambda some: figures.smaller(some, GIF_SIDE))
        write_gif(folder / "synth.gif", small, clip.fps, scale=scale)
        origin = Origin(result.weights_sha256, result.bundle_name, [json.dumps(result.options, sort_keys=True)])
        write_dicom(folder / "synth.dcm", clip, origin, mask_verified=result.source.searched)
        if dicom:
            masks = gather(keypoints_to_mask(p, *clip.size) for p in points)
            write_drawn(folder, result, masks, read_source(folder / "synth.dcm"), origin)
        write_tracings(
            folder / "keypoints.csv", {"synth": {t: tracing_from_keypoints(p) for t, p in enumerate(points)}}
        )
        (folder / "run.json").write_text(as_json(run_record(result, command)), encoding="utf-8")
        (folder / "report.html").write_text(report_html(result, command, m_mode_line), encoding="utf-8")
    return Path(out)


def write_keypoints(
    derived: Derived,
    out: str | Path,
    *,
    overwrite: bool = False,
    source: "Dataset | None" = None,
    origin: "Origin | None" = None,
) -> Path:
    """Write keypoints.csv, masks.nii.gz, volumes.csv, volumes.svg, measures.json and overlay.png into `out`, and return
    it.

    Key-points and masks are in the source clip's own pixels. source: the clip's patient and study, as
    `io.dicom_source.read_source` gives them: segmentation.dcm and measures.dcm are written too, and hold them. origin:
    of the outlines, None where they were given, for these two alone. Raises OutputError as `write_synthesis` does.
    """
    from echokdm.io.write import write_nifti
    from echokdm.ops.ventricle import keypoints_to_mask
    from echokdm.report.dicom_objects import write_derived

    clip, points = derived.clip, derived.keypoints_source
    times = np.arange(len(points)) / clip.fps
    with atomic_folder(out, "keypoints", overwrite) as folder:
        write_outlines(folder / "keypoints.csv", dict(enumerate(points)), clip)
        masks = each(gather(keypoints_to_mask(p, *clip.size) for p in points), lambda some: turn_masks(some, clip))
        write_nifti(folder / "masks.nii.gz", masks, spacing_mm=clip.spacing_mm, fps=clip.fps)
        if source is not None:
            write_derived(folder, derived, masks, source, origin)
        unit = derived.unit.replace("^", "")
        sure = [""] * len(points) if derived.confidence is None else [f"{c:.3f}" for c in derived.confidence]
        rows = [
            f"frame,time_s,volume_{unit},found,confidence",
            *(
                f"{t},{s:.4f},{v:.4f},{int(f)},{c}"
                for t, (s, v, f, c) in enumerate(zip(times, derived.volumes, derived.found, sure, strict=True))
            ),
        ]
        (folder / "volumes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        curves = [("left ventricle", derived.volumes, DRAWN, ".-")]
        chart = volume_chart(times, curves, derived.unit, derived.beats if derived.moves else ())
        (folder / "volumes.svg").write_text(chart, encoding="utf-8")
        (folder / "measures.json").write_text(as_json(measures(derived)), encoding="utf-8")
        (folder / "overlay.png").write_bytes(figures.png(overlay_sheet(derived)))
    return Path(out)


def check_masked(frames: Frames, sector: Any) -> None:
    """Raise OutputError unless every pixel outside the sector (H, W) is black: it is the proof behind "clean pixel
    data"."""
    outside = ~torch.as_tensor(np.asarray(sector), dtype=torch.bool)
    if any(float((frame * outside).abs().max()) > 0.5 / 255 for frame in frames):
        raise OutputError(
            "The synthetic frames are not black outside the sector, so nothing was written; the bundle is not usable."
        )


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
        "frames": len(v),
        "fps": rounded(derived.clip.fps),
        "fps_assumed": bool(derived.clip.meta.get("fps_assumed", False)),
        "spacing_mm": None if derived.clip.spacing_mm is None else [rounded(s, 6) for s in derived.clip.spacing_mm],
        "volume_unit": derived.unit,
        "volume_of": "single-plane Simpson, 20 chords",
        "found_in_frames": int(derived.found.sum()),
        "outlines_from": "file" if derived.given else "segmenter",
        "confidence": rounded(derived.clip_confidence),
        "flagged_frames": derived.flagged,
        "searched_for_print": derived.searched,
    }
    if derived.moves:
        ends = volumes_at(v, derived.turns)
        record["beats"] = [
            {
                "ed_frame": ed,
                "es_frame": es,
                "edv": rounded(edv),
                "esv": rounded(esv),
                "ef_percent": rounded(clip_ejection_fraction(v, [turn]), 2),
            }
            for (ed, es), turn, (edv, esv) in zip(derived.beats, derived.turns, ends, strict=True)
        ]
        record["ef_percent"] = rounded(derived.ejection_fraction, 2)
    return record


def run_record(result: Synthesis, command: str) -> dict[str, Any]:
    """Everything that repeats a run, for run.json: no path, no name, no time, and nothing by which the source could be
    known again."""
    source = result.source
    return {
        "synthetic": True,
        "use": "research only",
        "command": command,
        "options": result.options,
        "bundle": {
            "name": result.bundle_name,
            "weights_sha256": result.weights_sha256,
            "licence": result.weights_licence,
        },
        "versions": versions(),
        "source": {
            "frames": len(source.clip),
            "fps": rounded(source.clip.fps),
            "fps_assumed": bool(source.clip.meta.get("fps_assumed", False)),
            "height": source.clip.size[0],
            "width": source.clip.size[1],
            "searched_for_print": source.searched,
            "confidence": rounded(source.clip_confidence),
            "flagged_frames": source.flagged,
        },
        "output": {
            "frames": len(result.clip),
            "fps": rounded(result.clip.fps),
            "size": list(result.clip.size),
            "spacing_mm": None if result.clip.spacing_mm is None else [rounded(s, 6) for s in result.clip.spacing_mm],
            "ed_frame": result.trajectory.ed,
            "es_frame": result.trajectory.es,
            "beats": [{"ed_frame": ed, "es_frame": es} for ed, es in result.trajectory.beats],
        },
        "ef_percent": {name: rounded(value, 2) for name, value in result.ejection_fractions().items()},
        "longitudinal_strain_percent": {
            name: None if values is None else {wall: rounded(v, 2) for wall, v in values.items()}
            for name, values in result.strains().items()
        },
        "warning": result.warning or None,
    }


def overlay_sheet(derived: Derived) -> Image.Image:
    """The 40 points over end-diastole and end-systole in the source clip's own pixels, what lies outside the sector
    blacked out.

    Every fifth point has its number, by which `--drag` names it.
    """
    frames = {derived.ed: "ED, ", derived.es: "ES, "} if derived.moves else {derived.ed: ""}
    inside = torch.as_tensor(np.asarray(derived.sector.mask), dtype=torch.bool)
    scale = max(1.0, min(3.0, 720 / derived.clip.size[1]))
    tiles = [
        figures.overlay(
            derived.clip.frames[t] * inside, derived.keypoints_source[t], scale, every=5, title=f"{phase}frame {t}"
        )
        for t, phase in frames.items()
    ]
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles) + 8 * (len(tiles) - 1), tiles[0].height), "white")
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k * (tile.width + 8), 0))
    return sheet
