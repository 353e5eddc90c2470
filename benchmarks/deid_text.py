"""Words burned in over the sector: how many clips with one get through de-identification, and how many clean clips don't.

    python benchmarks/deid_text.py [--patients 6] [--words 40] [--clean 60]

Clips: pydicom's A4C DICOM, the echotracker clip of ECHOKDM_TEST_DATA and phantoms of 320 pixels. Each gets words of eight letters, one at
a time, 8 to 16 pixels high, anywhere in the mask, of 90 to 255 of 255 levels. Two in three stay for the clip, and half of those are then
compressed as JPEG of quality 75; the others are there for 4 frames, or for 1. Without words: both real clips, and phantoms as they are,
nearly still, of 1.8 times the gain, with bright specks that move with the wall, or over three beats.
Bars: both real clips pass clean, and 90 % of the phantoms; no word of 110 levels or more that stays, and none of 200 or more that does not,
gets through. Dimmer ones are printed; they have no bar, since a word as bright as the tissue under it can't be told from it.
"""

import argparse
import io

import numpy as np
import torch
from bars import Bars, machine, raw_clips
from PIL import Image, ImageDraw, ImageFont

from echokdm.deid.pixels import Cleared, clear_pixels
from echokdm.deid.reasons import Refusal
from echokdm.io.raw import RawFrames
from echokdm.phantom.a4c import A4CPhantom

WORD = "KOWALSKI"
SIZES = (8, 10, 12, 16)
LEVELS = (90, 110, 130, 150, 200, 255)
STAYING, PASSING = 110, 200  # levels from which a word must be found
CHANGED = ("plain", "still", "gain", "specks", "long")


def clips(patients: int) -> dict[str, RawFrames]:
    """Real clips and phantoms, by name; gray uint8."""
    gray = {name: raw._replace(frames=np.rint(raw.frames @ np.array([0.299, 0.587, 0.114])).astype(np.uint8))
            if raw.frames.ndim == 4 else raw for name, raw in raw_clips().items()}
    return gray | {f"phantom {seed}": phantom(seed, "plain") for seed in range(900, 900 + patients)}


def phantom(seed: int, change: str) -> RawFrames:
    """A clip of 320 pixels, changed by one of `CHANGED`."""
    first, last, count = {"still": (0.75, 0.85, 30), "long": (0.0, 3.0, 90)}.get(change, (0.0, 1.0, 30))
    phases, drawn = torch.linspace(first, last, count + 1)[None, :-1], A4CPhantom([seed], 320)
    frames = 255 * drawn.frames(phases)[0, :, 0].clamp(0, 1).numpy()
    if change == "gain":
        frames = np.where(frames > 0, 1.8 * frames + 8, 0)
    if change == "specks":
        rng, (y, x) = np.random.default_rng(seed), np.mgrid[0:320, 0:320]
        for point in rng.choice(40, 6, replace=False):
            shift, wide = rng.normal(0, 8, 2), rng.uniform(1, 2.5)
            for frame, at in zip(frames, drawn.keypoints(phases)[0, :, point].numpy() + shift, strict=True):
                speck = 255 * rng.uniform(0.8, 1) * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * wide**2))
                np.maximum(frame, speck * drawn.sector[0].numpy(), out=frame)
    return RawFrames(np.rint(frames.clip(0, 255)).astype(np.uint8), 30.0)


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
    options.add_argument("--clean", type=int, default=60, help="phantoms without words; default 60")
    given = options.parse_args()
    print(machine())
    rng = np.random.default_rng(0)
    tried, through = ({(level, frames): 0 for frames in (0, 4, 1) for level in LEVELS} for _ in range(2))
    refused = []
    for name, raw in clips(given.patients).items():
        clean = cleared(raw)
        if clean is None:
            refused.append(name)
            continue
        rows, columns = np.nonzero(clean.mask)
        for word in range(given.words):
            at, size, level = int(rng.integers(len(rows))), int(rng.choice(SIZES)), int(rng.choice(LEVELS))
            kind = level, (0, 0, 0, 0, 4, 1)[word % 6]
            frames = stamped(raw.frames, (int(columns[at]) - 20, int(rows[at]) - 5), size, level, not kind[1] and bool(word % 2))
            if kind[1]:
                frames = np.concatenate([raw.frames[:9], frames[9 : 9 + kind[1]], raw.frames[9 + kind[1] :]])
            tried[kind] += 1
            through[kind] += cleared(raw._replace(frames=frames)) is not None
    for frames, what in ((0, "the whole clip"), (4, "4 frames"), (1, "1 frame")):
        print(f"words for {what}; level of 255, through / tried:",
              ", ".join(f"{level}: {through[level, frames]} / {tried[level, frames]}" for level in LEVELS))
    clean = [f"{seed} {change}" for seed, change in ((900 + number, CHANGED[number % len(CHANGED)]) for number in range(given.clean))
             if cleared(phantom(seed, change)) is None]
    print(f"clean clips refused: {', '.join(refused + clean) or 'none'}")
    bars = Bars()
    bars.at_most("clean real clips refused", len({"pydicom", "echotracker"} & set(refused)), 0, 0)
    bars.at_most(f"clean phantoms refused of {given.clean}", len(clean), 0.1 * given.clean, 0)
    for what, kinds in ((f"stay, of {STAYING} levels or more", [kind for kind in tried if not kind[1] and kind[0] >= STAYING]),
                        (f"pass, of {PASSING} levels or more", [kind for kind in tried if kind[1] and kind[0] >= PASSING])):
        bars.at_most(f"words through of {sum(tried[kind] for kind in kinds)} that {what}", sum(through[kind] for kind in kinds), 0, 0)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
