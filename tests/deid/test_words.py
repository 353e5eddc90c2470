"""Words over the sector are found whatever they are printed in, for however long; tissue is none; without the network
nothing passes."""

import io
import sys

import numpy as np
import pytest
import torch
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.morphology import skeletonize

from echokdm.core.errors import PrintError, SearchError
from echokdm.core.types import Clip
from echokdm.deid import words
from echokdm.deid.gate import search_print
from echokdm.deid.marks import find_marks
from echokdm.deid.pixels import clear_pixels
from echokdm.deid.reasons import Refusal
from echokdm.io import find_sector, read_clip
from echokdm.io.dicom import read_dicom
from echokdm.io.raw import RawFrames

FRAMES = 9
ALWAYS, LAST, MIDDLE, FADING = (
    np.ones(FRAMES),
    np.eye(FRAMES)[-1],
    np.eye(FRAMES)[3],
    np.linspace(0, 1.2, FRAMES).clip(0, 1),
)


def enlarged(scene, scale):
    """(T, H, W) uint8, its sector and its mask: speckle as large as a wide screen shows it."""
    frames, sector = scene["fan"](7, FRAMES), scene["inside_fan"]()
    frames, sector = (np.repeat(np.repeat(part, scale, -2), scale, -1) for part in (frames, sector))
    soft = np.stack([ndimage.gaussian_filter(frame.astype(np.float32), 0.8 * scale) for frame in frames])
    return np.round(soft * sector).astype(np.uint8), sector, ndimage.binary_erosion(sector, iterations=2 * scale)


@pytest.fixture(scope="module")
def fan(scene):
    """480 x 640."""
    return enlarged(scene, 4)


def ink(size, text, font, height, at, outlined=0, turned=False, thin=False):
    """(H, W) in [0, 1] with a word around the point (x, y). thin: its strokes one pixel wide."""
    face = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans{font}.ttf", height)
    picture = Image.new("L", size[::-1])
    ImageDraw.Draw(picture).text(
        at, text, 0 if outlined else 255, face, anchor="mm", stroke_width=outlined, stroke_fill=255
    )
    if turned:
        picture = picture.rotate(90, center=at)
    return skeletonize(np.asarray(picture) > 127) * 1.0 if thin else np.asarray(picture) / 255


def printed(frames, share, level, shown=ALWAYS, quality=0):
    """The frames with ink of a level in those that are shown."""
    share = shown[:, None, None] * share
    drawn = np.rint(frames * (1 - share) + level * share).astype(np.uint8)
    return np.stack([jpeg(frame, quality) for frame in drawn]) if quality else drawn


def jpeg(frame, quality):
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


