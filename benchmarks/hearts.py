"""What `real_hearts.py` measures: the product's outline of the left ventricle against others', on the clip's own
pixels.

The outline is the product's whole ventricle of 40 key-points (`ops.ventricle.keypoints_to_mask`), as `echokdm
keypoints` finds them: sector, the model's square, segmenter, key-points, the key-points brought back to the clip's
pixels.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from echokdm.core.errors import ConfigError, EchoKDMError
from echokdm.core.labels import Label
from echokdm.core.types import Clip
from echokdm.data.adapters.camus import CAMUS, camus_split
from echokdm.echo.derive import Derived, derive_keypoints, simpson
from echokdm.metrics.volume import dice
from echokdm.ops.cycle import clip_ejection_fraction, complete_beats
from echokdm.ops.ventricle import ejection_fraction, keypoints_from_mask, keypoints_to_mask, polygon_to_mask

ALONE, PAIR, NETWORK = "each frame alone", "two frames as a clip", "the network alone"
PHASES = ("ED", "ES")
PAIR_FPS = 3.0  # systole takes about a third of a second
STEPS = (1, 2, 4, 6, 8)  # of a phantom clip at FULL_FPS, every so many frames
FULL_FPS = 50.0

Row = dict[str, Any]
Outlines = list[np.ndarray | None]


def test_data() -> Path:
    """The folder of real material. Raises ConfigError where ECHOKDM_TEST_DATA names none."""
    folder = os.environ.get("ECHOKDM_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        raise ConfigError("Set ECHOKDM_TEST_DATA to the folder that holds the real material, camus/ and echo/.")
    return Path(folder)


def hearts(part: str, count: int = 0) -> Iterator[tuple[str, Clip, np.ndarray]]:
    """Subject, clip of ED and ES, and the experts' left ventricle (2, H, W) of the patients in a part of `camus_split`.

    count: the first so many; 0 for all.
    """
    index = CAMUS.index(test_data() / "camus")
    kept = camus_split(index["subject"])[part]
    for row in index[index["subject"].isin(kept[: count or None])].to_dict("records"):
        heart = CAMUS.read(row)
        moments = [heart.labels["ed"], heart.labels["es"]]
        clip = Clip(heart.frames[moments], PAIR_FPS, heart.labels["spacing_mm"])
        yield row["subject"], clip, heart.labels["tissue"][moments] == Label.LV


def outlines_of(derived: Derived) -> list[np.ndarray]:
    """(H, W) masks of a clip's frames, in its own pixels."""
    return [keypoints_to_mask(points, *derived.clip.size) for points in derived.keypoints_source]


def by_product(clip: Clip, pipeline: Any, way: str) -> tuple[Outlines, float, list[str]]:
    """Outlines (None where refused), EF in percent (nan where refused), and why the product refused, a sentence a
    clip."""
    try:
        if way == PAIR:
            derived = derive_keypoints(clip, bundle=pipeline)
            return [*outlines_of(derived)], derived.ejection_fraction, []
    except EchoKDMError as error:
        return [None, None], np.nan, [str(error)]
    outlines: Outlines = [None, None]
    volumes, refused = np.full(2, np.nan), []
    for t in range(2):
        try:
            derived = derive_keypoints(clip.with_frames(clip.frames[t : t + 1]), bundle=pipeline)
        except EchoKDMError as error:
            refused.append(str(error))
            continue
        outlines[t], volumes[t] = outlines_of(derived)[0], derived.volumes[0]
    return outlines, np.nan if refused else float(ejection_fraction(*volumes)), refused


