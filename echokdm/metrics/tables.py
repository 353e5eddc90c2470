"""Tables of figures with their intervals: on the screen, as Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echokdm.io.atomic import atomic_folder
from echokdm.metrics.intervals import LEVEL, Interval

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

Cell = Interval | str


@dataclass(frozen=True)
class Table:
    """title; columns: names of the figures; rows: (label, a cell for each column); note: how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    note: str = ""

    def cell(self, row: str, column: str) -> Cell:
        """The cell of a row's label and a column's name. Raises KeyError."""
        return dict(self.rows)[row][self.columns.index(column)]


def number(value: float) -> str:
    """Four digits that count, at most four after the point; a dash for nan."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2}f}"


def text(cell: Cell) -> str:
    """A cell in words: "0.0036 [0.0030, 0.0042]"; the interval is left out where there is none."""
    if isinstance(cell, str):
        return cell
    if not math.isfinite(cell.low):
        return number(cell.value)
    return f"{number(cell.value)} [{number(cell.low)}, {number(cell.high)}]"


def print_tables(tables: Sequence[Table], record: Mapping[str, Any], console: "Console") -> None:
    """Tables and, below them, how they were measured."""
    from rich.markup import escape
    from rich.table import Table as RichTable

    for table in tables:
        shown = RichTable(
            title=escape(table.title), caption=escape(table.note) or None, title_justify="left", caption_justify="left"
        )
        shown.add_column("")
        for column in table.columns:
            shown.add_column(escape(column), justify="right")
        for label, cells in table.rows:
            shown.add_row(escape(label), *(escape(text(cell)) for cell in cells))
        console.print(shown)
    console.print("\n".join(f"{key}: {value}" for key, value in record.items()), markup=False, highlight=False)


def markdown(tables: Sequence[Table], record: Mapping[str, Any]) -> str:
    """The tables and their record as Markdown."""
    parts = []
    for table in tables:
        lines = [
            f"## {table.title}",
            "",
            "| |" + "".join(f" {c} |" for c in table.columns),
            "|---|" + "---:|" * len(table.columns),
        ]
        lines += [f"| {label} |" + "".join(f" {text(cell)} |" for cell in cells) for label, cells in table.rows]
        parts.append("\n".join([*lines, *(["", table.note] if table.note else [])]))
    measured = "\n".join(["## How it was measured", "", *(f"- {key}: {value}" for key, value in record.items())])
    return "\n\n".join([*parts, measured]) + "\n"


def _csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value", "low", "high", "pairs", "patients"])
    for table in tables:
        for label, cells in table.rows:
            for column, cell in zip(table.columns, cells, strict=True):
                if isinstance(cell, Interval):
                    writer.writerow(
                        [table.title, label, column, cell.value, cell.low, cell.high, cell.count, cell.patients]
                    )
                else:
                    writer.writerow([table.title, label, column, cell, "", "", "", ""])
    return out.getvalue()


def _json(tables: Sequence[Table], record: Mapping[str, Any]) -> str:
    def plain(cell: Cell) -> Any:
        if isinstance(cell, str):
            return cell
        values = {k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in cell._asdict().items()}
        return values | {"level": LEVEL}

    content = {
        "record": dict(record),
        "tables": [
            {
                "title": t.title,
                "note": t.note,
                "rows": {
                    label: {c: plain(cell) for c, cell in zip(t.columns, cells, strict=True)} for label, cells in t.rows
                },
            }
            for t in tables
        ],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_tables(
    folder: Path,
    tables: Sequence[Table],
    record: Mapping[str, Any],
    scores: Mapping[str, "pd.DataFrame"],
    overwrite: bool = False,
) -> None:
    """Write `tables.md`, `tables.csv`, `tables.json`, and `<name>.csv` of each long table of scores; all of them or
    none.

    Raises OutputError where the folder exists and `overwrite` is false, or the disk is full.
    """
    with atomic_folder(folder, "evaluate", overwrite) as new:
        (new / "tables.md").write_text(markdown(tables, record), encoding="utf-8")
        (new / "tables.csv").write_text(_csv(tables), encoding="utf-8")
        (new / "tables.json").write_text(_json(tables, record), encoding="utf-8")
        for name, frame in scores.items():
            frame.to_csv(new / f"{name}.csv", index=False, float_format="%.8g")
