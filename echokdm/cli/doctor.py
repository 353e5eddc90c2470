"""What works on this machine, and how to mend what does not. Looks only; needs no network."""

import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BUNDLES = Path(__file__).parents[1] / "bundles"

REINSTALL = "install again with: pip install -c constraints.txt -e ."


@dataclass(frozen=True)
class Check:
    """One finding. mend: what to do about it, empty where nothing is needed. required: a clip can't be made without
    it."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    required: bool = True


def check_python() -> list[Check]:
    """The interpreter, and each required package at its lowest version or above."""
    enough = sys.version_info >= (3, 11)
    checks = [
        Check(
            "Python",
            enough,
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            "" if enough else "use Python 3.11 or newer",
        )
    ]
    try:
        from packaging.requirements import Requirement

        requirements = [Requirement(text) for text in importlib.metadata.requires("echokdm") or []]
    except (ImportError, importlib.metadata.PackageNotFoundError):
        return [*checks, Check("packages", False, "echokdm is not installed", REINSTALL)]
    faults = []
    needed = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            faults.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    detail = (
        "; ".join(faults) or f"all {len(needed)} required packages, echokdm {importlib.metadata.version('echokdm')}"
    )
    return [*checks, Check("packages", not faults, detail, REINSTALL if faults else "")]


def check_torch() -> list[Check]:
    """torch itself, and the device that computes; each device is tried with a small product."""
    import torch

    from echokdm.core.threads import source

    def works(device: str) -> bool:
        try:
            return bool(torch.ones(8, 8, device=device).mm(torch.ones(8, 8, device=device)).sum().item() == 512)
        except (RuntimeError, AssertionError):
            return False

    def bf16() -> str:
        try:
            torch.ones(8, 8, dtype=torch.bfloat16).mm(torch.ones(8, 8, dtype=torch.bfloat16))
        except RuntimeError:
            return "no bf16"
        return "bf16"

    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() != 1 else ''} ({source()})"
    detail = f"{torch.__version__}, {threads}, {torch.backends.cpu.get_cpu_capability()}, {bf16()}"
    checks = [Check("torch", works("cpu"), detail, "" if works("cpu") else REINSTALL)]
    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / 2**30
        ok = works("cuda")
        checks.append(
            Check(
                "device",
                ok,
                f"cuda: {name}, {memory:.0f} GiB",
                "" if ok else "pass --device cpu, or install a torch built for this driver",
                required=False,
            )
        )
    elif torch.backends.mps.is_available():
        ok = works("mps")
        checks.append(Check("device", ok, "mps: Apple GPU", "" if ok else "pass --device cpu", required=False))
    else:
        unseen = f" (torch is built for CUDA {torch.version.cuda}, no GPU is seen)" if torch.version.cuda else ""
        checks.append(Check("device", True, f"cpu{unseen}", required=False))
    return checks


def check_torchvision() -> list[Check]:
    """torchvision beside torch, and the libraries that import it."""
    from echokdm.core.torchvision_compat import ensure_torchvision

    state = ensure_torchvision()
    if state == "absent":
        return [Check("torchvision", False, "not installed", REINSTALL)]
    try:
        import diffusers  # noqa: F401
        import lpips  # noqa: F401
        import monai  # noqa: F401
    except Exception as error:  # a broken install fails in many ways; the kind says enough
        return [
            Check(
                "torchvision", False, f"diffusers, lpips or MONAI can't be imported ({type(error).__name__})", REINSTALL
            )
        ]
    if state == "declared":
        return [
            Check(
                "torchvision",
                True,
                "built for another torch; worked around, nothing here needs its operators",
                "to be rid of it, install the torchvision that goes with this torch",
                required=False,
            )
        ]
    return [Check("torchvision", True, "goes with torch; diffusers, lpips and MONAI import")]


def check_dicom() -> list[Check]:
    """A decoder for each transfer syntax that ultrasound comes in."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    syntaxes = {
        "uncompressed": (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian),
        "RLE": (uid.RLELossless,),
        "JPEG": (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1),
        "JPEG-LS": (uid.JPEGLSLossless, uid.JPEGLSNearLossless),
        "JPEG 2000": (uid.JPEG2000Lossless, uid.JPEG2000),
        "HTJ2K": (uid.HTJ2KLossless, uid.HTJ2K),
    }

    def can(syntax: str) -> bool:
        try:
            return get_decoder(syntax).is_available
        except NotImplementedError:
            return False

    missing = [name for name, members in syntaxes.items() if not all(can(member) for member in members)]
    found = ", ".join(name for name in syntaxes if name not in missing)
    detail = found + (f"; not {', '.join(missing)}" if missing else "")
    mend = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle python-gdcm" if missing else ""
    return [Check("DICOM decoders", not missing, detail, mend, required=False)]


def check_video() -> list[Check]:
    """FFmpeg's codecs inside PyAV: H.264 and Motion JPEG both ways, and what clips are often kept in."""
    import av

    def has(codec: str, mode: Literal["r", "w"]) -> bool:
        try:
            av.codec.Codec(codec, mode)
        except ValueError:  # PyAV's UnknownCodecError is one
            return False
        return True

    modes: dict[str, Literal["r", "w"]] = {"write": "w", "read": "r"}
    missing = [
        f"{verb} {name}"
        for name, verb in (
            ("libx264", "write"),
            ("mjpeg", "write"),
            ("h264", "read"),
            ("mjpeg", "read"),
            ("mpeg4", "read"),
            ("gif", "read"),
        )
        if not has(name, modes[verb])
    ]
    detail = f"PyAV {av.__version__}: " + (
        f"can't {', '.join(missing)}" if missing else "reads and writes H.264 and Motion JPEG"
    )
    return [
        Check(
            "video codecs",
            not missing,
            detail,
            "pip install --force-reinstall --only-binary :all: av" if missing else "",
        )
    ]


