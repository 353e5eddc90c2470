"""Damaged files: the benchmark with a small count; its own bars are what is asserted."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "deid_faults.py"


def test_damaged_files_stop_nothing_and_bring_nothing_out():
    # A process of its own: the memory that its children took would else be that of every child before.
    said = subprocess.run([sys.executable, str(SCRIPT), "--count", "60"], capture_output=True, text=True, check=False)
    # Time is no test's matter.
    verdicts = [line for line in said.stdout.splitlines() if line[:4] in ("PASS", "FAIL") and "slowest" not in line]
    assert len(verdicts) == 5 and all(line.startswith("PASS") for line in verdicts), said.stdout
    assert "Truncated or damaged." in said.stdout and "Too large to be read safely" in said.stdout
    assert "KOWALSKI" not in said.stdout + said.stderr
