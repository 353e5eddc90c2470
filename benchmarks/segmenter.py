"""How good is the segmenter? Dice on held-out phantoms; the area curve and pictures on real clips.

    python benchmarks/segmenter.py WEIGHTS [--patients 100] [--clip FILE ...] [--out FOLDER]

WEIGHTS is a folder with the segmenter's config.json and safetensors, such as a bundle's `segmenter/`. Without --clip,
pydicom's A4C example and, where ECHOKDM_TEST_DATA is set, the echotracker clip are used.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bars import real_clips
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.types import Clip
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.methods.kdm.segmentation import lv_dice
from echokdm.networks.segmenter import Segmenter
from echokdm.ops.cycle import clip_ejection_fraction, complete_beats, turning_points
from echokdm.ops.segmentation import segment_clip
from echokdm.ops.ventricle import keypoints_from_mask, simpson_volume


def held_out_figures(
    network: Segmenter, patients: int, fps: float = 30.0, chunk: int = 5
) -> dict[str, np.ndarray | list[str]]:
    """On a beat of each held-out phantom: Dice of single frames and by `segment_clip`, EF (true, measured),
    refusals."""
    from echokdm.phantom.a4c import A4CPhantom

    single, clips, fractions, refused = [], [], [], []
    for first in range(0, patients, chunk):
        phantom = A4CPhantom(range(HELD_OUT + first, HELD_OUT + min(first + chunk, patients)))
        counts = (60 / phantom.heart_rate * fps).round().long() + 1
        phases = torch.arange(int(counts.max()))[None] / (counts[:, None] - 1)
        images, labels, truth = phantom.frames(phases), phantom.masks(phases), phantom.volumes(phases).numpy()
        for b, count in enumerate(counts.tolist()):
            sector = phantom.sector[b]
            with torch.no_grad():
                logits = network(images[b, :count], sector.expand(count, 1, -1, -1))
            single.append(lv_dice(logits.argmax(1), labels[b, :count]).numpy())
            try:
                masks, *_ = segment_clip(network, images[b, :count], sector, fps)
            except GeometryError as error:
                refused.append(f"{phantom.seeds[b]}: {error}")
                continue
            clips.append(lv_dice(masks.long(), labels[b, :count]).numpy())
            volume = np.array([float(simpson_volume(keypoints_from_mask(m))) for m in masks.numpy() if m.any()])
            fractions.append(
                [
                    clip_ejection_fraction(v, turning_points(v, complete_beats(v, fps)))
                    for v in (truth[b, :count], volume)
                ]
            )
    return {
        "single": np.concatenate(single),
        "clips": np.concatenate(clips) if clips else np.zeros(0),
        "fractions": np.array(fractions).reshape(-1, 2),
        "refused": refused,
    }


def overlay(frames: Tensor, masks: Tensor, path: Path, shown: int = 20, zoom: int = 3) -> None:
    """A PNG of up to `shown` frames, enlarged, with the outline of the mask. frames (T, 1, H, W), masks (T, H, W)."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    tiles = []
    for t in np.unique(np.linspace(0, len(frames) - 1, shown).round().astype(int)):
        gray = (frames[t, 0] / frames.max().clamp(min=1e-3)).clamp(0, 1).sqrt().numpy()
        picture = np.repeat(np.kron(gray, np.ones((zoom, zoom)))[..., None], 3, 2)
        picture[find_boundaries(np.kron(masks[t].numpy(), np.ones((zoom, zoom), bool)), mode="inner")] = (
            1.0,
            0.85,
            0.0,
        )
        tiles.append(picture)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)
    rows = [np.concatenate(tiles[i : i + 5], 1) for i in range(0, len(tiles), 5)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.concatenate(rows) * 255).astype(np.uint8)).save(path)


def real_clip(network: Segmenter, clip: Clip, label: str, out: Path | None) -> None:
    """Print the area curve of one clip and its largest jump; write the overlay."""
    from echokdm.io.frame import to_model_frame
    from echokdm.io.sector import find_sector

    model = to_model_frame(clip, find_sector(clip))
    frames, sector = model.clip.frames, torch.as_tensor(model.sector_mask)
    began = time.perf_counter()
    try:
        masks, *_ = segment_clip(network, frames, sector, clip.fps)
    except GeometryError as error:
        print(f"{label}: refused: {error}")
        return
    area = masks.sum((1, 2)).float()
    jump = (area[1:] - area[:-1]).abs().max() / area.max() if len(area) > 1 else torch.zeros(())
    print(
        f"{label}: {len(area)} frames in {time.perf_counter() - began:.2f} s, largest jump {100 * float(jump):.1f} % of the ED area"
    )
    print("  area, px:", *(int(a) for a in area))
    if out is not None:
        overlay(frames, masks, out / f"{label}.png")


def main() -> None:
    """Parse the command line, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--clip", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    network = Segmenter.from_pretrained(arguments.weights).eval()
    if arguments.patients:
        figures = held_out_figures(network, arguments.patients)
        for name, text in (("single", "a frame by itself"), ("clips", "by segment_clip")):
            scores = figures[name]
            print(
                f"Dice on held-out phantoms, {text}: mean {scores.mean():.4f}, 5th percentile {np.percentile(scores, 5):.3f}"
            )
        error = figures["fractions"][:, 1] - figures["fractions"][:, 0]
        print(f"EF by segment_clip: MAE {np.abs(error).mean():.2f} points, bias {error.mean():+.2f}")
        print(f"{len(figures['refused'])} of {arguments.patients} clips refused")
        for line in figures["refused"]:
            print(" ", line)
    from echokdm.io.read import read_clip

    for file in arguments.clip or real_clips().values():
        real_clip(network, read_clip(file), file.stem, arguments.out)


if __name__ == "__main__":
    main()
