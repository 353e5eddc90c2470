"""Every configuration of configs/ trains as it stands, but for its counts, and gives a bundle that its method reads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from echokdm.methods.base import find_method
from echokdm.methods.train import read_config, train_config

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))

# Sized for a GPU: one step of these widths and codes takes minutes of a CPU core. All else stays as it is, 224 px and
# depths too.
NARROW = {
    "kdm-a4c-224": [
        f"{stage}.block_out_channels={widths}"
        for stage, widths in (
            ("image_codec", [8, 8, 16]),
            ("flow_codec", [8, 8, 16]),
            ("k2f", [8, 32, 32]),
            ("f2i", [8, 32, 32]),
            ("k2i", [8, 32, 32]),
        )
    ]
    + [
        "image_codec.codes=64",
        "flow_codec.codes=64",
        "of_net.pyramid=[8, 8, 8, 16, 16, 16]",
        "of_net.estimator=[16, 16, 16, 8, 8]",
        "of_net.context=[16, 16, 16, 16, 8, 8]",
    ]
}
# The bundles that these go on from, as their heads say.
STARTS = {"kdm-a4c-camus": "a4c-phantom", "kdm-a4c-224-from-112": "a4c-phantom", "kdm-body-128": "face"}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_configuration_trains_into_a_bundle(
    file: Path, few: Callable[..., list[str]], camus: Callable[..., None], tmp_path: Path
) -> None:
    given, overrides = STARTS.get(file.stem), NARROW.get(file.stem, []) + few(file)
    if file.stem == "kdm-a4c-camus":  # as its head says
        for number in range(1, 7):  # some to teach either network, the others to choose by and held back
            camus(tmp_path / "CAMUS", f"patient{number:04d}", 2, es=2)
        root = f"camus:{tmp_path / 'CAMUS'}"
        overrides = [*overrides, f"segmenter.outlined={root}", f"judge.outlined={root}"]
    bundle = train_config(file, from_bundle=given, out=tmp_path / "run", overrides=overrides)
    config = read_config(file, overrides)
    method = find_method(config.method)
    trained = {name for name in method.stages(config) if getattr(config, name).steps}
    records = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "run").glob("*/done.json")}
    assert trained == set(records) and all(record["steps"] == 1 for record in records.values())
    assert all(torch.tensor(list(record["figures"].values())).isfinite().all() for record in records.values())
    networks = [
        part
        for part in method.pipeline.from_pretrained(bundle).components.values()
        if isinstance(part, torch.nn.Module)
    ]
    assert networks and all(value.isfinite().all() for network in networks for value in network.state_dict().values())
    assert config.name in (bundle / "README.md").read_text()
