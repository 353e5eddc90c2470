"""Index a data set of 100,000 rows without loading a frame.

    python benchmarks/adapters.py [--rows 100000]

A folder in EchoNet-Dynamic's layout is made for the occasion: empty video files, so that loading one would fail, a file
list and two traced frames of an axis and 20 chords for every video (4.2 million lines). The same number of entries then
goes through the motion-transfer layout and the pose pairs. Bar: 10 s each.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bars import Bars, machine

from echokdm.data.adapters import find_adapter

BAR = 10.0  # seconds


def make_echonet(root: Path, rows: int) -> None:
    """FileList.csv, VolumeTracings.csv and empty videos."""
    names = [f"0X{i:016X}" for i in range(rows)]
    (root / "Videos").mkdir(parents=True)
    for name in names:
        (root / "Videos" / f"{name}.avi").touch()
    splits = ("TRAIN", "TRAIN", "VAL", "TEST")
    with (root / "FileList.csv").open("w") as file:
        file.write("FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n")
        file.writelines(f"{name},55.5,40.1,90.2,112,112,50,150,{splits[i % 4]}\n" for i, name in enumerate(names))
    rng = np.random.default_rng(0)
    lines = [",".join(f"{value:.6f}" for value in row) for row in rng.uniform(20, 90, (21, 4))]
    with (root / "VolumeTracings.csv").open("w") as file:
        file.write("FileName,X1,Y1,X2,Y2,Frame\n")
        for name in names:
            file.writelines(f"{name}.avi,{line},{frame}\n" for frame in (46, 61) for line in lines)


def make_motion(root: Path, rows: int) -> None:
    """train/ and test/ of empty videos."""
    for split, count in (("train", rows - rows // 10), ("test", rows // 10)):
        (root / split).mkdir(parents=True)
        for i in range(count):
            (root / split / f"{split}{i // 20:05d}#clip#{i:06d}.mp4").touch()


def make_pairs(root: Path, rows: int) -> None:
    """Pairs among a fifth as many pictures, nine in ten of them for training."""
    for split, count in (("train", rows - rows // 10), ("test", rows // 10)):
        (root / split).mkdir(parents=True)
        pictures = [f"fashionWOMENDressesid{split}{i // 5:08d}01_{i % 5}front.jpg" for i in range(max(count // 5, 5))]
        joints = ", ".join("100" for _ in range(18))
        for picture in pictures:
            (root / split / picture).touch()
        with (root / f"fasion-annotation-{split}.csv").open("w") as file:
            file.write("name:keypoints_y:keypoints_x\n")
            file.writelines(f"{picture}:[{joints}]:[{joints}]\n" for picture in pictures)
        with (root / f"fasion-pairs-{split}.csv").open("w") as file:
            file.write("from,to\n")
            # Each picture is paired with all five of its person.
            for i in range(count):
                one, step = i % len(pictures), i // len(pictures)
                file.write(f"{pictures[one]},{pictures[one - one % 5 + (one + step) % 5]}\n")


def main() -> int:
    """Make, index, print the verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=100_000)
    rows = options.parse_args().rows
    print(machine())
    bars = Bars()
    makers: dict[str, Callable[[Path, int], None]] = {
        "echonet-dynamic": make_echonet,
        "voxceleb": make_motion,
        "deepfashion": make_pairs,
    }
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "data", rows)
            adapter = find_adapter(name)
            start = time.perf_counter()
            index = adapter.index(Path(folder) / "data")
            seconds = time.perf_counter() - start
        bars.at_most(f"{name}: seconds for {len(index)} rows", seconds, BAR, 2)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
