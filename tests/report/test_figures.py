"""Pictures: where key-points land, what colours mean, what a GIF holds."""

import io

import numpy as np
import torch
from PIL import Image

from echokdm.core.schemas import IBUG_68
from echokdm.report import figures


def test_overlay_puts_a_point_where_it_belongs() -> None:
    # One point at x = 30, y = 10 on black: at scale 4 its dot is centred at (30 + 0.5) 4 - 0.5 = 121.5, 41.5.
    points = np.full((40, 2), (30.0, 10.0))
    picture = np.asarray(figures.overlay(torch.zeros(1, 64, 64), points, 4.0)).astype(float).sum(2)
    y, x = np.indices(picture.shape)
    assert abs((x * picture).sum() / picture.sum() - 121.5) < 0.75
    assert abs((y * picture).sum() / picture.sum() - 41.5) < 0.75


def test_points_of_an_open_schema_have_their_edges_colours() -> None:
    points = np.stack([np.arange(68) % 10 * 6.0 + 3, np.arange(68) // 10 * 8.0 + 4], 1)
    image = np.asarray(figures.overlay(np.zeros((64, 64), np.float32), points, schema=IBUG_68))
    for point in (0, 16, 67):  # of the jaw, its end, and of the mouth
        x, y = np.rint((points[point] + 0.5) * 4 - 0.5).astype(int)
        assert image[y, x].max() > 100


def test_enlarging_keeps_the_frame_in_place() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 32, 32)
    picture = np.asarray(figures.to_image(ramp, 4.0))[64, :, 0]
    centres = (np.arange(32) + 0.5) * 4 - 0.5
    assert np.abs(np.interp(centres, np.arange(128), picture)[2:-2] / 255 - ramp[0, 0].numpy()[2:-2]).max() < 0.02


def test_flow_wheel_agrees_with_the_picture() -> None:
    # A flow to the right takes the colour at the wheel's right rim.
    flow = torch.zeros(2, 40, 40)
    flow[0] = 3.0
    picture = np.asarray(figures.flow_picture(flow, 3.0, 4.0)).astype(int)
    wheel = np.asarray(figures.flow_wheel(64).convert("RGB")).astype(int)
    assert np.abs(picture[120, 20] - wheel[32, 61]).max() < 25
    assert np.abs(picture[120, 20] - wheel[32, 2]).max() > 60


def test_still_flow_is_white_and_outside_the_sector_gray() -> None:
    sector = torch.zeros(40, 40, dtype=torch.bool)
    sector[20:] = True
    picture = np.asarray(figures.flow_picture(torch.zeros(2, 40, 40), 1.0, 4.0, sector))
    assert picture[140, 20].min() >= 254 and picture[20, 20].max() < 240


def test_gif_lasts_as_long_as_the_clip() -> None:
    frames = torch.rand(30, 1, 16, 16)
    with Image.open(io.BytesIO(figures.gif(frames, 30.0))) as image:
        assert image.n_frames == 30
        total = 0
        for k in range(30):
            image.seek(k)
            total += image.info["duration"]
    assert abs(total - 1000) <= 10


def test_strip_holds_the_frames() -> None:
    frames = torch.linspace(0, 1, 9).view(9, 1, 1, 1).expand(9, 1, 20, 20)
    picture = np.asarray(figures.strip([("real", frames)], list(range(9)), count=3, scale=1.0))
    assert picture.shape == (22 + 24, 92 + 3 * 24, 3)
    assert [int(picture[32, 92 + 24 * k + 10, 0]) for k in range(3)] == [0, 128, 255]


def test_every_fifth_point_has_its_number_outside_the_outline() -> None:
    angle = np.arange(40) / 40 * 2 * np.pi
    ring = np.stack([60 + 30 * np.cos(angle), 60 + 30 * np.sin(angle)], 1)
    plain, numbered, titled = (
        np.asarray(figures.overlay(np.zeros((120, 120)), ring, 3.0, **options)).astype(int)
        for options in ({}, {"every": 5}, {"title": "ED, frame 3"})
    )
    y, x = np.nonzero(np.abs(numbered - plain).sum(2))
    apart = np.hypot(x[:, None] - 3 * ring[None, :, 0], y[:, None] - 3 * ring[None, :, 1])
    assert set(np.unique(apart.argmin(1)) % 5) <= {0, 1, 4}  # a number is wider than the points are apart
    assert all((apart[:, i] < 24).any() for i in range(0, 40, 5)) and apart.min(1).max() < 24
    assert (np.hypot(x - 180, y - 180) > 85).all()
    y, x = np.nonzero(np.abs(titled - plain).sum(2))
    assert len(x) > 50 and x.max() < 180 and y.max() < 30
