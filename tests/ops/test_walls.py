"""The walls' names, the lines that they are measured along, and which side the septum is on."""

import numpy as np
import pytest

from echokdm.core.errors import ConfigError
from echokdm.ops import walls
from echokdm.ops.chords import chord_positions


def box(length=40.0, width=20.0):
    """Key-points of a rectangle with its axis down the image from (50, 10)."""
    y = 10 + chord_positions() * length
    return np.concatenate([np.stack([50 - width / 2 + 0 * y, y], 1), np.stack([50 + width / 2 + 0 * y, y], 1)[::-1]])


def test_walls_are_read():
    assert walls.parse_walls(["apical-septal=0", " Basal-Lateral = -0.5"]) == {
        "apical-septal": 0.0,
        "basal-lateral": -0.5,
    }
    assert walls.parse_walls([]) == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["apex=0"], ", ".join(walls.WALLS)),
        (["mid-septal=0", "mid-septal=1"], "twice"),
        (["mid-septal"], "SEGMENT=FACTOR"),
        (["mid-septal=weak"], "SEGMENT=FACTOR"),
        (["mid-septal=nan"], "SEGMENT=FACTOR"),
    ],
)
def test_other_texts_are_refused(texts, said):
    with pytest.raises(ConfigError, match=said):
        walls.parse_walls(texts)


def test_lines_run_from_the_apex_to_the_hinges():
    lines = walls.wall_lines(box()[None])
    np.testing.assert_allclose(lines[0, :, 0], [[50, 10], [50, 10]], atol=1e-9)
    np.testing.assert_allclose(lines[0, :, -1], [[40, 50], [60, 50]], atol=1e-9)
    np.testing.assert_allclose(lines[0, :, 4:24], [box()[:20], box()[:19:-1]])
    along = walls.along_walls(lines)
    # from the first chord, 1 px below the apex, straight down
    np.testing.assert_allclose(along[0, :, -1] - along[0, :, 4], 39)


def test_order_of_segments_is_kept():
    six = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(walls.by_wall(six[0], True), [[2, 1, 0], [3, 4, 5]])
    np.testing.assert_array_equal(walls.by_wall(six[0], False), [[3, 4, 5], [2, 1, 0]])
    for first in (True, False):
        np.testing.assert_array_equal(walls.in_order(walls.by_wall(six, first), first), six)


@pytest.mark.parametrize("tilt", [-0.7, 0.0, 0.7])
def test_the_septum_faces_the_right_heart(tilt):
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    points = ((box() - [50, 30]) @ turn + [50, 30])[None]
    right = np.zeros((1, 112, 112), bool)
    right[:, 30:50, 5:25] = True
    assert walls.septum_is_first(points, right)
    assert not walls.septum_is_first(points, right[..., 99::-1])
    assert walls.septum_is_first(points, np.zeros_like(right))
