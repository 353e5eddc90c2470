"""The MONAI bundle runs by MONAI's own interface, and finds what the segmenter finds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from echokdm.core.errors import BundleError, OutputError
from echokdm.export import write_monai_bundle
from echokdm.methods.bundle import find_bundle
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.networks.segmenter import as_seen
from echokdm.phantom.a4c import A4CPhantom

RUN = """
import sys
from monai.bundle import run, verify_net_in_out
files = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}
verify_net_in_out("network_def", device="cpu", **files)
for size in ("112", "224"):
    run(bundle_root=".", dataset_dir=size, output_dir=f"found-{size}", **files)
assert not [name for name in sys.modules if name.startswith("echokdm")]
"""


def test_monai_finds_the_same_chambers(tmp_path: Path) -> None:
    """Frames of the size that the segmenter sees, and larger ones, which MONAI makes smaller a little otherwise."""
    home = tmp_path / "bundle"
    write_monai_bundle("a4c", home)
    wanted, segmenter = {}, KDMPipeline.from_pretrained("a4c").segmenter
    for size in (112, 224):
        phantom = A4CPhantom([8_300_000], size=size)
        frames = (phantom.frames(torch.tensor([[0.0, 0.35]]))[0, :, 0] * 255).round().to(torch.uint8)
        (home / str(size) / "frames").mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame.numpy()).save(home / str(size) / "frames" / f"{number}.png")
        Image.fromarray(phantom.sector[0].numpy().astype(np.uint8) * 255).save(home / str(size) / "sector.png")
        seen, inside = as_seen(frames.float()[:, None] / 255, phantom.sector[None].float())
        with torch.no_grad():
            wanted[size] = segmenter(seen, inside.expand(len(seen), -1, -1, -1)).argmax(1).numpy()
    done = subprocess.run([sys.executable, "-c", RUN], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for size, most in ((112, 1e-4), (224, 0.01)):
        found = np.stack(
            [np.asarray(Image.open(home / f"found-{size}" / f"{number}_label.png")) for number in range(2)]
        )
        assert found.shape == (2, 112, 112) and (found == 1).sum() > 500 and (found != wanted[size]).mean() <= most


def test_it_tells_its_licence_and_form(tmp_path: Path) -> None:
    write_monai_bundle("a4c", tmp_path / "bundle")
    files = {
        path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    }
    assert files == {
        "LICENSE",
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.safetensors",
    }
    told = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    assert (
        "CC BY-NC-SA 4.0" in told["copyright"]
        and told["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] == "LV"
    )
    assert "CC BY-NC-SA 4.0" in (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert (tmp_path / "bundle" / "LICENSE").read_bytes() == (find_bundle("a4c") / "LICENSE").read_bytes()
    with pytest.raises(BundleError, match="has no segmenter"):
        write_monai_bundle("perceptual", tmp_path / "none")
    with pytest.raises(OutputError, match="exists already"):
        write_monai_bundle("a4c", tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
