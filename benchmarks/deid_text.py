"""Words burned in over the sector: how many get through de-identification, and how many clean clips don't.

    python benchmarks/deid_text.py [--words 400] [--seed 1] [--camus 180] [--phantoms 100]

Clips of 12 frames: of CAMUS' patients that may teach or choose (end-diastole, fading into end-systole and back),
pydicom's A4C DICOM, the echotracker clip of ECHOKDM_TEST_DATA, and phantoms; without that folder, of pydicom and
phantoms alone. Each is drawn at random, brought to a frame of 240 x 320 to 1080 x 1440, and gets one word: DejaVu Sans
regular, bold, oblique, mono, one pixel thin or outlined; 10 to 64 px high (the font's size: capitals are .73 of that);
black, 60 to 255 of 255 levels, or coloured; one in five turned by 90 degrees; for the whole clip, for one frame, of
which half are the last, or fading in over it; half of them then compressed as JPEG of quality 50 to 90. It lies
anywhere with at least .8 of its ink in the sector. Contrast is between its brightness and the mean of what it covers,
in the frames that show it. A clip that is refused for any reason counts as found; the reasons are printed.
Without words: CAMUS' frames, as above and at their own size; both real clips; and phantoms of 320 px and 30 frames.
Bars: found are 99 % of the words of a contrast of 40 levels or more, and all white ones of them; of the clean clips 3 %
are refused at most, and neither real one. Seed 0 is what the thresholds were chosen on.
"""

import argparse
import io
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from bars import TEST_DATA, Bars, machine, raw_clips
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.morphology import skeletonize

from echokdm.deid.pixels import clear_pixels
from echokdm.deid.reasons import Refusal
from echokdm.io.raw import RawFrames
from echokdm.phantom.a4c import A4CPhantom

WORDS = (
    "KOWALSKI",
    "Nowak",
    "12.03.1961",
    "ID4471-88",
    "Schmidt",
    "MEYER",
    "1961-03-12",
    "Anna M.",
    "GARCIA",
    "Li Wei",
    "A-77123",
    "Jones",
)
FONTS = {"regular": "", "bold": "-Bold", "oblique": "-Oblique", "mono": "Mono", "thin": "", "outlined": "-Bold"}
HEIGHTS = (10, 12, 16, 20, 28, 40, 52, 64)
SIZES = {(240, 320): 0.3, (480, 640): 0.35, (600, 800): 0.2, (768, 1024): 0.1, (1080, 1440): 0.05}
LEVELS = (0, 60, 85, 110, 140, 170, 200, 255, 255)
COLOURS = ((255, 255, 0), (0, 255, 0), (255, 80, 80), (0, 200, 255), (255, 160, 0))
TIMES = ("all", "one", "fading")
FRAMES, CONTRAST, INSIDE = 12, 40, 0.8
LUMA = np.array([0.299, 0.587, 0.114])


