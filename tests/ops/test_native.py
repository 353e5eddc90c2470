"""A clip's own pixels carried by a flow that is known at the model's size, and a line of it over time."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.m_mode import line_across, m_mode
from echokdm.ops.native import NativeFrame

STEP, ORIGIN = (3.0, 3.0), (20.5, 9.5)


@pytest.fixture
def picture() -> tuple[torch.Tensor, np.ndarray]:
    """Speckle (1, 200, 260) in a half disc, with print beside it."""
    y, x = np.mgrid[:200, :260].astype(float)
    mask = (np.hypot(x - 130, y - 20) < 160) & (y > 20) & (np.abs(x - 130) < 95)
    frame = torch.randint(256, (1, 200, 260), generator=torch.Generator().manual_seed(0)) / 255
    return torch.where(torch.from_numpy(mask), frame, torch.ones(())), mask


def test_what_does_not_move_stays_to_the_bit_that_is_written(picture) -> None:
    frame, mask = picture
    out = NativeFrame(mask, ORIGIN, STEP).carry(frame, torch.zeros(2, 60, 60))
    levels = [(255 * f).round()[:, torch.from_numpy(mask)] for f in (out, frame)]
    assert torch.equal(*levels) and (out[:, torch.from_numpy(~mask)] == 0).all()


def test_a_flow_of_the_model_moves_by_its_step_in_the_clips_pixels(picture) -> None:
    frame, mask = picture
    flow = torch.stack([torch.full((60, 60), 2.0), torch.full((60, 60), -1.0)])
    out = NativeFrame(mask, ORIGIN, STEP).carry(frame, flow)
    inside = torch.from_numpy(mask & np.roll(mask, (3, -6), (0, 1)))
    expected = frame.roll((3, -6), (1, 2))  # target(p) = source(p + (6, -3))
    assert (out - expected)[:, inside].abs().max() < 1e-3


def test_nothing_from_outside_comes_in(picture) -> None:
    _, mask = picture
    frame = torch.where(torch.from_numpy(mask), 0.25, 1.0)[None]
    flow = torch.stack([torch.full((60, 60), 12.0), torch.zeros(60, 60)])
    out = NativeFrame(mask, ORIGIN, STEP).carry(frame, flow)
    assert out[:, torch.from_numpy(mask)].sub(0.25).abs().max() < 1e-4


def test_a_change_is_added_where_the_model_has_it(picture) -> None:
    frame, mask = picture
    change = torch.zeros(1, 60, 60)
    change[:, 20:30, 35:45] = -1.0
    out = NativeFrame(mask, ORIGIN, STEP).add(frame, change)
    x, y = (np.array([40.0, 25.0]) + 0.5) * np.array(STEP) + np.array(ORIGIN)
    assert out[0, round(y), round(x)] == 0 and torch.equal(out[0, 60:80, 60:80], frame[0, 60:80, 60:80])


def test_m_mode_shows_a_moving_wall_where_it_is() -> None:
    frames = torch.zeros(5, 1, 40, 60)
    for t in range(5):
        frames[t, :, :, 20 + 3 * t] = 1.0
    picture = m_mode(frames, ((5.0, 10.0), (55.0, 10.0)))
    assert picture.shape == (51, 5) and picture.argmax(0).tolist() == [15, 18, 21, 24, 27]
    with pytest.raises(GeometryError, match="60 x 40"):
        m_mode(frames, ((5.0, 10.0), (60.0, 10.0)))


def test_the_line_lies_across_the_ventricle_and_inside_the_sector(picture) -> None:
    _, mask = picture
    down = np.linspace(60, 130, 20)
    points = np.concatenate([np.stack([np.full(20, 110.0), down], 1), np.stack([np.full(20, 150.0), down[::-1]], 1)])
    (x0, y0), (x1, y1) = line_across(points, mask)
    assert y0 == pytest.approx(95, abs=1) and y1 == pytest.approx(95, abs=1) and x0 < 110 < 150 < x1
    assert mask[round(y0), round(x0)] and mask[round(y1), round(x1)] and x1 - x0 > 180
