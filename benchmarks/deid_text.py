"""Words burned in over the sector: how many clips with one get through de-identification, and how many clean clips don't.

    python benchmarks/deid_text.py [--patients 6] [--words 40]

Clips: pydicom's A4C DICOM, `../shared/data/echo/a4c_echotracker.npz` and phantoms of 320 pixels. Each gets words of eight letters, one at a
time, 8 to 16 pixels high, anywhere in the mask, of 90 to 255 of 255 levels; half of them are then compressed as JPEG of quality 75.
Bars: both real clips pass clean; no word of 150 levels or more gets through. Dimmer ones are printed; they have no bar, since a word as
bright as the tissue under it can't be told from it.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from bars import SHARED_CLIP, Bars, machine
from PIL import Image, ImageDraw, ImageFont
from pydicom import examples

from echokdm.deid.pixels import Cleared, clear_pixels
from echokdm.deid.reasons import Refusal
from echokdm.io.arrays import read_npz
from echokdm.io.dicom import read_dicom
from echokdm.io.raw import RawFrames
from echokdm.phantom.a4c import A4CPhantom

WORD = "KOWALSKI"
SIZES = (8, 10, 12, 16)
LEVELS = (90, 110, 130, 150, 200, 255)
BRIGHT = 150


def clips(patients: int) -> dict[str, RawFrames]:
    """Real clips and phantoms, by name; gray uint8."""
    found = {"pydicom": read_dicom(Path(examples.get_path("ybr_color")), None), "echotracker": read_npz(SHARED_CLIP, None)}
    gray = {name: raw._replace(frames=np.rint(raw.frames @ np.array([0.299, 0.587, 0.114])).astype(np.uint8))
            if raw.frames.ndim == 4 else raw for name, raw in found.items()}
    phases = torch.linspace(0, 1, 31)[:-1]
    for seed in range(900, 900 + patients):
        frames = A4CPhantom([seed], 320).frames(phases[None])[0, :, 0]
        gray[f"phantom {seed}"] = RawFrames(np.rint(frames.clamp(0, 1).numpy() * 255).astype(np.uint8), 30.0)
    return gray


def stamped(frames: np.ndarray, corner: tuple[int, int], size: int, level: int, compress: bool) -> np.ndarray:
    """The frames with the word drawn at (x, y), anti-aliased."""
    ink = Image.new("L", frames.shape[:0:-1])
    ImageDraw.Draw(ink).text(corner, WORD, fill=255, font=ImageFont.load_default(size))
    share = np.asarray(ink) / 255
    drawn = np.rint(frames * (1 - share) + level * share).astype(np.uint8)
    return np.stack([jpeg(frame) for frame in drawn]) if compress else drawn


def jpeg(frame: np.ndarray) -> np.ndarray:
    """Through JPEG of quality 75."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def cleared(raw: RawFrames) -> Cleared | None:
    """None where the clip is refused."""
    try:
        return clear_pixels(raw, raw.fps or 30.0)
    except Refusal:
        return None


def main() -> int:
    """Stamp, clear, count."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--patients", type=int, default=6, help="phantoms; default 6")
    options.add_argument("--words", type=int, default=40, help="words a clip; default 40")
    given = options.parse_args()
    print(machine())
    rng = np.random.default_rng(0)
    tried, through = dict.fromkeys(LEVELS, 0), dict.fromkeys(LEVELS, 0)
    refused = []
    for name, raw in clips(given.patients).items():
        clean = cleared(raw)
        if clean is None:
            refused.append(name)
            continue
        rows, columns = np.nonzero(clean.mask)
        for word in range(given.words):
            at, size, level = int(rng.integers(len(rows))), int(rng.choice(SIZES)), int(rng.choice(LEVELS))
            frames = stamped(raw.frames, (int(columns[at]) - 20, int(rows[at]) - 5), size, level, bool(word % 2))
            tried[level] += 1
            through[level] += cleared(raw._replace(frames=frames)) is not None
    print("level of 255, words through / tried:", ", ".join(f"{level}: {through[level]} / {tried[level]}" for level in LEVELS))
    print(f"clean clips refused: {', '.join(refused) or 'none'}")
    bars = Bars()
    bars.at_most("clean real clips refused", len({"pydicom", "echotracker"} & set(refused)), 0, 0)
    bright = [level for level in LEVELS if level >= BRIGHT]
    bars.at_most(f"words through of {sum(tried[level] for level in bright)} of {BRIGHT} levels or more",
                 sum(through[level] for level in bright), 0, 0)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
