"""Where trained bundles are, and their fingerprint."""

import difflib
import hashlib
from pathlib import Path

from echokdm.core.errors import BundleError

SHIPPED = Path(__file__).resolve().parents[2] / "bundles"
DEFAULT_BUNDLE = "a4c-phantom"


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


def bundle_hash(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 over all weights and configurations, in name order."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".safetensors", ".json"):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
