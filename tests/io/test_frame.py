"""The model's frame: exact maps, square millimetres, nothing from outside the sector."""

import numpy as np
import pytest
import torch
from pydicom import examples

from echokdm.core.errors import ClipError
from echokdm.core.types import Clip
from echokdm.io import find_sector, read_clip, to_model_frame


@pytest.fixture(scope="module")
def clip(fan, as_clip):
    return as_clip(fan(), spacing_mm=(0.8, 0.8))


@pytest.fixture(scope="module")
def sector(clip):
    return find_sector(clip)


def test_shape_mask_and_spacing(clip, sector):
    frame = to_model_frame(clip, sector)
    assert frame.clip.frames.shape == (12, 1, 112, 112) and frame.clip.frames.dtype == torch.float32
    assert frame.sector_mask.shape == (112, 112) and frame.sector_mask.dtype == bool
    assert float(frame.clip.frames[..., torch.from_numpy(~frame.sector_mask)].abs().max()) == 0
    assert frame.clip.spacing_mm == pytest.approx((0.8 * frame.step[1], 0.8 * frame.step[0]))
    assert frame.scale == pytest.approx(1 / frame.step[0]) and frame.step[0] == frame.step[1]
    assert frame.clip.fps == clip.fps and "region" not in frame.clip.meta


def test_sector_is_centred_and_starts_at_the_top(clip, sector):
    columns = np.flatnonzero(to_model_frame(clip, sector).sector_mask.any(0))
    rows = np.flatnonzero(to_model_frame(clip, sector).sector_mask.any(1))
    assert abs((columns[0] + columns[-1]) / 2 - 55.5) <= 1 and 1 <= columns[0] <= 4
    assert 1 <= rows[0] <= 4


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_maps_are_inverse_and_meet_at_pixel_centres(clip, sector, kind):
    frame = to_model_frame(clip, sector)
    points = np.random.default_rng(0).uniform(-20, 340, (7, 40, 2))
    given = points if kind == "numpy" else torch.from_numpy(points)
    back = frame.to_source(frame.to_model(given))
    assert type(back) is type(given) and float(abs(back - given).max()) < 1e-9
    # The borders of the frame: half a pixel beyond the outermost centres.
    assert frame.to_source(np.array([-0.5, -0.5])) == pytest.approx(frame.origin)
    assert frame.to_source(np.array([111.5, 111.5])) == pytest.approx(
        np.array(frame.origin) + 112 * np.array(frame.step)
    )


def test_a_bright_spot_lands_where_the_map_says(clip, sector):
    spot = (171.0, 120.0)
    y, x = np.mgrid[0:240, 0:320]
    blob = np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 4.0**2)).astype(np.float32)
    frame = to_model_frame(Clip(torch.from_numpy(blob)[None, None], 30.0), sector)
    image = frame.clip.frames[0, 0].numpy()
    v, u = np.mgrid[0:112, 0:112]
    centre = np.array([(image * u).sum(), (image * v).sum()]) / image.sum()
    assert frame.to_model(np.array(spot)) == pytest.approx(centre, abs=0.02)


def test_aspect_is_kept_in_millimetres(fan, as_clip):
    """Two spots 40 mm apart across and along the beam are as far apart in the model's frame, whatever the pixels'
    shape."""
    tall = fan(480, 640, (320.0, 20.0), -38, 38, 10, 420, text=False).reshape(12, 480, 320, 2).mean(-1)
    clip = as_clip(tall, spacing_mm=(0.2, 0.4))
    frame = to_model_frame(clip, find_sector(clip))
    row, column = frame.clip.spacing_mm
    assert row == pytest.approx(column, rel=0.005)
    a, across, along = (frame.to_model(np.array(p)) for p in ((120.0, 200.0), (220.0, 200.0), (120.0, 400.0)))
    assert np.linalg.norm(across - a) == pytest.approx(np.linalg.norm(along - a), rel=0.005)


def test_what_is_burned_in_beside_the_sector_does_not_bleed_in(clip, sector):
    bright = clip.frames.clone()
    bright[..., torch.from_numpy(~sector.mask)] = 1.0
    assert torch.equal(
        to_model_frame(clip.with_frames(bright), sector).clip.frames, to_model_frame(clip, sector).clip.frames
    )


def test_the_sectors_border_is_as_bright_as_its_middle(sector):
    frame = to_model_frame(Clip(torch.full((1, 1, 240, 320), 0.5), 30.0), sector)
    inside = frame.clip.frames[0, 0][torch.from_numpy(frame.sector_mask)]
    assert float((inside - 0.5).abs().max()) < 1e-5


def test_resizing_is_anti_aliased(sector):
    stripes = torch.zeros(1, 1, 240, 320)
    stripes[..., ::2] = 1.0
    frame = to_model_frame(Clip(stripes, 30.0), sector)
    inside = frame.clip.frames[0, 0][30:60, 40:70]
    assert float((inside - 0.5).abs().max()) < 0.2


def test_a_clip_of_the_models_size_stays_as_it_is(fan, as_clip):
    clip = as_clip(fan(112, 112, (56.0, 2.0), -42, 42, 3, 106, text=False))
    frame = to_model_frame(clip, find_sector(clip))
    mask = torch.from_numpy(frame.sector_mask)
    assert frame.scale == 1 and torch.equal(frame.clip.frames[..., mask], clip.frames[..., mask])
    assert frame.to_source(np.array([3.0, 4.0])) == pytest.approx((3, 4))


def test_another_size_and_colour(clip, sector):
    coloured = clip.with_frames(clip.frames.expand(-1, 3, -1, -1))
    frame = to_model_frame(coloured, sector, size=224)
    assert frame.clip.frames.shape == (12, 1, 224, 224)
    assert torch.allclose(frame.clip.frames, to_model_frame(clip, sector, size=224).clip.frames, atol=1e-6)


def test_a_frame_does_not_depend_on_its_neighbours(clip, sector):
    alone = to_model_frame(clip.with_frames(clip.frames[4:5]), sector).clip.frames
    assert torch.equal(alone, to_model_frame(clip, sector).clip.frames[4:5])


def test_a_sector_of_another_clip_is_refused(sector):
    with pytest.raises(ClipError, match="find it again"):
        to_model_frame(Clip(torch.zeros(2, 1, 100, 100), 30.0), sector)


def test_the_bundled_echo_has_its_heart_and_its_millimetres():
    clip = read_clip(examples.get_path("ybr_color"))
    frame = to_model_frame(clip, find_sector(clip))
    row, column = frame.clip.spacing_mm
    assert row == pytest.approx(column) and row == pytest.approx(1.021 * 266 / 112, abs=0.02)
    # The mitral leaflet and septum's end, bright in the first frame at about (155, 135) of the source.
    x, y = frame.to_model(np.array([155.0, 140.0]))
    assert float(frame.clip.frames[0, 0, round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].max()) > 0.35
