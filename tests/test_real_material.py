"""Tests that need real material say so in one line where there is none, and fail where it is incomplete."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def run_pytest(**environment: str) -> tuple[int, list[str]]:
    """Exit code and printed lines of the tests of one file that need real material, with ECHOKDM_* as given alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ECHOKDM_", "PYTEST_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "real_data",
            "tests/core/test_schemas.py",
        ],
        cwd=TESTS.parent,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_without_the_variable_they_are_skipped_and_counted() -> None:
    code, lines = run_pytest()
    assert code == 0 and lines[-1].startswith("1 skipped, ") and "deselected" in lines[-1]
    assert lines[-2].startswith(
        "Skipped for want of real material: 1. To run them, set ECHOKDM_TEST_DATA to the folder that holds "
    )


def test_a_folder_that_lacks_something_fails(tmp_path: Path) -> None:
    (tmp_path / "echo").mkdir()
    code, lines = run_pytest(ECHOKDM_TEST_DATA=str(tmp_path))
    assert (
        code == 1
        and "1 error" in lines[-1]
        and any("a folder without backbone, camus, face, " in line for line in lines)
    )
