"""Frames a second of the A4C phantom: `python benchmarks/phantom_speed.py --patients 32 --frames 4 --size 112`.

Counts everything that a new patient costs: drawing heart, sector and scatterers as well as its frames.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from echokdm.phantom.a4c import A4CPhantom


def seconds(seeds: list[int], frames: int, size: int) -> float:
    """Wall time of `frames` frames of each of these patients."""
    start = time.perf_counter()
    phantom = A4CPhantom(seeds, size)
    phantom.frames(torch.arange(frames)[None].expand(len(seeds), -1) / frames)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=32)
    parser.add_argument("--frames", type=int, default=8, help="frames a patient")
    parser.add_argument("--batch", type=int, default=8, help="patients at a time")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=2, help="threads, one a core")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seconds([0], 1, args.size)
    batches = [list(range(i, min(i + args.batch, args.patients))) for i in range(0, args.patients, args.batch)]
    start = time.perf_counter()
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(lambda seeds: seconds(seeds, args.frames, args.size), batches))
    wall = time.perf_counter() - start
    count = args.patients * args.frames
    print(
        f"{count} frames of {args.patients} patients, {args.size} px, {args.workers} threads: {wall:.1f} s, {count / wall:.1f} frames/s"
    )
    phantom = A4CPhantom(batches[0], args.size)
    start = time.perf_counter()
    phantom.flow(phantom.end_systole, torch.zeros(len(batches[0])))
    print(f"exact flow: {(time.perf_counter() - start) / len(batches[0]) * 1000:.0f} ms a pair")


if __name__ == "__main__":
    main()
