"""How good is the segmenter? Dice on held-out phantoms; the area curve and pictures on real clips.

    python benchmarks/segmenter.py WEIGHTS [--patients 100] [--clip FILE ...] [--out FOLDER]

WEIGHTS is a folder with the segmenter's config.json and safetensors, such as a bundle's `segmenter/`. Without --clip,
pydicom's A4C example and, where ../shared is there, the echotracker clip are used.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from echokdm.core.errors import GeometryError
from echokdm.core.types import Clip
from echokdm.data.pairs import HELD_OUT
from echokdm.methods.kdm.segmentation import lv_dice
from echokdm.networks.segmenter import Segmenter
from echokdm.ops.segmentation import segment_clip

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "echo" / "a4c_echotracker.npz"


def held_out_dice(network: Segmenter, patients: int, frames: int = 12, chunk: int = 10) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Dice of single frames, Dice of whole clips over a beat by `segment_clip`, and why clips were refused."""
    from echokdm.phantom.a4c import A4CPhantom

    single, clips, refused = [], [], []
    for first in range(0, patients, chunk):
        phantom = A4CPhantom(range(HELD_OUT + first, HELD_OUT + min(first + chunk, patients)))
        phases = (torch.arange(frames) / frames).expand(len(phantom.seeds), frames)
        images, labels = phantom.frames(phases), phantom.masks(phases)
        for b in range(len(phantom.seeds)):
            sector = phantom.sector[b]
            with torch.no_grad():
                logits = network(images[b], sector.expand(frames, 1, -1, -1))
            single.append(lv_dice(logits.argmax(1), labels[b]).numpy())
            try:
                masks, _ = segment_clip(network, images[b], sector)
            except GeometryError as error:
                refused.append(f"{phantom.seeds[b]}: {error}")
            else:
                clips.append(lv_dice(masks.long(), labels[b]).numpy())
    return np.stack(single), np.stack(clips) if clips else np.zeros((0, frames)), refused


def overlay(frames: Tensor, masks: Tensor, path: Path, shown: int = 20, zoom: int = 3) -> None:
    """A PNG of up to `shown` frames, enlarged, with the outline of the mask. frames (T, 1, H, W), masks (T, H, W)."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    tiles = []
    for t in np.unique(np.linspace(0, len(frames) - 1, shown).round().astype(int)):
        gray = (frames[t, 0] / frames.max().clamp(min=1e-3)).clamp(0, 1).sqrt().numpy()
        picture = np.repeat(np.kron(gray, np.ones((zoom, zoom)))[..., None], 3, 2)
        picture[find_boundaries(np.kron(masks[t].numpy(), np.ones((zoom, zoom), bool)), mode="inner")] = (1.0, 0.85, 0.0)
        tiles.append(picture)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)
    rows = [np.concatenate(tiles[i:i + 5], 1) for i in range(0, len(tiles), 5)]
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
        masks, _ = segment_clip(network, frames, sector)
    except GeometryError as error:
        print(f"{label}: refused: {error}")
        return
    area = masks.sum((1, 2)).float()
    jump = (area[1:] - area[:-1]).abs().max() / area.max() if len(area) > 1 else torch.zeros(())
    print(f"{label}: {len(area)} frames in {time.perf_counter() - began:.2f} s, largest jump {100 * float(jump):.1f} % of the ED area")
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
        single, clips, refused = held_out_dice(network, arguments.patients)
        print(f"held-out phantoms: Dice {single.mean():.4f} a frame (5th percentile {np.percentile(single, 5):.3f}), "
              f"{clips.mean() if len(clips) else 0:.4f} by segment_clip; {len(refused)} of {len(single)} clips refused")
        for line in refused:
            print(" ", line)
    if arguments.clip:
        files = arguments.clip
    else:
        from pydicom import examples

        files = [Path(examples.get_path("ybr_color")), *([SHARED] if SHARED.exists() else [])]
    from echokdm.io.read import read_clip

    for file in files:
        real_clip(network, read_clip(file), file.stem, arguments.out)


if __name__ == "__main__":
    main()
