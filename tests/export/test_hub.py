"""A folder for a model hub is complete in itself, and its card tells the licence."""

from pathlib import Path

import pytest
import torch
import yaml

from echokdm.export import write_hub_folder
from echokdm.methods.bundle import component_folders, find_bundle
from echokdm.methods.kdm.card import licensed_card
from echokdm.methods.kdm.pipeline import KDMPipeline


@pytest.mark.parametrize(
    ("bundle", "licence"), [("a4c", "cc-by-nc-sa-4.0"), ("a4c-phantom", "mit"), ("perceptual", "mit")]
)
def test_it_is_complete_and_licensed(bundle: str, licence: str, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    parts = write_hub_folder(bundle, folder)
    header = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert header["license"] == licence and header["library_name"] == "diffusers"
    assert set(parts) == set(component_folders(find_bundle(bundle))) and all((folder / name).is_dir() for name in parts)
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl")]
    assert all(list((folder / name).glob("*.safetensors")) for name in parts if name != "scheduler")
    assert (folder / "LICENSE").exists() == (bundle == "a4c")


def test_it_loads_as_the_bundle_does(tmp_path: Path) -> None:
    write_hub_folder("a4c", tmp_path / "hub")
    theirs, ours = KDMPipeline.from_pretrained(tmp_path / "hub"), KDMPipeline.from_pretrained("a4c")
    assert theirs.licence == ours.licence and theirs.calibration is not None
    for name, network in ours.components.items():
        if isinstance(network, torch.nn.Module):
            assert all(
                torch.equal(a, b)
                for a, b in zip(
                    network.state_dict().values(), theirs.components[name].state_dict().values(), strict=True
                )
            )


@pytest.mark.parametrize(
    ("text", "licence", "wanted"),
    [
        ("# a\n", "MIT", "---\nlicense: mit\n---\n# a\n"),
        ("---\ntags: [x]\nlicense: other\n---\n# a\n", "MIT", "---\ntags: [x]\nlicense: mit\n---\n# a\n"),
        ("# a\n", "whatever its owner says", "---\nlicense: other\n---\n# a\n"),
    ],
)
def test_the_header_names_the_licence(text: str, licence: str, wanted: str) -> None:
    assert licensed_card(text, licence) == wanted
