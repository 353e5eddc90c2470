"""Where trained bundles are, and their fingerprint."""

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from echokdm.core import defaults
from echokdm.core.config import read_values
from echokdm.core.errors import BundleError, ConfigError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.small_json import read_json

SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
CONFIG = "config.yaml"
_SHARER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")  # a bundle beside this one, or a shipped one: never a path
_MOST_SHARERS = 4
# px a side of a bundle's frames; configurations have 64 to 224, and a damaged number would fill the memory
SMALLEST, LARGEST = 8, 1024
SHARES, LICENCE = "_shares", "_licence"  # entries of a model_index.json that diffusers does not know


def shipped_bundles() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/model_index.json"))


def find_bundle(name_or_folder: str | Path) -> Path:
    """The folder of a bundle given by its shipped name or its own path. Raises BundleError, naming the nearest, where
    none is."""
    folder = check_plain(name_or_folder, BundleError)
    if (folder / "model_index.json").is_file():
        return folder
    names = shipped_bundles()
    if str(name_or_folder) in names:
        return SHIPPED / str(name_or_folder)
    near = difflib.get_close_matches(str(name_or_folder), names, 1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else (
            f"train it first, so that its folder holds a model_index.json, or take one that is "
            f"shipped: {', '.join(names) or 'none'}."
        )
    )
    raise BundleError(f"There is no bundle '{name_or_folder}': {hint}")


def component_folders(folder: Path, deep: int = 0) -> dict[str, Path]:
    """Component -> its folder: the bundle's own or, of what it lacks, that of the bundle which its index says it shares
    with (`_shares`).

    So what two shipped bundles have in common is stored once. deep: how many bundles led here. Raises BundleError where
    the index is damaged or the other is missing.
    """
    own = {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}
    shared = pipeline_settings(folder).get(SHARES) if (folder / "model_index.json").is_file() else None
    if shared is None:
        return own
    if not _SHARER.fullmatch(str(shared)) or deep > _MOST_SHARERS:
        raise BundleError(
            f"The bundle '{folder.name}' shares with others in a way that leads nowhere; install or train it again."
        )
    beside = folder.parent / str(shared)
    return component_folders(beside if beside.is_dir() else find_bundle(str(shared)), deep + 1) | own


def bundle_hash(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 over every file that may be read: index, configuration, all of each component,
    in name order.

    Raises BundleError where one can't be read.
    """
    files = {name: folder / name for name in ("model_index.json", CONFIG) if (folder / name).exists()}
    for name, part in component_folders(folder).items():
        files |= {f"{name}/{file.relative_to(part).as_posix()}": file for file in part.rglob("*") if not file.is_dir()}
    digest = hashlib.sha256()
    with one_sentence(f"A file of the bundle '{folder.name}' can't be read: check its permissions.", BundleError):
        for name, file in sorted(files.items()):
            content = hashlib.sha256(check_plain(file, BundleError).read_bytes()).digest()
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
    return digest.hexdigest()[:16]


def bundle_licence(folder: Path) -> str:
    """Under what the weights may be used, in a line: the code's licence unless the index says otherwise
    (`_licence`)."""
    return str(pipeline_settings(folder).get(LICENCE, "MIT"))


def pipeline_settings(folder: Path) -> dict[str, Any]:
    """A bundle's index: `_class_name` of its pipeline, its components and plain settings. Raises BundleError where it
    is damaged."""
    settings = read_json(folder / "model_index.json")
    if not isinstance(settings.get("_class_name"), str):
        raise BundleError(
            f"The bundle '{folder.name}' is damaged: its index names no pipeline; install or train it again."
        )
    return settings


def frame_size(name_or_folder: str | Path) -> int:
    """px a side of the frames that a bundle draws. Raises BundleError where there is none or it is damaged."""
    folder = find_bundle(name_or_folder)
    size = pipeline_settings(folder).get("size", defaults.FRAME_SIZE)
    if not is_frame_size(size):
        raise BundleError(
            f"The bundle '{folder.name}' is damaged: its frames have no size that can be; install or train it again."
        )
    return size


def is_frame_size(size: Any) -> bool:
    """Whether a bundle's frames may be of `size` px a side."""
    return isinstance(size, int) and SMALLEST <= size <= LARGEST


def set_confidence(folder: Path, weights: dict[str, float] | None) -> None:
    """Write into a bundle's index what `ops.confidence.Calibration` takes; None where the segmenter is another now and
    nothing is known."""
    index = pipeline_settings(folder)
    index.pop("confidence", None)
    if weights is not None:
        index["confidence"] = weights
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def bundle_config(folder: Path) -> dict[str, Any]:
    """What a bundle was trained by, as its `config.yaml` tells. Raises BundleError where it has none."""
    try:
        return read_values(folder / CONFIG)
    except ConfigError:
        raise BundleError(
            f"The bundle '{folder.name}' has no {CONFIG}, which tells what it was trained by; train it again."
        ) from None
