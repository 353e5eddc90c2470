"""The page of a pipeline: the cohort comes first, and no interval is told of one patient."""

import re
from pathlib import Path

import pytest

from echokdm.metrics.intervals import mean_interval
from echokdm.metrics.tables import Table, write_tables
from echokdm.pipeline.summary import write_summary
from echokdm.pipeline.work import Work, untracked


@pytest.fixture
def page(maker) -> str:
    """Of a pipeline of two cohorts whose evaluation scored one patient in one row and two in the other."""
    pipeline = maker.read(**{"augment-low": {"kind": "augment", "ef": "uniform:20-35"}, "evaluate": {}})
    report = pipeline.steps[-1]
    others = [
        (step, pipeline.out / step.name, {"accepted": 7} if step.kind == "augment" else {})
        for step in pipeline.steps[:-1]
    ]
    rows = (
        ("one patient", (mean_interval([0.25, 0.75], ["a", "a"]),)),
        ("two patients", (mean_interval([0.125, 0.875], ["a", "b"]),)),
    )
    write_tables(pipeline.out / "evaluate", [Table("Scores", ("MSE_img",), rows)], {}, {})
    (pipeline.out / "report").mkdir()
    write_summary(Work(report, pipeline.out / "report", pipeline.out, 0, "cpu", {}, others, print, print, untracked))
    return Path(pipeline.out / "report" / "report.html").read_text()


def test_the_cohort_is_the_first_thing_on_the_page(page: str) -> None:
    headings = re.findall(r"<h2>(\S+?)(?: \(augment\))?</h2>", page)
    assert headings == ["augment", "augment-low", "ingest", "keypoints", "train", "evaluate"]


def test_an_interval_is_of_several_patients(page: str) -> None:
    assert "<td>0.5</td>" in page and "<td>0.5 [0.125, 0.875]</td>" in page and page.count("[0.") == 1
