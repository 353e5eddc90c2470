"""The segmenter as a MONAI bundle, which `monai.bundle` runs without echokdm
(https://docs.monai.io/en/stable/mb_specification.html)."""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from echokdm.core.errors import BundleError
from echokdm.export.hub import CARD, LEGAL, bundle_card
from echokdm.io.atomic import atomic_folder
from echokdm.methods.bundle import bundle_licence, component_folders, find_bundle, pipeline_settings
from echokdm.networks.segmenter import CLASSES, FINDS_AT, Segmenter

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"

_USE = """# {name}'s segmenter, as a MONAI bundle

Chambers of the heart in apical-four-chamber frames, each frame by itself: {classes}. The masks that `echokdm keypoints` writes take
further steps from here, among them averaging with the mirror image and a mitral plane that is smooth in time.

Put gray frames as `frames/*.png` and their sector, white inside, as `sector.png` into one folder: squares around the sector, which are
brought to {size} x {size} px, and black outside it. Label maps are written to `eval/`, as PNG whose values are the classes' numbers.

```python
from monai.bundle import run

run(config_file="configs/inference.json", meta_file="configs/metadata.json", bundle_root=".", dataset_dir="FOLDER")
```

**Licence of the weights.** {licence}

Research only; not for diagnosis. What follows is the card of the bundle that the segmenter was taken from.

"""


def write_monai_bundle(bundle: str | Path, out: str | os.PathLike[str]) -> None:
    """Write configs/, models/model.safetensors and docs/README.md to the new folder `out`.

    Raises BundleError where there is no such bundle or it has no segmenter, OutputError where `out` exists or can't be
    written.
    """
    from safetensors.torch import save_file

    from echokdm.core.weights import load_network

    folder = find_bundle(bundle)
    parts = component_folders(folder)
    if "segmenter" not in parts or "segmenter" not in pipeline_settings(folder):
        raise BundleError(
            f"The bundle '{folder.name}' has no segmenter, which is what a MONAI bundle is made of: name one of hearts."
        )
    segmenter = load_network(Segmenter, parts["segmenter"])
    licence = bundle_licence(folder)
    with atomic_folder(Path(out), "export") as made:
        for name in ("configs", "docs", "models"):
            (made / name).mkdir()
        for name, content in (
            ("metadata", _metadata(folder.name, licence, len(CLASSES))),
            ("inference", _inference(segmenter)),
        ):
            (made / "configs" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        save_file(
            {name: value.contiguous() for name, value in segmenter.unet.state_dict().items()},
            made / "models" / "model.safetensors",
        )
        told = ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES))
        text = _USE.format(name=folder.name, classes=told, size=FINDS_AT, licence=licence)
        _, _, card = bundle_card(folder).rpartition("\n---\n")
        (made / "docs" / CARD).write_text(text + card.lstrip().replace("# ", "## ", 1), encoding="utf-8")
        if (folder / LEGAL).is_file():
            shutil.copyfile(folder / LEGAL, made / LEGAL)


def _inference(segmenter: Segmenter) -> dict[str, Any]:
    """Frames to label maps, as `networks.segmenter` does: `standardise` is its `standardised`. MONAI's PNGs lie on
    their sides, (W, H)."""
    both = ["image", "sector"]

    def step(name: str, keys: list[str], **options: Any) -> dict[str, Any]:
        return {"_target_": name, "keys": keys, **options}

    return {
        "imports": [
            "$import glob",
            "$import os",
            "$import monai",
            "$import numpy",
            "$import torch",
            "$from safetensors.torch import load_file",
        ],
        "bundle_root": ".",
        "dataset_dir": "$os.path.join(@bundle_root, 'data')",
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "sector": "$os.path.join(@dataset_dir, 'sector.png')",
        "datalist": "$[{'image': frame, 'sector': @sector} for frame in sorted(glob.glob(os.path.join(@dataset_dir, 'frames', '*.png')))]",
        "mean": "$lambda values, inside: (values * inside).sum() / inside.sum().clamp(min=1)",
        "centre": "$lambda image, inside: image - @mean(image, inside)",
        "spread": "$lambda image, inside: @mean(image.square(), inside).sqrt().clamp(min=1e-3)",
        "scaled": "$lambda image, inside: torch.cat([image / @spread(image, inside) * inside, inside])",
        "standardise": "$lambda item: {**item, 'image': @scaled(@centre(item['image'], item['sector']), item['sector'])}",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                step("LoadImaged", both, reader="PILReader"),
                step("EnsureChannelFirstd", both, channel_dim="no_channel"),
                step("Transposed", both, indices=[0, 2, 1]),
                step("ScaleIntensityRanged", both, a_min=0, a_max=255, b_min=0, b_max=1),
                step("Resized", both, spatial_size=[FINDS_AT, FINDS_AT], mode=["area", "nearest"]),
                step("AsDiscreted", ["sector"], threshold=0.5),
                "@standardise",
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 8, "num_workers": 0},
        "network_def": {
            "_target_": "BasicUNet",
            "spatial_dims": 2,
            "in_channels": 2,
            "out_channels": segmenter.config.classes,
            "features": list(segmenter.config.features),
            "norm": ["instance", {"affine": True}],
            "act": ["LeakyReLU", {"negative_slope": 0.1, "inplace": True}],
            "upsample": "nontrainable",
        },
        "weights": "$load_file(os.path.join(@bundle_root, 'models', 'model.safetensors'))",
        "network": "$@network_def.to(@device)",
        "inferer": {"_target_": "SimpleInferer"},
        "predict": "$torch.no_grad()(lambda batch: {**batch, 'label': @inferer(batch['image'].to(@device), @network)})",
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                step("AsDiscreted", ["label"], argmax=True),
                step("Transposed", ["label"], indices=[0, 2, 1]),
                step(
                    "SaveImaged",
                    ["label"],
                    output_dir="@output_dir",
                    output_ext=".png",
                    output_postfix="label",
                    output_dtype="$numpy.uint8",
                    resample=False,
                    separate_folder=False,
                    print_log=False,
                ),
            ],
        },
        "initialize": ["$@network_def.load_state_dict(@weights)", "$@network.eval()"],
        "run": [
            "$[@postprocessing(item) for batch in @dataloader for item in monai.data.decollate_batch(@predict(batch))]"
        ],
    }


def _metadata(name: str, licence: str, classes: int) -> dict[str, Any]:
    """What MONAI's specification asks for (metadata.json)."""
    size = [FINDS_AT, FINDS_AT]
    chambers = {str(number): chamber for number, chamber in enumerate(CLASSES)}
    return {
        "schema": SCHEMA,
        "version": version("echokdm"),
        "changelog": {version("echokdm"): f"exported from the bundle {name}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {package: version(package) for package in ("pillow", "safetensors")},
        "name": f"Echocardiography segmenter {name}",
        "task": "Cardiac chambers in apical-four-chamber echocardiography",
        "description": "Class logits of each gray frame, from its brightness standardised inside the sector, and the sector.",
        "authors": "echokdm developers",
        "copyright": f"Licence of the weights: {licence}",
        "intended_use": "Research only; not for diagnosis.",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "US",
                    "num_channels": 2,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {"0": "brightness, standardised inside the sector", "1": "the sector"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": classes,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": chambers,
                }
            },
        },
    }
