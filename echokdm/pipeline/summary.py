"""The stage `report`: one self-contained page of what a pipeline did and found."""

import json
from pathlib import Path
from typing import Any

from echokdm.io.atomic import atomic_file
from echokdm.pipeline.options import Augment
from echokdm.pipeline.work import Work
from echokdm.report.pages import data_uri, render

PICTURES = 6  # of a stage
CLIPS = 12  # on the sheet of a cohort
_LARGEST = 2 << 20  # bytes of a picture that a page still carries


def write_summary(work: Work) -> None:
    """report.html: every stage with its options, its figures, tables and pictures, cohorts first. No times, no
    paths."""
    stages = []
    for step, folder, figures in sorted(work.others, key=lambda other: not isinstance(other[0].options, Augment)):
        pictures = [path for path in sorted(folder.glob("*.png")) if path.stat().st_size <= _LARGEST][:PICTURES]
        page = next(folder.glob("*.html"), None)
        stages.append(
            {
                "name": step.name,
                "kind": step.kind,
                "about": (type(step.options).__doc__ or "").strip(),
                "fingerprint": step.fingerprint[:8],
                "needs": ", ".join(step.needs),
                "options": {key: json.dumps(value) for key, value in step.recipe["options"].items()},
                "figures": figures,
                "page": f"../{folder.name}/{page.name}" if page else "",
                "tables": _tables(folder),
                "pictures": [
                    *_sheet(folder),
                    *({"name": path.stem, "data": data_uri(path.read_bytes())} for path in pictures),
                ],
            }
        )
    with atomic_file(work.folder / "report.html") as temporary:
        temporary.write_text(render("pipeline.html.j2", seed=work.seed, stages=stages), encoding="utf-8")


def _tables(folder: Path) -> list[dict[str, Any]]:
    """The tables of an evaluation, as `metrics.tables` wrote them."""
    path = folder / "tables.json"
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"] if path.exists() else []
    return [
        table
        | {
            "rows": {
                label: {column: _cell(cell) for column, cell in cells.items()} for label, cells in table["rows"].items()
            }
        }
        for table in tables
    ]


def _cell(cell: Any) -> str:
    if isinstance(cell, dict):
        interval = (
            "" if cell["low"] is None or cell["patients"] < 2 else f" [{_cell(cell['low'])}, {_cell(cell['high'])}]"
        )
        return _cell(cell["value"]) + interval
    return "" if cell is None else f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def _sheet(folder: Path) -> list[dict[str, str]]:
    """The first clips of a folder in EchoNet-Dynamic's layout, with what was traced on them."""
    from echokdm.data.adapters import find_adapter
    from echokdm.report.figures import contact_sheet, png

    if not (folder / "VolumeTracings.csv").exists():
        return []
    adapter = find_adapter("echonet-dynamic")
    rows = adapter.index(folder).to_dict("records")[:CLIPS]
    sheet = contact_sheet([(row["sequence"], adapter.read(row)) for row in rows])
    return [{"name": "first clips", "data": data_uri(png(sheet))}]
