"""Print over the sector is found, dim, brief, bold or half outside; tissue that moves and flickers is not taken for
it."""

import numpy as np
import pytest
from scipy import ndimage

from echokdm.deid.marks import find_marks
from echokdm.deid.pixels import clear_pixels
from echokdm.deid.reasons import Refusal
from echokdm.io.raw import RawFrames


@pytest.fixture(scope="module")
def fan(scene):
    """(T, H, W) uint8, its sector and its mask."""
    sector = scene["inside_fan"]()
    return scene["fan"](7, 40), sector, ndimage.binary_erosion(sector, iterations=2)


def found(frames, fan):
    return find_marks(frames, fan[1], fan[2], 40.0)[1]


def test_speckle_is_no_print(fan):
    shown, marked = find_marks(*fan, 40.0)
    assert not marked and shown.shape == fan[1].shape and 0 < shown[fan[2]].mean() < fan[0][:, fan[2]].mean()


@pytest.mark.parametrize(
    ("frames", "value"),
    [
        (slice(None), 110),
        (slice(None), 255),
        (slice(12, 16), 200),
        (slice(21, 22), 255),
        (slice(0, 9), 200),
        (slice(31, None), 200),
    ],
)
def test_dim_and_brief_print_is_found(fan, scene, frames, value):
    assert found(scene["burn"](fan[0], scene["letters"]("KOWAL", 60, 62), value=value, frames=frames), fan)


def test_print_that_reaches_into_the_sector_is_found_and_print_beside_it_is_not(fan, scene):
    edge = np.flatnonzero(fan[1][65])[0]
    letter = scene["letters"]("N", 0, 60)
    wide = np.flatnonzero(letter.any(0))[-1]
    reaching, beside = (np.roll(letter, edge - wide + depth, 1) for depth in (5, -6))
    assert (reaching & fan[2]).any()
    assert not found(scene["burn"](fan[0], reaching & fan[2]), fan)  # too little for a word
    assert found(scene["burn"](fan[0], reaching), fan)
    assert not found(scene["burn"](fan[0], beside), fan)


def test_bold_print_on_a_wide_screen_is_found(fan, scene):
    frames, sector, mask = (np.repeat(np.repeat(part, 6, -2), 6, -1) for part in fan)
    frames = np.round([ndimage.gaussian_filter(frame, 5.0) for frame in frames[:10]]).astype(np.uint8)
    bold = np.repeat(np.repeat(scene["letters"]("KOW", 66, 60), 4, 0), 4, 1)
    bold = np.pad(bold, ((120, 120), (160, 160)))  # strokes of four pixels and more
    wide = frames, sector, mask
    assert not found(frames, wide)
    assert found(scene["burn"](frames, bold), wide)


def test_a_heart_that_moves_far_is_one_picture_and_a_cut_is_two(scene):
    """Each frame is like its neighbours, and the ends are unlike the middle."""
    y, x = np.mgrid[0:120, 0:160]
    ends = [(0.5 + 0.45 * np.sin(x / 9 + phase) * np.cos(y / 9)) * scene["inside_fan"]() for phase in (0.0, 1.6, 3.2)]
    share = np.linspace(0, 2, 30)
    still = [ends[int(s)] * (1 - s % 1) + ends[min(int(s) + 1, 2)] * (s % 1) for s in share]
    rng = np.random.default_rng(0)
    speckle = [ndimage.gaussian_filter(rng.rayleigh(1, (120, 160)), 1.2) for _ in share]
    frames = np.stack(
        [np.round((frame * grain).clip(0, 1) * 200) for frame, grain in zip(still, speckle, strict=True)]
    ).astype(np.uint8)
    assert clear_pixels(RawFrames(frames, 30.0), 30.0).mask.any()
    with pytest.raises(Refusal, match="another picture"):
        clear_pixels(RawFrames(np.concatenate([frames[-4:], frames[:20]]), 30.0), 30.0)


@pytest.mark.parametrize("width", [3, 12])
def test_one_frame_with_more_beside_the_fan_does_not_widen_the_mask(scene, width):
    beside = scene["inside_fan"](width) & ~scene["inside_fan"]()
    beside[:, :80] = False
    frames = scene["fan"](0)
    frames[3] = np.where(beside, np.random.default_rng(0).rayleigh(30, beside.shape).clip(0, 255), frames[3])
    if width == 3:
        assert not clear_pixels(RawFrames(frames, 25.0), 25.0).mask[~scene["inside_fan"]()].any()
    else:
        with pytest.raises(Refusal, match="disagree on where"):
            clear_pixels(RawFrames(frames, 25.0), 25.0)
