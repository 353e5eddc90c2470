"""A photo's own pixels, carried at its own size: what did not move is byte for byte the photo's, what moved is where it
was asked."""

import numpy as np
import pytest
import torch
from PIL import Image

from echokdm.data.frames import fit_square
from echokdm.io.read import read_clip
from echokdm.methods.base import Carried
from echokdm.methods.photo import carry_photo

S, F = 32, 128  # the model's size, and the flow's


def textured(height: int, width: int) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def carried(flow: torch.Tensor, hidden: torch.Tensor | None = None) -> Carried:
    return Carried(
        flow, torch.zeros(len(flow), 1, F, F) if hidden is None else hidden, torch.ones(len(flow), 3, S, S) * 0.5
    )


@pytest.mark.parametrize("box", [[[60.0, 50.0], [140.0, 120.0]], [[2.0, 3.0], [60.0, 40.0]]])
def test_a_photo_that_nothing_moves_comes_back(box):
    photo = textured(200, 240)
    _, square = fit_square(photo[None], S, torch.tensor(box))
    frames = carry_photo(photo, square, carried(torch.zeros(2, 2, F, F)))
    assert frames.shape == (2, 3, 200, 240) and torch.equal(frames[0], photo) and torch.equal(frames[1], photo)


def test_a_shift_in_the_model_is_the_same_shift_in_the_photo():
    """8 px of the photo are one of the model and four of the flow's grid: whole pixels, so that nothing is
    interpolated."""
    photo = textured(400, 400)
    box = torch.tensor([[100.0, 100.0], [100.0 + 256 / 1.8, 100.0 + 256 / 1.8]])
    _, square = fit_square(photo[None], S, box)
    assert square.ratio[0] == pytest.approx(1 / 8)
    left, top = (round(v) for v in square.corner)
    flow = torch.zeros(1, 2, F, F)
    flow[0, 0, 40:88, 40:88] = 4.0
    frame = carry_photo(photo, square, carried(flow))[0]
    part = slice(top + 110, top + 150), slice(left + 110, left + 150)
    moved = slice(left + 118, left + 158)
    assert torch.allclose(frame[:, part[0], part[1]], photo[:, part[0], moved], atol=1e-4)
    outside = torch.ones(400, 400, dtype=torch.bool)
    outside[top + 60 : top + 200, left + 60 : left + 200] = False
    assert torch.equal(frame[:, outside], photo[:, outside])


def test_what_is_hidden_alone_is_drawn():
    photo = textured(128, 128)
    _, square = fit_square(photo[None], S)
    hidden = torch.zeros(1, 1, F, F)
    hidden[0, 0, 40:80, 40:80] = 1.0
    frame = carry_photo(photo, square, carried(torch.zeros(1, 2, F, F), hidden))[0]
    assert torch.allclose(frame[:, 52:68, 52:68], torch.full((3, 16, 16), 0.5), atol=1e-3)
    assert torch.equal(frame[:, :32], photo[:, :32])


def test_a_picture_is_read_as_the_camera_held_it(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:10, :10] = 255  # of the sensor's corner
    for orientation, corner in ((1, (0, 0)), (6, (0, -1)), (3, (-1, -1)), (8, (-1, 0))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
        frame = read_clip(tmp_path / "a.jpg").frames[0]
        assert frame.shape[1:] == ((40, 60) if orientation in (1, 3) else (60, 40))
        assert float(frame[:, corner[0], corner[1]].min()) > 0.9, orientation
