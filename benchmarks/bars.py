"""What the benchmarks share: their options, verdicts, real clips, and the machine's description."""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echokdm.core import defaults

if TYPE_CHECKING:
    from echokdm.io.raw import RawFrames

TEST_DATA = os.environ.get("ECHOKDM_TEST_DATA", "")
"""The folder of real material, as for the tests; "" where none is named."""

if TEST_DATA:
    os.environ.setdefault("ECHOKDM_BACKBONES", str(Path(TEST_DATA) / "backbone"))


def parser(doc: str | None, patients: int, meaning: str = "held-out phantoms to score") -> argparse.ArgumentParser:
    """Options of every benchmark: --bundle, --patients and --threads."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--bundle", default=defaults.BUNDLE, help="trained weights: a shipped name or a folder")
    made.add_argument("--patients", type=int, default=patients, help=f"{meaning}; default {patients}")
    made.add_argument("--threads", type=int, default=0, help="threads for torch; default: its own choice")
    return made


def begin(arguments: argparse.Namespace) -> str:
    """Set the threads; returns one line on hardware and weights, to be printed with the figures."""
    import torch

    from echokdm.methods.bundle import bundle_hash, find_bundle

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return (
        f"{machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"bundle {Path(arguments.bundle).name} (sha256 {bundle_hash(find_bundle(arguments.bundle))})"
    )


def real_clips() -> dict[str, Path]:
    """Real clips by name: pydicom's A4C DICOM and, where ECHOKDM_TEST_DATA names a folder, its echotracker clip."""
    from pydicom.examples import get_path

    found = {"pydicom": Path(get_path("ybr_color"))}
    if TEST_DATA:
        return found | {"echotracker": Path(TEST_DATA) / "echo" / "a4c_echotracker.npz"}
    print("ECHOKDM_TEST_DATA is not set, so the echotracker clip is left out", file=sys.stderr)
    return found


def raw_clips() -> "dict[str, RawFrames]":
    """The frames of `real_clips` as they are stored."""
    from echokdm.io.dicom import read_dicom
    from echokdm.io.npz import read_npz

    return {
        name: (read_npz if path.suffix == ".npz" else read_dicom)(path, None) for name, path in real_clips().items()
    }


def perceptual_distances() -> dict[str, Any]:
    """LPIPS by each backbone whose weights are on this machine. Raises BundleError where there is none."""
    from echokdm.losses.perceptual import find_backbone, found_distances

    found = found_distances()
    if not found:
        find_backbone("squeeze")  # says what to put where
    return found


def machine() -> str:
    """The processor and how many cores of it are there, and how busy they are."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {os.cpu_count()} cores{load}"


class Bars:
    """Verdicts, one line each; `close` is the exit code."""

    def __init__(self) -> None:
        self.failed = 0
        self.passed = 0

    def check(self, what: str, passed: bool, figure: str, bar: str) -> None:
        """Print PASS or FAIL with the figure and the bar."""
        print(f"{'PASS' if passed else 'FAIL'}  {what}: {figure} (bar: {bar})", flush=True)
        self.passed += bool(passed)
        self.failed += not passed

    def at_most(self, what: str, value: float, bar: float, digits: int = 4) -> None:
        """PASS where value <= bar; nan fails."""
        self.check(what, value <= bar, f"{value:.{digits}f}", f"<= {bar:g}")

    def at_least(self, what: str, value: float, bar: float, digits: int = 4) -> None:
        """PASS where value >= bar; nan fails."""
        self.check(what, value >= bar, f"{value:.{digits}f}", f">= {bar:g}")

    def close(self) -> int:
        """Print the sum; 0 where every bar was met, else 1."""
        print(f"{self.passed} passed, {self.failed} failed")
        return int(self.failed > 0)
