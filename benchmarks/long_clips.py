"""Memory of `echokdm keypoints` and `echokdm synth --ef 40` on long clips: a phantom's beat, over and over, each time
in other noise.

    python benchmarks/long_clips.py [--frames 500,2000] [--kind mp4|dicom] [--bundle B] [--threads 1]

Each of --frames is a clip of so many frames of 640 x 480. Bars: under 2 GB with the most, and no more than 300 MB over
the fewest. Memory is the process's peak; what lies in temporary files, two bytes a pixel, is none. About 0.4 s of one
core a frame.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bars import Bars, begin, parser
from synth_time import measure

HEIGHT, WIDTH, FPS = 480, 640, 30.0
LIMIT, GROWTH = 2.0, 0.3  # GB
NOISE = 0.06  # of the brightness


def pictures(count: int) -> Iterator[np.ndarray]:
    """(480, 640) uint8, one after another: a phantom's beat with noise on it."""
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom([3], size=HEIGHT)
    beat = phantom.clip(FPS)[0].frames[:, 0].numpy() * 255
    sides = (WIDTH - HEIGHT) // 2, WIDTH - HEIGHT - (WIDTH - HEIGHT) // 2
    rng = np.random.default_rng(0)
    for t in range(count):
        noisy = beat[t % len(beat)] * (1 + NOISE * rng.standard_normal((HEIGHT, HEIGHT), np.float32))
        yield np.pad(np.rint(noisy.clip(0, 255)).astype(np.uint8), ((0, 0), sides))


def save(path: Path, count: int) -> Path:
    """A clip of `count` frames, by the package's own writers."""
    import torch

    from echokdm.core.frames import each, gather
    from echokdm.core.types import Clip
    from echokdm.io.dicom_out import Origin, write_dicom
    from echokdm.io.write import write_mp4

    frames = each(gather(pictures(count)), lambda some: torch.from_numpy(some)[:, None] / 255)
    if path.suffix == ".dcm":
        write_dicom(path, Clip(frames, FPS), Origin(""))
    else:
        write_mp4(path, frames, FPS)
    return path


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options: argparse.ArgumentParser = parser(__doc__, 1)
    options.add_argument("--frames", default="500,2000", help="lengths, with commas between; default 500,2000")
    options.add_argument("--kind", choices=("mp4", "dicom"), default="mp4", help="of the clips; default mp4")
    arguments = options.parse_args()
    print(begin(arguments))
    environment = os.environ | ({"OMP_NUM_THREADS": str(arguments.threads)} if arguments.threads else {})
    bundle = Path(arguments.bundle).resolve() if Path(arguments.bundle).exists() else arguments.bundle
    lengths = sorted(int(length) for length in arguments.frames.split(","))
    peaks: dict[str, list[float]] = {"keypoints": [], "synth": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for length in lengths:
            clip = save(folder / f"{length}.{'dcm' if arguments.kind == 'dicom' else 'mp4'}", length)
            for command, found in peaks.items():
                words = [
                    sys.executable,
                    "-m",
                    "echokdm",
                    command,
                    str(clip),
                    "--bundle",
                    str(bundle),
                    "--out",
                    str(folder / command),
                ]
                run = measure(words + (["--ef", "40"] if command == "synth" else []) + ["--overwrite"], environment)
                found.append(run.memory)
                print(f"      {command}, {length} frames: {run.memory:.2f} GB, {run}", flush=True)
    bars = Bars()
    for command, found in peaks.items():
        bars.check(
            f"{command}, {lengths[-1]} frames of {WIDTH} x {HEIGHT}, peak memory",
            found[-1] < LIMIT,
            f"{found[-1]:.2f} GB",
            f"< {LIMIT:g} GB",
        )
        bars.check(
            f"    over {lengths[0]} frames",
            found[-1] - found[0] < GROWTH,
            f"{found[-1] - found[0]:+.2f} GB",
            f"< {GROWTH:g} GB",
        )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