@torch.no_grad()
def by_network(clip: Clip, pipeline: Any) -> tuple[Outlines, float, list[str]]:
    """The segmenter's likeliest class, each frame by itself, brought to the clip's pixels; no key-points, so no EF."""
    from echokdm.io.frame import to_model_frame
    from echokdm.io.sector import find_sector
    from echokdm.ops.warp import pixel_grid, sample

    try:
        sector = find_sector(clip)
    except EchoKDMError as error:
        return [None, None], np.nan, [str(error)]
    model = to_model_frame(clip, sector)
    frames, inside = model.clip.frames, torch.as_tensor(model.sector_mask)
    logits = pipeline.segmenter(frames, inside.expand(len(frames), 1, -1, -1))
    there = model.to_model(pixel_grid(*clip.size)[0].permute(1, 2, 0)).permute(2, 0, 1)[None]
    classes = sample(logits, there.expand(len(frames), -1, -1, -1)).argmax(1).numpy()
    return [(classes[t] == Label.LV) & sector.mask for t in range(len(frames))], np.nan, []


def measure(subject: str, clip: Clip, truth: np.ndarray, pipeline: Any, way: str) -> tuple[Row, Outlines]:
    """A patient's figures in one way, and the outlines that they rest on."""
    outlines, found, refused = by_network(clip, pipeline) if way == NETWORK else by_product(clip, pipeline, way)
    row: Row = {
        "way": way,
        "subject": subject,
        "clips": 2 if way == ALONE else 1,
        "refused": refused,
        "EF": found,
        "expert EF": expert_ejection_fraction(truth, clip.spacing_mm),
    }
    for phase, mine, theirs in zip(PHASES, outlines, truth, strict=True):
        row |= {
            f"Dice {phase}": np.nan if mine is None else float(dice(mine, theirs)),
            f"area {phase}": np.nan if mine is None else float(mine.sum()),
            f"expert area {phase}": float(theirs.sum()),
        }
    return row, outlines


def expert_ejection_fraction(truth: np.ndarray, spacing_mm: tuple[float, float] | None) -> float:
    """Percent, of the experts' masks (2, H, W) by the project's own single-plane Simpson."""
    return float(ejection_fraction(*simpson(np.stack([keypoints_from_mask(mask) for mask in truth]), spacing_mm)))


def thinned_phantom(seed: int, pipeline: Any) -> list[Row]:
    """EF of two beats of a held-out phantom at 50 frames/s and thinned; "true EF": of its true volumes at the same
    frames."""
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom([seed])
    clip = phantom.clip(FULL_FPS, beats=2.0)[0]
    volumes = phantom.volumes(torch.arange(len(clip))[None] * float(phantom.heart_rate[0]) / 60 / FULL_FPS)[0].numpy()
    rows = []
    for step in STEPS:
        fps, thin = FULL_FPS / step, volumes[::step]
        row = {
            "seed": seed,
            "fps": fps,
            "EF": np.nan,
            "refused": [],
            "true EF": clip_ejection_fraction(thin, complete_beats(thin, fps)),
        }
        try:
            row["EF"] = derive_keypoints(
                Clip(clip.frames[::step], fps, clip.spacing_mm), bundle=pipeline
            ).ejection_fraction
        except EchoKDMError as error:
            row["refused"] = [str(error)]
        rows.append(row)
    return rows


def hand_tracings(pipeline: Any) -> pd.DataFrame:
    """Dice with each frame that was traced by hand in the two real clips; nan where the clip was refused."""
    from pydicom.examples import get_path

    folder = test_data() / "echo"
    rows = []
    for name, frames in json.loads((folder / "tracings.json").read_text(encoding="utf-8")).items():
        if not isinstance(frames, dict):
            continue  # what the file says of itself
        try:
            derived = derive_keypoints(
                folder / name if (folder / name).exists() else get_path(name.split()[-1]), bundle=pipeline
            )
        except EchoKDMError as error:
            rows += [{"clip": name, "frame": frame, "Dice": np.nan, "refused": [str(error)]} for frame in frames]
            continue
        outlines = outlines_of(derived)
        for frame, polygon in frames.items():
            traced = polygon_to_mask(polygon, *derived.clip.size)
            rows.append(
                {"clip": name, "frame": frame, "Dice": float(dice(outlines[int(frame)], traced)), "refused": []}
            )
    return pd.DataFrame(rows)
