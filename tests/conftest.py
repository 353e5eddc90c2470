"""Fixtures for every test: one thread a worker, and the folder of real material beside the repository."""

import os
from pathlib import Path

import pytest
import torch

# Tests run several at a time; more threads than cores only make each of them slower.
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `../shared` beside the repository, with the real clips under `data/`."""
    if (SHARED / "data").is_dir():
        return SHARED
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail("CI=true, and the real material for tests is not at ../shared/data beside the repository.")
    pytest.skip("needs the real material at ../shared/data beside the repository")
