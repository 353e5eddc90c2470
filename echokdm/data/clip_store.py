"""Cached training pairs of real clips with key-points, in the form that `FlowPairs` draws from."""

from pathlib import Path

import numpy as np
import torch

from echokdm.core.errors import ConfigError
from echokdm.core.naming import called
from echokdm.core.seeding import generator
from echokdm.data.pairs import FRAMES, PAIRS, frame_pairs
from echokdm.data.store import ArrayStore


def clip_files(folder: Path, split: str) -> list[Path]:
    """The Keypoints/*.npz of one split, TRAIN, VAL or TEST, by the folder's FileList.csv. Raises ConfigError where
    there is none."""
    import pandas as pd

    try:
        listed = pd.read_csv(folder / "FileList.csv", dtype={"FileName": str})
        names = listed["FileName"][listed["Split"] == split]
    except (OSError, KeyError, ValueError):
        raise ConfigError(
            f"{called('The folder of clips', folder)} holds no FileList.csv: name what the stage keypoints of a pipeline "
            "wrote."
        ) from None
    files = [folder / "Keypoints" / f"{name}.npz" for name in names]
    if not files or not all(file.exists() for file in files):
        raise ConfigError(
            f"{called('The folder of clips', folder)} has no clips of the split {split} with key-points in every frame: name "
            "what the stage keypoints of a pipeline wrote."
        )
    return files


def clip_store(folder: Path, clips: Path, split: str, size: int) -> ArrayStore:
    """The clips of one split, FRAMES frames each: end-diastole and end-systole by area, then drawn ones, each once;
    images, key-points, sector. Of a clip that has fewer, the last is repeated, and in no pair.

    `pair` holds (target frame, source frame) of PAIRS pairs, `opening` how far each frame's valves are open; no flow,
    which nobody knows. Raises ConfigError: another size, no clip in the split, or one that stands still.
    """
    files = clip_files(clips, split)
    with np.load(files[0], allow_pickle=False) as arrays:
        kept = arrays["image"].shape[-1]
    if size != kept:
        raise ConfigError(
            f"These clips are kept at {kept} px, as the bundle draws that found their key-points, and the configuration has "
            f"{size} px: set size={kept}, or find them again with a bundle of {size} px."
        )
    layout = {
        "image": ((FRAMES, size, size), "uint8"),
        "sector": ((size, size), "bool"),
        "keypoints": ((FRAMES, 40, 2), "float32"),
        "pair": ((PAIRS, 2), "int64"),
        "opening": ((FRAMES,), "float32"),
    }

    def produce(rows: range) -> dict[str, np.ndarray]:
        drawn = [_draw(files[row], row) for row in rows]
        return {name: np.stack([item[name] for item in drawn]) for name in layout}

    origin = {"clips": [[file.name, file.stat().st_size] for file in files], "split": split, "each frame once": True}
    return ArrayStore(folder, len(files), layout, origin).fill(produce, 16, "clips")


def _draw(file: Path, seed: int) -> dict[str, np.ndarray]:
    from echokdm.ops.cycle import valve_opening
    from echokdm.ops.ventricle import simpson_volume

    with np.load(file, allow_pickle=False) as arrays:
        images, points, sector = (arrays[name] for name in ("image", "keypoints", "sector"))
    volumes, g = simpson_volume(points), generator(seed, 91)
    distinct: list[int] = []
    for t in [int(np.argmax(volumes)), int(np.argmin(volumes)), *torch.randperm(len(images), generator=g).tolist()]:
        if len(distinct) < FRAMES and not any(np.array_equal(images[t], images[s]) for s in distinct):
            distinct.append(t)
    if len(distinct) < 2:
        raise ConfigError(
            "A clip of one frame, or of a frozen picture, has no motion to learn: take it out of FileList.csv."
        )
    chosen = distinct + distinct[-1:] * (FRAMES - len(distinct))
    return {
        "image": images[chosen],
        "sector": sector,
        "keypoints": points[chosen].astype(np.float32),
        "pair": frame_pairs(g, len(distinct)).numpy(),
        "opening": valve_opening(volumes)[chosen].astype(np.float32),
    }