AT = (310, 230)
KINDS = {
    "bold": ("KOWALSKI", "-Bold", 28, 230, ALWAYS, {}),
    "gray": ("KOWALSKI", "-Bold", 28, 160, ALWAYS, {}),
    "gray, bold": ("KOWALSKI", "-Bold", 40, 200, ALWAYS, {}),
    "the last frame": ("12.03.1961", "", 20, 200, LAST, {}),
    "one frame, bold": ("12.03.1961", "-Bold", 28, 200, MIDDLE, {}),
    "black": ("KOWALSKI", "-Bold", 40, 0, ALWAYS, {}),
    "black, one frame": ("KOWALSKI", "-Bold", 28, 0, MIDDLE, {}),
    "fading in": ("Nowak, Jan", "-Bold", 28, 220, FADING, {}),
    "turned": ("KOWALSKI", "-Bold", 28, 230, ALWAYS, {"turned": True}),
    "outlined": ("MEYER", "-Bold", 64, 200, ALWAYS, {"outlined": 4}),
    "oblique": ("A-77123", "-BoldOblique", 40, 200, ALWAYS, {}),
    "mono": ("ID4471-88", "Mono-Bold", 40, 170, ALWAYS, {}),
    "thin, fading in": ("A-77123", "", 52, 130, FADING, {"thin": True}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_print_of_every_kind_is_found(kind, fan):
    frames, sector, mask = fan
    text, font, height, level, shown, more = KINDS[kind]
    share = ink(mask.shape, text, font, height, AT, **more)
    assert (share * mask).sum() > 0.9 * share.sum()
    assert find_marks(printed(frames, share, level, shown), sector, mask, 40.0)[1]


@pytest.mark.parametrize("quality", [50, 90])
def test_compressed_print_is_found(quality, fan):
    frames, sector, mask = fan
    assert find_marks(
        printed(frames, ink(mask.shape, "KOWALSKI", "-Bold", 28, AT), 200, quality=quality), sector, mask, 40.0
    )[1]


def test_bold_print_is_found_on_a_wide_screen(scene):
    frames, sector, mask = enlarged(scene, 5)
    assert not find_marks(frames, sector, mask, 40.0)[1]
    assert find_marks(printed(frames, ink(mask.shape, "KOWALSKI", "-Bold", 40, (390, 290)), 230), sector, mask, 40.0)[1]


def test_coloured_print_is_found_by_the_gate(fan):
    frames, _, mask = fan
    clean = Clip(torch.from_numpy(frames)[:, None] / 255, 40.0)
    sector = find_sector(clean)
    share = torch.from_numpy(ink(mask.shape, "KOWALSKI", "-Bold", 28, AT)).float()
    colour = torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    assert search_print(clean, sector)
    with pytest.raises(PrintError):
        search_print(clean.with_frames(clean.frames * (1 - share) + colour * share), sector)


def test_hearts_shapes_are_no_words(fan):
    """The network alone takes the whole sector for text where its edge is left in."""
    frames, _, mask = fan
    assert not words.find_words(frames, mask, mask, [(frames.min(0), frames.max(0))], 0 * frames[0])
    bar = np.zeros(mask.shape)
    bar[215:245, 250:400] = 1  # long and bright, but without letters
    assert not words.find_words(printed(frames, ndimage.gaussian_filter(bar, 6), 200), mask, mask, [], 0 * frames[0])


def test_a_word_that_reaches_in_is_read_whole_and_one_beside_is_left_alone(fan):
    frames, sector, _ = fan
    drawn = printed(frames, ink(sector.shape, "KOWALSKI", "-Bold", 28, AT), 230)
    for first, found in ((370, True), (420, False)):  # its last letter lies in what is kept, or none
        mask = sector & (np.arange(sector.shape[1]) >= first)
        assert words.find_words(drawn, sector, mask, [(drawn.min(0), drawn.max(0))], 0 * frames[0]) == found


@pytest.mark.parametrize(("shown", "frame"), [(MIDDLE, 3), (LAST, FRAMES - 1)])
def test_a_frame_that_flashes_is_looked_at_alone(shown, frame, fan, monkeypatch):
    frames, sector, mask = fan
    wild = np.repeat(frames[:1], FRAMES, 0) / 2 + np.random.default_rng(1).normal(0, 10, frames.shape) * sector
    drawn = printed(wild.clip(0, 255), ink(mask.shape, "Nowak", "", 20, AT), 150, shown)
    assert words._flicker_and_flashes(drawn)[1][0] == frame
    monkeypatch.setattr(words, "_SURE_OF_CHANGES", 2.0)  # what differs between frames tells nothing
    still = np.median(drawn, 0).astype(np.uint8)
    assert words.find_words(drawn, mask, mask, [(still, still)], 0 * still)
    assert not words.find_words(wild.clip(0, 255).astype(np.uint8), mask, mask, [(still, still)], 0 * still)


def test_a_picture_larger_than_a_tile_is_seen_everywhere(monkeypatch, fan):
    frames, _, mask = fan
    monkeypatch.setattr(words, "_TILE", (256, 320))
    monkeypatch.setattr(words, "_OVERLAP", 96)
    share = ink(mask.shape, "KOWALSKI", "", 16, (310, 256))
    assert words.find_words(printed(frames, share, 255), mask, mask, [], 0 * frames[0])


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_without_the_network_nothing_passes(damage, monkeypatch, scene, tmp_path):
    frames, sector = scene["fan"](0), scene["inside_fan"]()
    assert clear_pixels(RawFrames(frames, 25.0), 25.0).mask.any()
    (tmp_path / "empty.onnx").write_bytes(b"no network")
    monkeypatch.setattr(words, "_NETWORK", "absent.onnx" if damage == "missing" else str(tmp_path / "empty.onnx"))
    with pytest.raises(SearchError, match="can't be searched for print.*install again"):
        find_marks(frames, sector, ndimage.binary_erosion(sector, iterations=2), 25.0)
    with pytest.raises(Refusal, match="can't be searched"):
        clear_pixels(RawFrames(frames, 25.0), 25.0)
    with pytest.raises(SearchError):
        clip = Clip(torch.from_numpy(frames)[:, None] / 255, 25.0)
        search_print(clip, find_sector(clip))


def test_rapidocr_itself_is_never_loaded(fan):
    """It sets up logging, and may download."""
    words.find_words(fan[0][:2], fan[2], fan[2], [], 0 * fan[0][0])
    assert "rapidocr" not in sys.modules and "cv2" not in sys.modules


def test_a_bold_name_over_a_real_sector_is_found(test_data):
    raw = read_dicom(test_data / "faults" / "bold_name_28px.dcm", None)
    with pytest.raises(Refusal, match="burned-in text lies over the sector"):
        clear_pixels(raw, 30.0)


@pytest.mark.parametrize("name", ["a4c_echotracker.mp4", "a4c_echotracker_oblique.mp4"])
def test_whole_real_clips_hold_no_word(name, test_data):
    """A fine bright line of the probe's echo, in one frame of many, is none."""
    clip = read_clip(test_data / "echo" / name)
    assert search_print(clip, find_sector(clip))