def check_search() -> list[Check]:
    """The network that finds words over a sector, tried on an empty picture; without it no clip is put out."""
    import numpy as np

    from echokdm.core.errors import SearchError
    from echokdm.deid.words import find_words

    try:
        everywhere = np.ones((64, 64), bool)
        find_words(np.zeros((2, 64, 64), np.uint8), everywhere, everywhere, [], np.zeros((64, 64), np.uint8))
    except SearchError:
        return [Check("search for print", False, "the text detector of rapidocr is missing or does not run", REINSTALL)]
    return [Check("search for print", True, "the text detector of rapidocr runs on ONNX Runtime")]


def check_backbones() -> list[Check]:
    """ImageNet weights for LPIPS and for features: needed to score by them, neither to train nor to make a clip."""
    from echokdm.losses.perceptual import BACKBONES, WEIGHTS, find_backbone, missing_backbone

    def check(net: str) -> Check:
        name = f"LPIPS-{net}" if net in BACKBONES else f"features-{net}"
        if missing := missing_backbone(net):
            return Check(name, False, "weights not found", missing, required=False)
        return Check(name, True, find_backbone(net).name, required=False)

    return [check(net) for net in WEIGHTS]


def check_landmarks() -> list[Check]:
    """dlib and the predictor of 68 landmarks: needed to find faces in photos that come without key-points."""
    from echokdm.data.face_finder import INSTALL, predictor_file

    if predictor_file() is None:
        return [
            Check(
                "faces",
                False,
                "dlib or its predictor of 68 landmarks is not installed",
                f"{INSTALL}, or pass key-points with --source-keypoints",
                required=False,
            )
        ]
    import dlib

    return [
        Check(
            "faces",
            True,
            f"dlib {dlib.__version__} finds 68 landmarks; its predictor (CC0) was taught on 300-W: for research only",
            required=False,
        )
    ]


def describe_bundle(folder: Path) -> Check:
    """A bundle is a folder with model_index.json and, for each component it names, a folder of that name with
    safetensors."""
    name, damaged = f"bundle {folder.name}", "take the folder anew from the release"
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        components = [
            key
            for key, value in index.items()
            if isinstance(value, list) and len(value) == 2 and value[1] and not str(value[1]).endswith("Scheduler")
        ]
    except (OSError, ValueError, AttributeError):
        return Check(name, False, "model_index.json is missing or damaged", damaged)
    from echokdm.core.errors import EchoKDMError
    from echokdm.methods.bundle import SHARES, bundle_licence, component_folders

    try:
        where = component_folders(folder)
    except EchoKDMError as error:
        return Check(name, False, str(error), damaged)
    empty = [key for key in components if key not in where or not list(where[key].glob("*.safetensors"))]
    if empty:
        return Check(name, False, f"no weights for {', '.join(empty)}", damaged)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    shared = f", shares the rest with {index[SHARES]}" if SHARES in index else ""
    return Check(
        name, True, f"{len(components)} networks, {size / 1e6:.1f} MB{shared}; licence {bundle_licence(folder)}"
    )


def check_bundles(root: Path = BUNDLES) -> list[Check]:
    """The trained bundles that come with the package."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    bundles = [describe_bundle(folder) for folder in folders if not folder.name.startswith(("_", "."))]
    return bundles or [Check("bundles", False, "none comes with this install", f"{REINSTALL}, or pass --bundle FOLDER")]


GROUPS: dict[str, Callable[[], list[Check]]] = {
    "Python": check_python,
    "torch": check_torch,
    "torchvision": check_torchvision,
    "DICOM decoders": check_dicom,
    "video codecs": check_video,
    "search for print": check_search,
    "backbones": check_backbones,
    "faces": check_landmarks,
    "bundles": check_bundles,
}


def run_checks() -> list[Check]:
    """All findings, in reading order. A check that fails itself becomes a finding; nothing is raised."""
    found: list[Check] = []
    for name, group in GROUPS.items():
        try:
            found += group()
        except Exception as error:  # the doctor must outlive the fault that it is there to name
            reason = re.sub(r"\s+", " ", str(error))[:120]
            found.append(Check(name, False, f"{type(error).__name__}: {reason}", REINSTALL))
    return found


def main() -> int:
    """Print the findings as a table. Returns the exit code: 0, or 1 where something that every clip needs does not
    work."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    checks = run_checks()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[red]fault[/]" if check.required else "[yellow]missing[/]"
        table.add_row(
            mark, escape(check.name), escape(check.detail) + (f"\n[dim]{escape(check.mend)}[/]" if check.mend else "")
        )
    console = Console()
    console.print(table)
    faults = [check.name for check in checks if check.required and not check.ok]
    console.print(
        f"\n{'Everything that a clip needs works.' if not faults else 'To be mended: ' + ', '.join(faults) + '.'}"
    )
    return 1 if faults else 0
