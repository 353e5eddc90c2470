"""A start for colour pictures: the codecs of the bundle a4c-phantom, that of gray pictures made one of colours, into a
folder of a bundle.

    python benchmarks/gray_to_colour.py runs/start

The first convolution sees the mean of the colours, and the last gives every colour the same, so that gray pictures pass
as before.
"""

import argparse
import shutil
from pathlib import Path

from echokdm.methods.bundle import find_bundle
from echokdm.methods.kdm.method import load
from echokdm.methods.train import save_component
from echokdm.networks.codec import VQModel, build_codec

COLOURS = 3


def in_colours(gray: VQModel) -> VQModel:
    """A codec of one channel -> of three, of the same latents for gray pictures."""
    form = gray.config
    codec = build_codec(
        COLOURS, form.block_out_channels, form.latent_channels, form.num_vq_embeddings, form.layers_per_block
    )
    weights = gray.state_dict()
    weights["encoder.conv_in.weight"] = weights["encoder.conv_in.weight"].expand(-1, COLOURS, -1, -1) / COLOURS
    for part in ("weight", "bias"):
        name = f"decoder.conv_out.{part}"
        weights[name] = weights[name].expand(COLOURS, *weights[name].shape[1:])
    codec.load_state_dict(weights)
    codec.register_to_config(scaling_factor=form.scaling_factor)
    return codec


def main() -> int:
    """Parse the command line and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    given = find_bundle("a4c-phantom")
    save_component(in_colours(load(given, "image_codec")), folder / "image_codec")
    shutil.copytree(given / "flow_codec", folder / "flow_codec")
    shutil.copy(given / "model_index.json", folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
