"""Damaged files: the benchmark with a small count; its own bars are what is asserted."""

import runpy
import sys
import warnings
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_damaged_files_stop_nothing_and_bring_nothing_out(monkeypatch, capfd):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["deid_faults.py", "--count", "240"])
    with warnings.catch_warnings(record=True) as warned, pytest.raises(SystemExit) as ended:
        warnings.simplefilter("always")
        runpy.run_path(str(BENCHMARKS / "deid_faults.py"), run_name="__main__")
    said = capfd.readouterr()
    assert ended.value.code == 0, said.out
    assert "4 passed, 0 failed" in said.out and "Truncated or damaged." in said.out
    assert not any("KOWALSKI" in text for text in (said.out, said.err, *(str(warning.message) for warning in warned)))
