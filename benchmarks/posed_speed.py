"""Frames a second of the face, body and object phantoms on one core: `python benchmarks/posed_speed.py --identities 8
--size 64`."""

import argparse
import time

import torch

from echokdm.phantom.body import BodyPhantom
from echokdm.phantom.face import FacePhantom
from echokdm.phantom.views import ViewsPhantom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=8)
    parser.add_argument("--frames", type=int, default=16, help="frames an identity")
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    phases = (torch.arange(args.frames) / args.frames)[None].expand(args.identities, -1)
    for kind in (FacePhantom, BodyPhantom, ViewsPhantom):
        kind([0], args.size).frames(phases[:1, :1])
        times = [time.perf_counter()]
        phantom = kind(range(args.identities), args.size)
        times.append(time.perf_counter())
        phantom.frames(phases)
        times.append(time.perf_counter())
        phantom.flow(phases[:, 0], phases[:, -1])
        phantom.visible(phases[:, 0], phases[:, -1])
        times.append(time.perf_counter())
        drawn, shown, moved = (b - a for a, b in zip(times, times[1:], strict=False))
        print(
            f"{kind.__name__}: {drawn / args.identities * 1000:.0f} ms an identity, {args.identities * args.frames / shown:.0f} frames/s "
            f"at {args.size} px, flow and visibility {moved / args.identities * 1000:.1f} ms a pair"
        )


if __name__ == "__main__":
    main()
