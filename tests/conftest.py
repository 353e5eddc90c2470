"""Fixtures for every test: one thread a worker, and the real material that ECHOKDM_TEST_DATA names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Tests run several at a time; more threads than cores only make each of them slower.
torch.set_num_threads(1)

FOLDERS = ("backbone", "camus", "echo", "face", "faults", "flow", "pose")
TEST_DATA = os.environ.get("ECHOKDM_TEST_DATA", "")
ASK = f"set ECHOKDM_TEST_DATA to the folder that holds {', '.join(FOLDERS[:-1])} and {FOLDERS[-1]}"

if TEST_DATA and not os.environ.get("ECHOKDM_BACKBONES"):
    os.environ["ECHOKDM_BACKBONES"] = str(Path(TEST_DATA).resolve() / "backbone")  # in the environment for subprocesses too


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real material; without one named the test is skipped, with one that lacks something it fails."""
    if not TEST_DATA:
        pytest.skip("needs real material, which ECHOKDM_TEST_DATA names")
    folder = Path(TEST_DATA).resolve()
    if missing := [name for name in FOLDERS if not (folder / name).is_dir()]:
        pytest.fail(f"ECHOKDM_TEST_DATA names a folder without {', '.join(missing)}: {ASK}.")
    return folder


@pytest.fixture(scope="session")
def squeeze_weights(test_data: Path) -> Path:
    """The file of SqueezeNet's weights, for tests of what is measured or trained with them; BundleError where it is missing."""
    from echokdm.losses.perceptual import find_backbone

    return find_backbone("squeeze")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take `test_data`, themselves or through another fixture, are `-m real_data`."""
    for item in items:
        if "test_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after pytest's own summary
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """One last line on the tests that had no real material."""
    yield
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "real_data" in report.keywords]
    if skipped and not TEST_DATA:
        terminalreporter.write_line(f"Skipped for want of real material: {len(skipped)}. To run them, {ASK}.")
