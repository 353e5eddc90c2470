"""The sector: exact on fans of known geometry, on both real clips, and refused where it can't be had."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import examples

from echokdm.core.errors import ClipError
from echokdm.core.types import Clip
from echokdm.io import find_sector, read_clip


def jpeg(frames, quality):
    def once(frame):
        file = io.BytesIO()
        Image.fromarray(np.round(frame * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)) / 255

    return np.stack([once(frame) for frame in frames])


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


WIDE = dict(height=240, width=320, apex=(160.0, 12.0), left=-40.0, right=40.0, near=12.0, far=200.0)
SMALL = dict(height=112, width=112, apex=(56.0, 2.0), left=-42.0, right=42.0, near=3.0, far=106.0)


@pytest.mark.parametrize(
    ("geometry", "burned_in", "quality", "least"),
    [
        ({}, {}, None, 0.99),
        ({}, {"ecg": True, "shadow": True}, None, 0.99),
        ({}, {"frames": 1}, None, 0.99),
        ({}, {"frames": 2}, None, 0.985),
        ({}, {}, 50, 0.98),
        ({"left": -30.0, "right": 48.0, "apex": (130.0, 8.0)}, {"shadow": True}, None, 0.99),
        ({"apex": (160.0, -20.0), "near": 45.0, "far": 225.0, "left": -32.0, "right": 32.0}, {}, None, 0.985),
        ({"height": 480, "width": 640, "apex": (330.0, 25.0), "near": 25.0, "far": 400.0}, {"ecg": True}, None, 0.985),
        (SMALL, {"text": False}, None, 0.98),
        (
            {**SMALL, "apex": (56.0, -3.0), "near": 8.0, "far": 112.0, "left": -45.0, "right": 45.0},
            {"text": False},
            75,
            0.97,
        ),
    ],
)
def test_fans_of_known_geometry(fan, fan_truth, as_clip, geometry, burned_in, quality, least):
    shape = {**WIDE, **geometry}
    frames = fan(**shape, **burned_in)
    sector = find_sector(as_clip(jpeg(frames, quality) if quality else frames))
    pixel = shape["width"] / min(shape["width"], 320)
    assert overlap(sector.mask, fan_truth(**shape)) > least
    # A border pixel that is half covered counts as inside, so the fan comes out up to a pixel larger, never smaller.
    assert np.abs(np.subtract(sector.apex, shape["apex"])).max() < 1.3 * pixel
    assert np.degrees(sector.angles) == pytest.approx((shape["left"], shape["right"]), abs=0.35)
    assert -0.5 * pixel < sector.radii[1] - shape["far"] < 1.6 * pixel


def test_text_scale_menu_and_ecg_lie_outside(fan, as_clip):
    sector = find_sector(as_clip(fan(ecg=True)))
    assert not sector.mask[:13, :41].any() and not sector.mask[-12:].any() and not sector.mask[:, -8:].any()
    assert not sector.mask[215:].any()


def test_corners_cut_by_the_scanner(fan, fan_truth, as_clip):
    truth = fan_truth(**WIDE)
    truth[:, :50] = truth[:, 271:] = False
    sector = find_sector(as_clip(fan(cut=(50, 270))))
    assert overlap(sector.mask, truth) > 0.99
    assert sector.box[0] == 50 and sector.box[2] == 271
    outline = sector.outline()
    assert outline[:, 0].min() == pytest.approx(49.5) and outline[:, 0].max() == pytest.approx(270.5)


def test_region_tag_cuts_and_a_wrong_one_does_not(fan, fan_truth, as_clip):
    clip = as_clip(fan())
    assert find_sector(clip, (45, 0, 275, 230)).box[0] == 45
    assert overlap(find_sector(clip, (200, 100, 319, 239)).mask, fan_truth(**WIDE)) > 0.99


def test_oblong_pixels(fan, fan_truth, as_clip):
    """CAMUS has rows of 0.154 mm and columns of 0.308 mm: the fan is a fan in mm only."""
    tall = fan(480, 640, (320.0, 20.0), -38, 38, 10, 420, text=False).reshape(12, 480, 320, 2).mean(-1)
    truth = fan_truth(480, 640, (320.0, 20.0), -38, 38, 10, 420).reshape(480, 320, 2).all(-1)
    sector = find_sector(as_clip(tall, spacing_mm=(0.154, 0.308)))
    assert overlap(sector.mask, truth) > 0.985
    assert np.degrees(sector.angles) == pytest.approx((-38, 38), abs=0.3)
    by_aspect = find_sector(as_clip(tall, meta={"pixel_aspect": 0.5}))
    assert np.array_equal(by_aspect.mask, sector.mask)


def test_a_stretched_picture_has_its_arc_followed(fan, fan_truth, as_clip):
    """A clip stretched on its way here, as the shared one is: the far arc is no circle around the apex any more."""

    def stretched(frames):
        tensor = torch.from_numpy(np.asarray(frames, np.float32))[:, None]
        return torch.nn.functional.interpolate(tensor, (262, 320), mode="bilinear")[:, 0].numpy()

    frames = stretched(fan(**WIDE, text=False))
    truth = stretched(fan_truth(**WIDE)[None])[0] > 0.5
    sector = find_sector(as_clip(frames))
    assert overlap(sector.mask, truth) > 0.985 and sector.fan.sink > 5


def uniform_noise():
    return np.random.default_rng(0).random((8, 120, 160)) * 0.8


def linear_probe():
    frames = np.zeros((8, 200, 260))
    frames[:, 30:170, 40:220] = np.random.default_rng(0).rayleigh(0.2, (8, 140, 180)).clip(0, 1)
    return frames


def nothing():
    return np.zeros((4, 120, 160))


def text_alone():
    frames = np.zeros((8, 120, 160))
    frames[:, 5:15, 5:60] = np.random.default_rng(0).random((10, 55)) > 0.5
    return frames


@pytest.mark.parametrize("make", [uniform_noise, linear_probe, nothing, text_alone])
def test_no_sector_no_pixels(as_clip, make):
    with pytest.raises(ClipError, match="sector"):
        find_sector(as_clip(make()))


def test_an_upside_down_fan_and_a_tiny_clip_are_refused(fan, as_clip):
    with pytest.raises(ClipError, match="apex up"):
        find_sector(as_clip(fan(text=False)[:, ::-1].copy()))
    with pytest.raises(ClipError, match="too small"):
        find_sector(as_clip(fan(40, 40, (20.0, 2.0), -40, 40, 2, 35, text=False)))


def test_a_fan_that_leaves_tissue_outside_is_never_accepted(fan, fan_truth, as_clip):
    """One half black but for its tip: the truth or a refusal, not the other half alone."""
    frames = fan(**WIDE, text=False)
    frames[:, fan_truth(**{**WIDE, "left": 5.0, "near": 80.0})] = 0
    try:
        mask = find_sector(as_clip(frames)).mask
    except ClipError:
        return
    assert (mask & (frames.max(0) > 0.1)).sum() > 0.97 * (frames.max(0) > 0.1).sum()


def coloured(gray, colour, rows=slice(90, 120), columns=slice(140, 190)):
    frames = torch.from_numpy(np.repeat(gray[:, None], 3, 1).astype(np.float32))
    frames[:, :, rows, columns] *= torch.tensor(colour).view(1, 3, 1, 1) / 0.4
    return Clip(frames.clamp(0, 1), 30.0)


def test_colour_doppler_is_refused_and_a_tinted_map_or_label_is_not(fan):
    gray = fan(text=False)
    with pytest.raises(ClipError, match="colour Doppler"):
        find_sector(coloured(gray, (0.9, 0.1, 0.05)))
    with pytest.raises(ClipError, match="colour Doppler"):
        find_sector(coloured(gray, (0.05, 0.1, 0.9)))
    labelled = coloured(gray, (0.4, 0.4, 0.4))
    labelled.frames[:, 0, 3:10, 3:30] = 1
    find_sector(labelled)


EVERYWHERE = slice(None)
TINTS = {
    "blue": (0.12, 0.2, 0.4),
    "brown": (0.4, 0.28, 0.16),
    "sepia": (0.44, 0.40, 0.30),
    "amber": (0.4, 0.24, 0.04),
    "violet": (0.28, 0.12, 0.4),
}


@pytest.mark.parametrize("tint", TINTS)
def test_a_tint_is_worked_on_and_flow_over_it_is_not(fan, tint):
    frames = coloured(fan(text=False), TINTS[tint], EVERYWHERE, EVERYWHERE).frames
    plain = find_sector(Clip(frames, 30.0))
    assert (
        overlap(plain.mask, find_sector(coloured(fan(text=False), (0.4, 0.4, 0.4), EVERYWHERE, EVERYWHERE)).mask) > 0.97
    )
    pictures = [Image.fromarray(np.round(f.permute(1, 2, 0).numpy() * 255).astype(np.uint8)) for f in frames]
    files = [io.BytesIO() for _ in pictures]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file, "JPEG", quality=75)
    through_jpeg = np.stack([np.asarray(Image.open(file)) for file in files])
    find_sector(Clip(torch.from_numpy(through_jpeg).permute(0, 3, 1, 2).float() / 255, 30.0))
    for colour in ((0.95, 0.15, 0.05), (0.1, 0.9, 0.85)):
        flow = frames.clone()
        flow[:, :, 90:130, 130:190] = torch.tensor(colour).view(1, 3, 1, 1)
        with pytest.raises(ClipError, match="colour Doppler"):
            find_sector(Clip(flow, 30.0))


def on_page(frames, mask, level, boxed):
    """(T, H, W) and its mask on a page of a level, with lines of letters and a ruler beside it; boxed: with its black
    corners."""
    top, left, bottom, right = 26, 30, 17, 40
    page = np.full((len(frames), mask.shape[0] + top + bottom, mask.shape[1] + left + right), level)
    inner = np.s_[:, top : top + mask.shape[0], left : left + mask.shape[1]]
    page[inner] = frames if boxed else np.where(mask, frames, level)
    page[:, 4:9, 8:80] = np.where(np.random.default_rng(1).random((5, 72)) > 0.5, 0.0, level)
    page[:, top : top + mask.shape[0] : 10, left + mask.shape[1] + 4 : left + mask.shape[1] + 10] = 0.0
    found = np.zeros(page.shape[1:], bool)
    found[inner[1:]] = mask
    return page, found


@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("level", [1.0, 200 / 255, 128 / 255])
@pytest.mark.parametrize(("shape", "frames"), [(SMALL, 2), (WIDE, 8)])
def test_a_fan_on_a_page_is_found_and_nothing_of_the_page_is(fan, fan_truth, as_clip, shape, frames, level, boxed):
    page, truth = on_page(fan(**shape, text=False, frames=frames), fan_truth(**shape), level, boxed)
    mask = find_sector(as_clip(jpeg(page, 85))).mask
    assert overlap(mask, truth) > 0.9 and (mask & ~truth).sum() < 0.02 * truth.sum()


def test_a_page_without_a_fan_is_refused(as_clip):
    with pytest.raises(ClipError, match="sector"):
        find_sector(as_clip(np.full((4, 120, 160), 1.0)))


def test_two_panels_are_refused_with_the_columns_to_cut_out(fan, as_clip):
    left, right = fan(**WIDE, seed=1), fan(**{**WIDE, "left": -35.0, "far": 190.0}, seed=2)
    both = np.concatenate([left, right], 2)
    with pytest.raises(ClipError, match="two panels.*left.*columns 0 to 3.*right.*columns 3.* to 639") as error:
        find_sector(as_clip(both))
    column = int(str(error.value).split("columns ")[2].split()[0])
    for part in (both[:, :, :column], both[:, :, column:]):
        find_sector(as_clip(part))
    with pytest.raises(ClipError, match=r"left one, columns 0 to .*the other shows colour Doppler"):
        find_sector(coloured(both, (0.9, 0.1, 0.05), columns=slice(460, 510)))


def test_the_bundled_echo():
    clip = read_clip(examples.get_path("ybr_color"))
    sector = find_sector(clip)
    # Traced by hand on the frames: the edges at two depths each, the arc's lowest point, the probe's face.
    assert sector.outline()[:, 1].max() == pytest.approx(201.5, abs=1)
    assert sector.outline()[:, 1].min() == pytest.approx(21.5, abs=1.5)
    rows = sector.mask[70], sector.mask[110]
    assert [int(np.flatnonzero(r)[0]) for r in rows] == pytest.approx([112, 75], abs=2)
    assert [int(np.flatnonzero(r)[-1]) for r in rows] == pytest.approx([227, 264], abs=2)
    assert sector.fan.sink == pytest.approx(0, abs=6)
    outside = clip.gray[:, 0].numpy()[:, ~sector.mask]
    assert (outside > 0.3).any()  # the text
    # Name, mode, scale, marker dot, menu.
    assert not sector.mask[:26, :40].any() and not sector.mask[:, 298:].any() and not sector.mask[15:25, 186:194].any()
    assert not sector.mask[205:].any() and not sector.mask[:, :42].any()


def test_both_files_of_the_shared_echo(test_data):
    large = find_sector(read_clip(test_data / "echo/a4c_echotracker.mp4", max_frames=16))
    small = find_sector(read_clip(test_data / "echo/a4c_echotracker.npz"))
    assert np.array(large.apex) / 4 == pytest.approx(np.array(small.apex), abs=1)
    assert overlap(large.mask[2::4, 2::4], small.mask) > 0.99
    # The picture's own corners: apex in the middle of the top, the arc's ends at both sides, its foot at the bottom.
    assert large.apex == pytest.approx((511.5, -2), abs=4)
    left = large.outline()[:, 0].argmin()
    assert large.outline()[left] == pytest.approx((2, 540), abs=5)
    assert large.outline()[:, 1].max() == pytest.approx(767, abs=2.5)
