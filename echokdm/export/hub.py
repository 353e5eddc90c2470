"""A bundle as a folder for a model hub, in Hugging Face's layout: model card, licence, configuration, safetensors.
Nothing is uploaded."""

import json
import os
import shutil
from pathlib import Path

from echokdm.io.atomic import atomic_folder
from echokdm.methods.bundle import CONFIG, SHARES, bundle_licence, component_folders, find_bundle, pipeline_settings
from echokdm.methods.kdm.card import licensed_card

CARD, LEGAL = "README.md", "LICENSE"

_FOLDER = """
**This folder** holds all networks that the bundle uses, those too that it shares with others: {parts}. Load it by its path, with
`echokdm.KDMPipeline.from_pretrained(FOLDER)`; the networks are as `echokdm` {version} has them.
"""


def write_hub_folder(bundle: str | Path, out: str | os.PathLike[str]) -> list[str]:
    """Write a bundle of whatever method to the new folder `out`, complete in itself; returns the names of its
    components.

    The card's header is as a hub reads it (https://huggingface.co/docs/hub/model-cards), with the licence of the
    weights. Raises BundleError where there is no such bundle, OutputError where `out` exists or can't be written.
    """
    folder = find_bundle(bundle)
    parts = component_folders(folder)
    index = {key: value for key, value in pipeline_settings(folder).items() if key != SHARES}
    named = [name for name, value in index.items() if name in parts and isinstance(value, list)]
    with atomic_folder(Path(out), "export") as made:
        (made / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name in named:
            shutil.copytree(parts[name], made / name)
        for name in (CONFIG, LEGAL):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
        (made / CARD).write_text(
            bundle_card(folder) + _FOLDER.format(parts=", ".join(named), version=_version()), encoding="utf-8"
        )
    return named


def bundle_card(folder: Path) -> str:
    """A bundle's model card, with its licence in the header; that alone and the name where it has no card."""
    card = folder / CARD
    return licensed_card(
        card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}\n", bundle_licence(folder)
    )


def _version() -> str:
    from echokdm import __version__

    return __version__
