"""End-point error and speed of the OF-net against scikit-image's TV-L1, on the same held-out phantom pairs, in one run.

python benchmarks/of_net.py BUNDLE_OR_OF_NET_FOLDER [--patients 50] [--threads 2]
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.networks.pwc_lite import PWCLite
from echokdm.phantom.a4c import A4CPhantom


def held_out_pairs(patients: int, size: int) -> dict[str, Tensor]:
    """Of every held-out patient, the ED -> ES pair and one between drawn phases: images, true flow, where it is
    valid."""
    parts: dict[str, list[Tensor]] = {"target": [], "source": [], "flow": [], "valid": [], "heart": []}
    for first in range(0, patients, 8):
        seeds = [HELD_OUT + i for i in range(first, min(first + 8, patients))]
        phantom = A4CPhantom(seeds, size)
        drawn = torch.stack([torch.rand(2, generator=torch.Generator().manual_seed(s)) for s in seeds])
        phases = torch.cat([phantom.end_systole[:, None].cpu(), torch.zeros(len(seeds), 1), drawn], 1)
        frames, labels = phantom.frames(phases), phantom.masks(phases)
        for target, source in ((0, 1), (2, 3)):
            parts["target"].append(frames[:, target])
            parts["source"].append(frames[:, source])
            parts["flow"].append(phantom.flow(phases[:, target], phases[:, source]))
            parts["valid"].append(phantom.valid(phases[:, target], phases[:, source]))
            parts["heart"].append(labels[:, target, None] > 0)
    return {name: torch.cat(values) for name, values in parts.items()}


def tv_l1(target: Tensor, source: Tensor) -> Tensor:
    """TV-L1 flow (1, 2, H, W) of one pair, scikit-image's defaults."""
    from skimage.registration import optical_flow_tvl1

    rows, columns = optical_flow_tvl1(target[0, 0].numpy(), source[0, 0].numpy())
    return torch.from_numpy(np.stack([columns, rows]))[None].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=50)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = arguments.folder / "of_net" if (arguments.folder / "of_net").is_dir() else arguments.folder
    network = PWCLite.from_pretrained(folder).eval().to(memory_format=torch.channels_last)
    pairs = held_out_pairs(arguments.patients, arguments.size)
    count = len(pairs["target"])

    def single(i: int) -> Tensor:
        return network.flow(pairs["target"][i : i + 1], pairs["source"][i : i + 1])

    single(0)
    began = time.perf_counter()
    ours = torch.cat([single(i) for i in range(count)])
    alone = (time.perf_counter() - began) / count
    began = time.perf_counter()
    for i in range(0, count, 16):
        network.flow(pairs["target"][i : i + 16], pairs["source"][i : i + 16])
    batched = (time.perf_counter() - began) / count
    began = time.perf_counter()
    theirs = torch.cat([tv_l1(pairs["target"][i : i + 1], pairs["source"][i : i + 1]) for i in range(count)])
    classical = (time.perf_counter() - began) / count

    print(
        f"{count} pairs of {arguments.patients} held-out phantoms at {arguments.size} px, {arguments.threads} threads; errors in px"
    )
    print(f"{'':12}{'sector':>9}{'heart':>9}{'ms a pair':>11}")
    zero = torch.zeros_like(ours)
    rows = (
        ("zero flow", zero, 0.0),
        ("TV-L1", theirs, classical),
        ("OF-net", ours, alone),
        ("OF-net x 16", ours, batched),
    )
    for name, flow, seconds in rows:
        error = (flow - pairs["flow"]).square().sum(1, keepdim=True).sqrt()
        sector, heart = (error[mask].mean().item() for mask in (pairs["valid"], pairs["valid"] & pairs["heart"]))
        print(f"{name:12}{sector:9.3f}{heart:9.3f}{1000 * seconds:11.1f}")
    print(
        f"TV-L1 takes {classical / alone:.1f} times as long as the OF-net pair by pair, {classical / batched:.1f} times in batches of 16"
    )


if __name__ == "__main__":
    main()
