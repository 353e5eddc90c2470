"""Where trained bundles are, and their fingerprint."""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from echokdm.core import defaults
from echokdm.core.errors import BundleError

SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
CONFIG = "config.yaml"
SHARES, LICENCE = "_shares", "_licence"  # entries of a model_index.json that diffusers does not know


def shipped_bundles() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/model_index.json"))


def find_bundle(name_or_folder: str | Path) -> Path:
    """The folder of a bundle given by its shipped name or its own path. Raises BundleError, naming the nearest, where none is."""
    folder = Path(name_or_folder)
    if (folder / "model_index.json").is_file():
        return folder
    names = shipped_bundles()
    if str(name_or_folder) in names:
        return SHIPPED / str(name_or_folder)
    near = difflib.get_close_matches(str(name_or_folder), names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"shipped: {', '.join(names) or 'none'}; or give a folder with a model_index.json."
    raise BundleError(f"There is no bundle '{Path(name_or_folder).name}': {hint}")


def component_folders(folder: Path) -> dict[str, Path]:
    """Component -> its folder: the bundle's own or, of what it lacks, that of the bundle which its index says it shares with (`_shares`).

    So what two shipped bundles have in common is stored once. Raises BundleError where the index is damaged or the other is missing.
    """
    own = {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}
    shared = pipeline_settings(folder).get(SHARES) if (folder / "model_index.json").is_file() else None
    if shared is None:
        return own
    beside = folder.parent / str(shared)
    return component_folders(beside if beside.is_dir() else find_bundle(str(shared))) | own


def bundle_hash(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 over all weights and configurations, in name order."""
    digest = hashlib.sha256((folder / "model_index.json").read_bytes() if (folder / "model_index.json").is_file() else b"")
    for name, part in sorted(component_folders(folder).items()):
        for file in sorted(part.rglob("*")):
            if file.suffix in (".safetensors", ".json"):
                digest.update(f"{name}/{file.relative_to(part).as_posix()}".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def bundle_licence(folder: Path) -> str:
    """Under what the weights may be used, in a line: the code's licence unless the index says otherwise (`_licence`)."""
    return str(pipeline_settings(folder).get(LICENCE, "MIT"))


def pipeline_settings(folder: Path) -> dict[str, Any]:
    """A bundle's index: `_class_name` of its pipeline, its components and plain settings. Raises BundleError where it is damaged."""
    try:
        settings = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        return settings | {"_class_name": str(settings["_class_name"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"The bundle '{folder.name}' is damaged ({type(error).__name__}); install or train it again.") from error


def frame_size(name_or_folder: str | Path) -> int:
    """px a side of the frames that a bundle draws. Raises BundleError where there is none or it is damaged."""
    return int(pipeline_settings(find_bundle(name_or_folder)).get("size", defaults.FRAME_SIZE))


def set_confidence(folder: Path, weights: dict[str, float] | None) -> None:
    """Write into a bundle's index what `ops.confidence.Calibration` takes; None where the segmenter is another now and nothing is known."""
    index = pipeline_settings(folder)
    index.pop("confidence", None)
    if weights is not None:
        index["confidence"] = weights
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def bundle_config(folder: Path) -> dict[str, Any]:
    """What a bundle was trained by, as its `config.yaml` tells. Raises BundleError where it has none."""
    try:
        values = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        values = None
    if not isinstance(values, dict):
        raise BundleError(f"The bundle '{folder.name}' has no {CONFIG}, which tells what it was trained by; train it again.")
    return values