class Word(NamedTuple):
    """One word: what it is, and how it is shown."""

    text: str
    font: str
    height: int
    ink: tuple[int, int, int]
    turned: bool
    time: str
    quality: int

    def drawn(self) -> np.ndarray:
        """(h, w) in [0, 1], the share of ink, cropped."""
        scale = 8 if self.font == "thin" else 1
        face = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{FONTS[self.font]}.ttf", self.height * scale)
        edge = max(self.height // 16, 1) if self.font == "outlined" else 0
        picture = Image.new("L", tuple(int(side) + 8 * scale + 2 * edge for side in face.getbbox(self.text)[2:]))
        ImageDraw.Draw(picture).text(
            (4 * scale, 4 * scale), self.text, 0 if edge else 255, face, stroke_width=edge, stroke_fill=255
        )
        share = np.asarray(picture) / 255
        if scale > 1:  # one pixel wide once it is made smaller
            lines = ndimage.binary_dilation(skeletonize(share > 0.5), iterations=scale // 2)
            rows, columns = (side // scale for side in lines.shape)
            share = lines[: rows * scale, : columns * scale].reshape(rows, scale, columns, scale).mean((1, 3))
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        share = share[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return np.rot90(share) if self.turned else share


class Trial(NamedTuple):
    """A word in a clip, the size of its frames, its contrast, and what de-identification said; "" where the clip
    passed."""

    word: Word
    clip: str
    size: tuple[int, int]
    contrast: float
    said: str


@cache
def real() -> dict[str, np.ndarray]:
    """(T, H, W) uint8 gray by name."""
    return {
        name: np.rint(raw.frames @ LUMA).astype(np.uint8) if raw.frames.ndim == 4 else raw.frames
        for name, raw in raw_clips().items()
    }


@cache
def camus() -> list[dict]:
    """Rows of the patients that settings may be chosen on."""
    from echokdm.data.adapters.camus import CAMUS, camus_split

    index = CAMUS.index(Path(TEST_DATA) / "camus")
    parts = camus_split(index["subject"])
    return index[index["subject"].isin(parts["choose"] + parts["teach"])].to_dict("records")


def beating(row: dict, first: int) -> np.ndarray:
    """(T, H, W) uint8: a patient's two frames, one fading into the other and back. first: 0 for end-diastole, 1 for
    end-systole."""
    from echokdm.data.adapters.camus import CAMUS

    two = 255 * CAMUS.read(row).frames[:, 0].numpy()
    share = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAMES) / FRAMES)[:, None, None]
    return np.rint(two[first] * (1 - share) + two[1 - first] * share).astype(np.uint8)


def phantom(seed: int, frames: int, beats: float = 1.0) -> np.ndarray:
    """(T, 320, 320) uint8."""
    drawn = A4CPhantom([seed], 320).frames(torch.linspace(0, beats, frames + 1)[None, :-1])
    return np.rint(255 * drawn[0, :, 0].clamp(0, 1).numpy()).astype(np.uint8)


def some_clip(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A name and (FRAMES, H, W) uint8."""
    kind = str(rng.choice([*(["camus", "camus"] if TEST_DATA else []), "phantom", *real()]))
    if kind == "camus":
        return kind, beating(camus()[int(rng.integers(len(camus())))], int(rng.integers(2)))
    if kind == "phantom":
        return kind, phantom(int(rng.integers(2000, 9000)), FRAMES, float(rng.choice([0.4, 1.0])))
    start = int(rng.integers(len(real()[kind]) - FRAMES + 1))
    return kind, real()[kind][start : start + FRAMES]


def fitted(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frames at another size, black around."""
    scale = min(side / own for side, own in zip(size, frames.shape[1:], strict=True))
    inner = [round(own * scale) for own in frames.shape[1:]]
    small = F.interpolate(torch.from_numpy(frames).float()[:, None], size=inner, mode="bilinear", antialias=True)[:, 0]
    x, y = (size[1] - inner[1]) // 2, (size[0] - inner[0]) // 2
    return F.pad(small, (x, size[1] - inner[1] - x, y, size[0] - inner[0] - y)).round().clamp(0, 255).byte().numpy()


def some_word(rng: np.random.Generator) -> Word:
    """Each choice by itself; one word in ten is coloured."""
    level = int(rng.choice(LEVELS))
    ink = COLOURS[int(rng.integers(len(COLOURS)))] if rng.random() < 0.1 else (level, level, level)
    return Word(
        str(rng.choice(WORDS)),
        str(rng.choice(list(FONTS))),
        int(rng.choice(HEIGHTS)),
        ink,
        bool(rng.random() < 0.2),
        str(rng.choice(TIMES)),
        int(rng.choice([0, 0, 0, 50, 75, 90])),
    )


def placed(share: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """(H, W) with the word somewhere over the mask; None where it finds no room."""
    whole = np.zeros(mask.shape)
    rows, columns = np.nonzero(mask)
    for _ in range(200):
        at = int(rng.integers(len(rows)))
        y, x = int(rows[at]) - share.shape[0] // 2, int(columns[at]) - share.shape[1] // 2
        part = np.s_[y : y + share.shape[0], x : x + share.shape[1]]
        if y >= 0 and x >= 0 and mask[part].shape == share.shape and (share * mask[part]).sum() >= INSIDE * share.sum():
            whole[part] = share
            return whole
    return None


def stamped(frames: np.ndarray, word: Word, ink: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """((T, H, W[, 3]) uint8 with the word, its contrast)."""
    shown = {
        "all": np.ones(FRAMES),
        "fading": np.linspace(0, 1.2, FRAMES).clip(0, 1),
        "one": np.arange(FRAMES) == (FRAMES - 1 if rng.random() < 0.5 else rng.integers(FRAMES)),
    }[word.time]
    under = (frames[shown > 0.9] * ink).sum() / (ink.sum() * (shown > 0.9).sum())
    share = (shown[:, None, None] * ink)[..., None]
    drawn = np.rint(frames[..., None] * (1 - share) + np.array(word.ink) * share).astype(np.uint8)
    drawn = drawn if len(set(word.ink)) > 1 else drawn[..., 0]
    if word.quality:
        drawn = np.stack([jpeg(frame, word.quality) for frame in drawn])
    return drawn, float(abs(np.array(word.ink) @ LUMA - under))


def jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def said(frames: np.ndarray) -> str:
    """Why the clip is refused; "" where it is not."""
    try:
        clear_pixels(RawFrames(frames, 30.0), 30.0)
    except Refusal as refusal:
        return refusal.reason.name
    return ""


def trial(rng: np.random.Generator) -> tuple[Trial, np.ndarray]:
    """One word in one clip, and the clip with it."""
    from echokdm.core.errors import ClipError
    from echokdm.core.types import Clip
    from echokdm.io.sector import find_sector

    while True:
        name, frames = some_clip(rng)
        size = list(SIZES)[int(rng.choice(len(SIZES), p=list(SIZES.values())))]
        frames, word = fitted(frames, size), some_word(rng)
        try:
            mask = find_sector(Clip(torch.from_numpy(frames)[:, None] / 255, 30.0)).mask
        except ClipError:
            continue
        ink = placed(word.drawn(), mask, rng)
        if ink is not None:
            drawn, contrast = stamped(frames, word, ink, rng)
            return Trial(word, name, size, contrast, said(drawn)), drawn


def clean(camus_frames: int, phantoms: int) -> list[tuple[str, str]]:
    """(clip, what was said) of clips without print."""
    told = [
        (f"camus {place}", said(beating(row, first)))
        for place, row in enumerate(camus()[: camus_frames // 2] if TEST_DATA else [])
        for first in (0, 1)
    ]
    told += [(name, said(frames)) for name, frames in real().items()]
    return told + [(f"phantom {seed}", said(phantom(seed, 30))) for seed in range(900, 900 + phantoms)]


def main() -> int:
    """Draw, clear, count."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--words", type=int, default=400, help="words; default 400")
    options.add_argument("--seed", type=int, default=1, help="of clips and words; default 1")
    options.add_argument("--camus", type=int, default=180, help="CAMUS' frames without words; default 180")
    options.add_argument("--phantoms", type=int, default=100, help="phantoms without words; default 100")
    given = options.parse_args()
    print(machine())
    rng = np.random.default_rng(given.seed)
    trials = [trial(rng)[0] for _ in range(given.words)]
    seen = [one for one in trials if one.contrast >= CONTRAST]
    for what, kind in (
        ("font", lambda one: one.word.font),
        ("height", lambda one: one.word.height),
        ("shown", lambda one: one.word.time),
        ("turned", lambda one: one.word.turned),
        ("JPEG", lambda one: one.word.quality),
        ("frame", lambda one: one.size),
        ("clip", lambda one: one.clip),
    ):
        tried, found = Counter(map(kind, seen)), Counter(kind(one) for one in seen if one.said)
        print(f"{what}, found / tried:", ", ".join(f"{key}: {found[key]} / {tried[key]}" for key in sorted(tried)))
    dim = [one for one in trials if one.contrast < CONTRAST]
    print(f"of less contrast, found / tried: {sum(bool(one.said) for one in dim)} / {len(dim)}")
    print(
        "refused as:",
        ", ".join(f"{reason or 'not'}: {count}" for reason, count in Counter(one.said for one in trials).items()),
    )
    for one in seen:
        if not one.said:
            print(f"not found: {one.word}, contrast {one.contrast:.0f}, {one.clip}, {one.size}")
    told = clean(given.camus, given.phantoms)
    print("clean clips refused:", ", ".join(f"{name} ({reason})" for name, reason in told if reason) or "none")
    bars, white = Bars(), [one for one in seen if one.word.ink == (255, 255, 255)]
    bars.at_least(
        f"share found of {len(seen)} words of {CONTRAST} levels or more",
        np.mean([bool(one.said) for one in seen]),
        0.99,
        3,
    )
    bars.at_least(f"share found of {len(white)} white words", np.mean([bool(one.said) for one in white]), 1, 3)
    bars.at_most(f"share refused of {len(told)} clean clips", np.mean([bool(reason) for _, reason in told]), 0.03, 3)
    bars.at_most("clean real clips refused", sum(bool(reason) for name, reason in told if name in real()), 0, 0)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
