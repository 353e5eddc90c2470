"""The stage `ingest`: files of any kind to masked clips without a patient, of the wanted view."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echokdm.core.errors import ClipError, ConfigError, EchoKDMError
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.core.types import Clip, luma
from echokdm.io.atomic import atomic_file, claim
from echokdm.pipeline.options import Ingest
from echokdm.pipeline.plan import archive_url
from echokdm.pipeline.records import Figures
from echokdm.pipeline.work import Work

COLUMNS = ("clip", "file", "subject", "split", "frames", "fps", "row_mm", "column_mm", "searched", "verdict", "reason")
TABLE = "clips.csv"
PARTS = "parts"
KEPT = "kept"


@dataclass(frozen=True)
class Found:
    """A clip before it is looked at. file: inside the stage's folder, "" where it is still to be written from `row`.

    view: "a4c", "other" or "", as the header tells.
    """

    name: str
    subject: str
    split: str
    file: str
    view: str = ""
    row: dict[str, Any] | None = None


def ingest(work: Work) -> Figures:
    """Write clips.csv, the clips, quarantine.csv and a review sheet of the doubtful ones.

    DICOM, of a folder or an archive, goes through `deid` into deid/; sequences of other data sets become clips/*.npz of
    their masked gray frames alone.
    Raises ClipError where nothing is kept.
    """
    options = work.step.options
    assert isinstance(options, Ingest)
    work.folder.mkdir(parents=True, exist_ok=True)
    found, refused = _found(work, options)
    pipeline = _segmenter(work, options)
    for item in work.track(found, len(found), "looking at clips"):
        part = work.folder / PARTS / f"{item.name}.json"
        if not part.exists():
            facts = _look(work.folder, item, pipeline, options.allow_print)
            with atomic_file(part) as temporary:
                temporary.write_text(json.dumps(facts), encoding="utf-8")
    rows = [json.loads((work.folder / PARTS / f"{item.name}.json").read_text(encoding="utf-8")) for item in found]
    kept = [row for row in rows if row["verdict"] == KEPT]
    doubtful = [row for row in rows if row["verdict"] == "doubtful"]
    if not kept:
        reason = next((row["reason"] for row in rows if row["reason"]), "nothing could be read")
        raise ClipError(
            f"None of the {len(rows) + len(refused)} clips shows an apical 4-chamber view that can be used; the first: "
            f"{reason}"
        )
    write_table(work.folder / TABLE, COLUMNS, rows)
    write_table(
        work.folder / "quarantine.csv",
        ("clip", "reason"),
        [*refused, *({"clip": row["clip"], "reason": row["reason"]} for row in rows if row["verdict"] != KEPT)],
    )
    _review(work.folder / "doubtful.png", doubtful)
    for part in (work.folder / PARTS).iterdir():
        part.unlink()
    (work.folder / PARTS).rmdir()
    work.say(
        f"{len(kept)} clips kept, {len(doubtful)} doubtful, {len(rows) - len(kept) - len(doubtful) + len(refused)} refused"
    )
    return {
        "clips kept": len(kept),
        "subjects": len({row["subject"] for row in kept}),
        "doubtful": len(doubtful),
        "quarantined": len(rows) - len(kept) - len(doubtful) + len(refused),
    }


def kept_clips(folder: Path) -> list[dict[str, str]]:
    """The rows of clips.csv that were kept. Raises ConfigError where the folder is no result of `ingest`."""
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            return [
                {column: row[column] for column in COLUMNS} for row in csv.DictReader(file) if row["verdict"] == KEPT
            ]
    except (OSError, KeyError):
        raise ConfigError(
            f"{called('The folder of ingested clips', folder)} holds no {TABLE}: name a stage of kind ingest."
        ) from None


def write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """A CSV, whole or not at all; columns that a row lacks are left empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def _found(work: Work, options: Ingest) -> tuple[list[Found], list[dict[str, str]]]:
    """The clips to look at, and what was refused before."""
    adapter, colon, root = options.source.partition(":")
    if colon and archive_url(options.source) is None and not Path(options.source).exists():
        return list(_of_data_set(adapter, root)), []
    return _of_dicom(work, options)


def _of_data_set(adapter: str, root: str) -> Iterator[Found]:
    from echokdm.data.adapters import find_adapter
    from echokdm.data.adapters.folder import known_split

    subjects: dict[str, str] = {}
    for number, row in enumerate(find_adapter(adapter).index(root).to_dict("records"), 1):
        subject = subjects.setdefault(str(row["subject"]), f"subject-{len(subjects) + 1:05d}")
        yield Found(f"C{number:06d}", subject, known_split(str(row["split"])), "", "", {"adapter": adapter, **row})


def _of_dicom(work: Work, options: Ingest) -> tuple[list[Found], list[dict[str, str]]]:
    from echokdm.deid import deidentify_folder
    from echokdm.pacs import fetch

    folder, url = work.folder / "deid", archive_url(options.source)
    apart = [Path(options.source)] if url is None else []
    # a run may have been killed at its very end
    with claim(folder, "deid", lasting=options.salt is not None, apart=apart):
        if not folder.exists():
            salt = None if options.salt is None else check_plain(options.salt, ConfigError).read_bytes()
            if url is None:
                work.say("De-identifying")
                deidentify_folder(options.source, folder, salt=salt, shift_dates=options.shift_dates)
            else:
                work.say("Fetching and de-identifying")
                fetch(url, folder, salt=salt, shift_dates=options.shift_dates)
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        refused = [{"clip": f"input {row['number']}", "reason": row["reason"]} for row in csv.DictReader(file)]
    found = [
        Found(f"C{number:06d}", row["output"].split("/")[0], "all", f"deid/{row['output']}", row["view"])
        for number, row in enumerate(rows, 1)
    ]
    return found, refused


def _segmenter(work: Work, options: Ingest) -> Any:
    if options.select == "all":
        return None
    from echokdm.echo.derive import load_pipeline

    return load_pipeline(work.reads["bundle"], work.device)


def _look(folder: Path, item: Found, pipeline: Any, allow_print: bool) -> dict[str, Any]:
    """The row of one clip, which is written first where it comes from a data set; with a small picture where it is
    doubtful.

    searched: 1 where its sector was searched for print, by `deid` where it is DICOM, and holds none.
    """
    from echokdm.echo.view import judge_view
    from echokdm.io import read_clip

    facts: dict[str, Any] = {
        "clip": item.name,
        "subject": item.subject,
        "split": item.split,
        "verdict": "refused",
        "reason": "",
    }
    try:
        clip, searched = (read_clip(folder / item.file), True) if item.row is None else _masked(item.row, allow_print)
        file = item.file or f"clips/{item.name}.npz"
        if item.row is not None:
            _write_clip(folder / file, clip)
        row_mm, column_mm = clip.spacing_mm or ("", "")
        facts |= {
            "file": file,
            "frames": len(clip),
            "fps": round(clip.fps, 6),
            "row_mm": row_mm,
            "column_mm": column_mm,
            "searched": int(searched),
        }
        if pipeline is None:
            return facts | {"verdict": KEPT}
        if item.view == "other":
            return facts | {"reason": "Its header names another view than the apical four-chamber one."}
        view = judge_view(clip, pipeline)
        if view.verdict == "doubtful" and item.view == "a4c":
            return facts | {"verdict": KEPT}
    except EchoKDMError as error:
        return facts | {"reason": str(error)}
    if view.verdict == "doubtful" and view.frame is not None and view.keypoints is not None:
        facts["picture"] = np.rint(view.frame * 255).astype(int).tolist()
        facts["keypoints"] = np.round(view.keypoints, 2).tolist()
    return facts | {"verdict": view.verdict, "reason": view.reason}


def _masked(row: dict[str, Any], allow_print: bool) -> tuple[Clip, bool]:
    """A sequence of a data set, gray, black outside its sector; whether that was searched for print.

    Raises EchoKDMError: unreadable, no sector found, or print over it.
    """
    import torch

    from echokdm.data.adapters import find_adapter
    from echokdm.deid.gate import search_print
    from echokdm.io.read import ASSUMED_FPS
    from echokdm.io.sector import find_sector

    sequence = find_adapter(row["adapter"]).read(row)
    frames = luma(sequence.frames)
    clip = Clip(frames, float(sequence.labels.get("fps", ASSUMED_FPS)), sequence.labels.get("spacing_mm"))
    sector = find_sector(clip)
    searched = search_print(clip, sector, allow_print)
    return clip.with_frames(frames * torch.as_tensor(sector.mask)), searched


def _write_clip(path: Path, clip: Clip) -> None:
    """frames (T, H, W) uint8, fps, spacing_mm where known: the pixels and nothing else."""
    facts: dict[str, Any] = {} if clip.spacing_mm is None else {"spacing_mm": np.array(clip.spacing_mm)}
    pixels = np.rint(clip.frames[:][:, 0].numpy() * 255).astype(np.uint8)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, frames=pixels, fps=np.float64(clip.fps), **facts)


def _review(path: Path, doubtful: list[dict[str, Any]], columns: int = 4) -> None:
    """A sheet of the doubtful clips, each with what was taken for a ventricle, by their names in clips.csv."""
    from PIL import Image, ImageDraw

    from echokdm.report.figures import overlay, png

    if not doubtful:
        return
    tiles = [overlay(np.array(row["picture"], np.float32) / 255, np.array(row["keypoints"]), 2.0) for row in doubtful]
    width, height = tiles[0].width, tiles[0].height + 14
    sheet = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height))
    for i, (tile, row) in enumerate(zip(tiles, doubtful, strict=True)):
        x, y = i % columns * width, i // columns * height
        sheet.paste(tile, (x, y + 14))
        ImageDraw.Draw(sheet).text((x + 4, y + 1), row["clip"], fill="white")
    with atomic_file(path) as temporary:
        temporary.write_bytes(png(sheet))
