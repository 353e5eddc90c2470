"""Fixtures for every test: one thread a worker, small counts, and the real material that ECHOKDM_TEST_DATA names."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from floors import figures

# Tests run several at a time; more threads than cores only make each of them slower.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start

pytest_plugins = ["drawn"]

FOLDERS = ("backbone", "camus", "echo", "face", "faults", "flow", "pose")
TEST_DATA = os.environ.get("ECHOKDM_TEST_DATA", "")
ASK = f"set ECHOKDM_TEST_DATA to the folder that holds {', '.join(FOLDERS[:-1])} and {FOLDERS[-1]}"

if TEST_DATA and not os.environ.get("ECHOKDM_BACKBONES"):
    # in the environment for subprocesses too
    os.environ["ECHOKDM_BACKBONES"] = str(Path(TEST_DATA).resolve() / "backbone")


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
    """The file of SqueezeNet's weights, for tests of what is measured or trained with them; BundleError where it is
    missing."""
    from echokdm.losses.perceptual import find_backbone

    return find_backbone("squeeze")


@pytest.fixture(autouse=True, scope="session")
def _search_once() -> Iterator[None]:
    """The few clips that hundreds of tests read are searched for words once a worker; tests/deid/conftest.py takes that
    back."""
    from echokdm.core.frames import LongFrames
    from echokdm.deid.words import find_words

    found: dict[bytes, bool] = {}

    def search(frames: np.ndarray | LongFrames, *given: Any) -> bool:
        if isinstance(frames, LongFrames):
            return find_words(frames, *given)
        sector, mask, lasting, changes = given
        arrays = (frames, sector, mask, *(one for pair in lasting for one in pair), changes)
        key = hashlib.sha256(b"".join(str((a.shape, a.dtype)).encode() + a.tobytes() for a in arrays)).digest()
        if key not in found:
            found[key] = find_words(frames, *given)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echokdm.deid.marks.find_words", search)
        yield


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any ImageNet weights; gives the folder that they would be looked for in."""
    monkeypatch.delenv("ECHOKDM_BACKBONES", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    # Kept for the process, so perhaps from a test that had weights.
    monkeypatch.setattr("echokdm.methods.single_transform.scores._distances", dict)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="session")
def valid_dicom() -> Callable[[Path], None]:
    """valid_dicom(file): fails where dciodvfy (Debian's dicom3tools) finds an error; skips where it is not
    installed."""
    validator = shutil.which("dciodvfy")

    def check(file: Path) -> None:
        if validator is None:
            pytest.skip("needs dciodvfy, which Debian's dicom3tools holds")
        told = subprocess.run([validator, str(file)], capture_output=True, text=True, check=False).stderr.splitlines()
        assert told, "it says of what kind the file is"
        # Synthetic Data (0008,001C) came into the standard in 2023, after the validator that Debian has.
        assert not [line for line in told if line.startswith("Error") and "(0x0008,0x001c)" not in line], "\n".join(
            told
        )

    return check


# of data
FEW = {
    "patients": 1,
    "procedural": 2,
    "held_out": 1,
    "twins": 1,
    "hearts": 1,
    "posed": 1,
    "root": 2,
    "frames": 5,
    "workers": 0,
}


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """few(file, overrides) -> overrides that shrink a training's counts alone: FEW subjects, and in each stage one step
    of two items.

    Simulated data are cached for the whole session, a folder each kind.
    """
    cache = tmp_path_factory.mktemp("cache")

    def shrink(file: Path, overrides: Sequence[str] = ()) -> list[str]:
        from echokdm.methods.base import find_method
        from echokdm.methods.train import read_config

        config = read_config(file, list(overrides))
        fields = type(config.data).model_fields
        kind = getattr(config.data, "adapter", None) or config.data.phantom
        stages = [name for name in find_method(config.method).stages(config) if getattr(config, name).steps]
        counts = {
            name: count for name, count in FEW.items() if name in fields and str(fields[name].default).isdecimal()
        }
        return [
            f"data.cache={cache / kind}",
            *(f"data.{name}={count}" for name, count in counts.items()),
            *(f"{stage}.{count}" for stage in stages for count in ("steps=1", "batch=2")),
        ]

    return shrink


def camus_patient(root: Path, patient: str, frames: int, ed: int = 1, es: int = 3) -> None:
    """A patient in CAMUS' layout whose ventricle is an ellipse that shrinks with time, stored as (x, y, t)."""
    import nibabel

    folder = root / "database_nifti" / patient
    folder.mkdir(parents=True)
    y, x = np.mgrid[:96, :80]
    masks = np.stack([((x - 40) / (16 - t)) ** 2 + ((y - 44) / 30) ** 2 <= 1 for t in range(frames)])
    radius = np.hypot(x - 40, y + 8)
    sector = (np.abs(np.arctan2(x - 40, y + 8)) < np.radians(38)) & (radius > 12) & (radius < 98)
    pictures = np.where(masks, 20, 150) * sector
    for name, array in (("", pictures), ("_gt", masks)):
        image = nibabel.Nifti1Image(array.astype(np.uint8).transpose(2, 1, 0), np.diag([0.3, 0.3, 1, 1]))
        nibabel.save(image, folder / f"{patient}_4CH_half_sequence{name}.nii.gz")
    (folder / "Info_4CH.cfg").write_text(f"ED: {ed}\nES: {es}\nNbFrame: {frames}\nEF: 51.2\nImageQuality: Good\n")


@pytest.fixture(scope="session")
def camus() -> Callable[..., None]:
    """camus(root, patient, frames, ed, es) writes one drawn patient."""
    return camus_patient


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take `test_data`, themselves or through another fixture, are `-m real_data`."""
    for item in items:
        if "test_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after pytest's own summary
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Last lines: the package's layout, and the tests that had no real material."""
    yield
    terminalreporter.write_line(f"Layout: {figures()}.")
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "real_data" in report.keywords]
    if skipped and not TEST_DATA:
        terminalreporter.write_line(f"Skipped for want of real material: {len(skipped)}. To run them, {ASK}.")
