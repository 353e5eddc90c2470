"""The face: lips and lids that part over what lies behind them, and landmarks that ride on the skin."""

import itertools

import pytest
import torch

from echokdm.phantom.face import INNER, SKIN, FacePhantom


@pytest.fixture(scope="module")
def faces():
    return FacePhantom(range(6), 128)


def pose(faces, **values):
    """(B, P): at rest but for what is named."""
    return torch.tensor([[values.get(name, 0.0) for name in faces.pose_names]]).expand(len(faces.seeds), -1)


def points(faces, **values):
    return faces.keypoints(pose(faces, **values)[:, None])[:, 0]


def area(faces, layer, below=None, **values):
    shown = faces.layers(pose(faces, **values)[:, None])[:, 0] == layer
    return shown[:, below:].float().sum((1, 2))


def test_an_open_mouth_shows_what_no_warp_can_fetch(faces):
    half = 72  # the eyes lie above, the mouth below
    assert (area(faces, INNER, half, mouth=1.0) > 150).all() and (area(faces, INNER, half, mouth=0.0) < 40).all()
    wide, closed = pose(faces, mouth=1.0), pose(faces)
    inside = faces.layers(wide[:, None]) == INNER
    inside[:, :, :half] = False
    assert (faces.visible(wide, closed) & inside).sum() < 0.1 * inside.sum()
    assert (faces.visible(closed, wide)[faces.layers(closed[:, None]) == SKIN]).all()  # skin parts, and no skin is lost


def test_lids_close(faces):
    half = 72
    awake, asleep = (area(faces, INNER, blink=blink) - area(faces, INNER, half, blink=blink) for blink in (0.0, 1.0))
    assert (awake > 60).all() and (asleep < 0.25 * awake).all()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        still, shut = (points(faces, blink=blink) for blink in (0.0, 1.0))
        assert (still[:, lower, 1] - still[:, upper, 1] > 2).all() and (shut[:, lower, 1] - shut[:, upper, 1] < 1).all()


def test_expressions_move_their_landmarks(faces):
    rest, smile, brow = points(faces), points(faces, smile=1.0), points(faces, brow=1.0)
    width = lambda p: p[:, 54, 0] - p[:, 48, 0]  # noqa: E731
    assert (width(smile) > width(rest) + 2).all() and (smile[:, [48, 54], 1] < rest[:, [48, 54], 1]).all()
    assert (brow[:, 17:27, 1] < rest[:, 17:27, 1] - 0.5).all() and (brow[:, :17] - rest[:, :17]).abs().max() < 0.7
    jaw = points(faces, mouth=1.0)
    assert (jaw[:, 8, 1] > rest[:, 8, 1] + 3).all() and (jaw[:, 66, 1] - jaw[:, 62, 1] > 6).all()


def test_a_turn_moves_the_nose_past_the_outline(faces):
    moved = points(faces, turn=0.4) - points(faces)
    assert (moved[:, 30, 0] > moved[:, 8, 0]).all() and (moved[:, 30, 0] > 5).all()
    assert (moved[:, 30, 0] > 1.5 * moved[:, [0, 16], 0].abs().mean(1)).all()


def test_landmarks_are_mirror_images_in_a_still_face(faces):
    rest = points(faces)
    for left, right in faces.schema.pairs:
        assert torch.allclose(rest[:, left, 0] + rest[:, right, 0], torch.tensor(127.0), atol=0.01)
        assert torch.allclose(rest[:, left, 1], rest[:, right, 1], atol=0.01)


def test_the_flow_is_exact_and_landmarks_stay_on_the_skin_at_the_ends_of_every_range(faces):
    for mouth, smile, brow, turn, nod in itertools.product(
        (0.0, 1.0), (-1.0, 1.0), (0.0, 1.0), (-0.4, 0.4), (-0.15, 0.15)
    ):
        extreme = pose(faces, mouth=mouth, smile=smile, brow=brow, turn=turn, nod=nod)
        assert faces.flow(extreme, extreme).abs().max() < 0.01  # there and back again, px
        assert faces.keypoints_visible(extreme[:, None]).float().mean() > 0.995
