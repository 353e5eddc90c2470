"""Tables as they are printed and written."""

import csv
import json

import pandas as pd
import pytest

from echokdm.core.errors import OutputError
from echokdm.metrics.intervals import Interval
from echokdm.metrics.tables import Table, markdown, number, text, write_tables

NOTHING = Interval(float("nan"), float("nan"), float("nan"), 0, 0)
TABLE = Table(
    "Scores",
    ("MSE_img", "LV found"),
    (("KDM", (Interval(0.00361, 0.003, 0.0042, 400, 200), "99.5 %")), ("no edit", (NOTHING, "-"))),
    "A note.",
)


def test_numbers_and_cells():
    assert [number(v) for v in (0.00361, 1.23456, 12.3456, float("nan"))] == ["0.0036", "1.235", "12.35", "-"]
    assert text(Interval(0.5, 0.4, 0.6, 9, 9)) == "0.5000 [0.4000, 0.6000]"
    assert text(Interval(0.5, float("nan"), float("nan"), 9, 1)) == "0.5000"
    assert TABLE.cell("KDM", "LV found") == "99.5 %"


def test_files_hold_every_figure(tmp_path):
    out = tmp_path / "tables"
    write_tables(
        out, [TABLE], {"bundle": "b (sha256 0)"}, {"images": pd.DataFrame({"patient": [1], "MSE_img": [0.25]})}
    )
    assert "| KDM | 0.0036 [0.0030, 0.0042] | 99.5 % |" in (out / "tables.md").read_text()
    assert "bundle: b (sha256 0)" in markdown([TABLE], {"bundle": "b (sha256 0)"})
    rows = list(csv.DictReader((out / "tables.csv").open()))
    assert rows[0]["table"] == "Scores" and float(rows[0]["high"]) == 0.0042 and rows[0]["patients"] == "200"
    content = json.loads((out / "tables.json").read_text())
    assert content["tables"][0]["rows"]["KDM"]["MSE_img"]["value"] == 0.00361
    assert content["tables"][0]["rows"]["no edit"]["MSE_img"]["value"] is None
    assert (out / "images.csv").read_text() == "patient,MSE_img\n1,0.25\n"
    with pytest.raises(OutputError, match="exists"):
        write_tables(out, [TABLE], {}, {})
