"""What moves, how far a flow reaches, and what is laid open: by hand on drawn rods and on the face phantom."""

import pytest
import torch

from echokdm.core.schemas import IBUG_68, OPENPOSE_COCO_18
from echokdm.ops.fill import filled_from_around
from echokdm.ops.reach import MARGIN, box_side, laid_open, reach_of, uncovered
from echokdm.ops.skeleton import ONWARD, limb_flow
from echokdm.ops.tps import through_keypoints
from echokdm.ops.warp import pixel_grid, sample_points, warp
from echokdm.phantom.face import FacePhantom

SIZE = 96


def face() -> torch.Tensor:
    return FacePhantom([3], SIZE).keypoints(torch.zeros(1, 1))[0, 0]


def body() -> torch.Tensor:
    """A person that stands, (18, 2) px: the right arm hangs at x = 30."""
    places = {
        "nose": (48, 14),
        "neck": (48, 22),
        "right_shoulder": (36, 24),
        "right_elbow": (30, 36),
        "right_wrist": (30, 48),
        "left_shoulder": (60, 24),
        "left_elbow": (66, 36),
        "left_wrist": (66, 48),
        "right_hip": (42, 50),
        "right_knee": (42, 66),
        "right_ankle": (42, 82),
        "left_hip": (54, 50),
        "left_knee": (54, 66),
        "left_ankle": (54, 82),
        "right_eye": (46, 12),
        "left_eye": (50, 12),
        "right_ear": (43, 13),
        "left_ear": (53, 13),
    }
    return torch.tensor([places[name] for name in OPENPOSE_COCO_18.names], dtype=torch.float32)


def raised() -> tuple[torch.Tensor, torch.Tensor]:
    """That person, and it with the right forearm turned to the side, 90 degrees."""
    points = body()
    moved = points.clone()
    moved[OPENPOSE_COCO_18.names.index("right_wrist")] = torch.tensor([18.0, 36.0])
    return points, moved


def test_a_mouth_that_opens_moves_nothing_above_the_eyes():
    points = face()
    opened = points.clone()
    opened[[55, 56, 57, 58, 59, 65, 66, 67, *range(6, 11)], 1] += 6.0
    reach = reach_of(points, opened[None], IBUG_68, SIZE, SIZE)[0, 0]
    margin = MARGIN * box_side(points)
    low = points[48:].amin(0)[1]  # nothing higher than the lips is asked to move
    assert float(reach[: int(low - margin) - 1].max()) == 0.0
    x, y = opened[8].round().long().tolist()
    assert float(reach[y, x]) == 1.0 and float(reach[0].max()) == 0.0


def test_a_head_that_turns_takes_its_hair_along():
    points = face()
    turned = points + torch.tensor([4.0, 0.0])
    whole = reach_of(points, turned[None], IBUG_68, SIZE, SIZE)[0, 0]
    chin = points.clone()
    chin[8] += 4.0
    top = int(points[17:27, 1].min() - 0.4 * box_side(points))  # well above the brows
    x = int(points[27, 0])
    assert float(whole[max(top, 6), x]) > 0.9
    assert float(reach_of(points, chin[None], IBUG_68, SIZE, SIZE)[0, 0, max(top, 6), x]) == 0.0


def test_no_motion_reaches_nowhere_and_lays_nothing_open():
    points = face()
    assert float(reach_of(points, points[None], IBUG_68, SIZE, SIZE).max()) == 0.0
    assert float(laid_open(points, points[None], IBUG_68, SIZE, SIZE).max()) == 0.0


def test_an_opened_mouth_is_laid_open_and_an_open_one_is_carried():
    points = face()
    shut = points.clone()
    shut[65:68, 1] = shut[[63, 62, 61], 1] + 0.2
    shut[[60, 64], 1] = shut[61:64, 1].mean()
    wide = shut.clone()
    wide[65:68, 1] += 8.0
    wider = wide.clone()
    wider[65:68, 1] += 2.0
    inside = wide[60:68].mean(0).round().long().tolist()
    assert float(laid_open(shut, wide[None], IBUG_68, SIZE, SIZE)[0, 0, inside[1], inside[0]]) == 1.0
    assert float(laid_open(wide, wider[None], IBUG_68, SIZE, SIZE).max()) == 0.0


def test_a_rod_is_carried_whole_with_its_hand_and_its_neighbours_stay():
    points, moved = raised()
    flow = limb_flow(torch.zeros(1, 2, SIZE, SIZE), points[None], moved[None], OPENPOSE_COCO_18)
    wrist = OPENPOSE_COCO_18.names.index("right_wrist")
    half = 0.5 * (moved[3] + moved[wrist])
    hand = moved[wrist] + 0.4 * ONWARD * (moved[wrist] - moved[3])
    back = sample_points(flow, torch.stack([half, hand])[None])[0] + torch.stack([half, hand])
    assert torch.allclose(back, torch.tensor([[30.0, 42.0], [30.0, 48.0 + 0.4 * ONWARD * 12.0]]), atol=0.6)
    still = points[[1, 5, 8, 13]].round().long()
    assert float(flow[0, :, still[:, 1], still[:, 0]].abs().max()) == 0.0


def test_behind_a_raised_arm_there_is_nothing_to_carry():
    points, moved = raised()
    flow = limb_flow(torch.zeros(1, 2, SIZE, SIZE), points[None], moved[None], OPENPOSE_COCO_18)
    hidden = uncovered(flow)[0, 0]
    assert float(hidden[46, 30]) == 1.0  # where the forearm hung
    assert float(hidden[36, 20]) == 0.0 and float(hidden[70, 70]) == 0.0  # where it is now, and far off
    # A picture whose forearm alone is white: without what is laid open it would be seen twice.
    x, y = pixel_grid(SIZE, SIZE)[0]
    picture = ((x - 30).abs().le(2) & (y >= 38) & (y <= 48)).float()[None, None]
    carried = warp(picture, flow)[0, 0]
    assert (
        float(carried[36, 22]) > 0.9 and float(carried[46, 30]) > 0.9 and float((carried * (1 - hidden))[46, 30]) == 0.0
    )


def test_a_wall_is_drawn_on_from_the_wall_and_not_from_the_arm_before_it():
    x, y = pixel_grid(SIZE, SIZE)[0]
    wall = (0.2 + 0.006 * x)[None, None].expand(1, 3, -1, -1).clone()
    arm, hole = (
        ((x - 40).abs() <= 3)[None, None],
        ((x - 50).abs() <= 6)[None, None] & ((y - 48).abs() <= 20)[None, None],
    )
    picture = torch.where(arm | hole, 1.0, wall)
    filled = filled_from_around(picture, hole, arm)
    assert torch.allclose(filled[:, :, hole[0, 0]], wall[:, :, hole[0, 0]], atol=0.02)
    assert torch.equal(filled[:, :, ~hole[0, 0]], picture[:, :, ~hole[0, 0]])


def test_unseen_joints_are_left_out():
    points, moved = raised()
    moved[4] = torch.nan
    flow = limb_flow(torch.zeros(1, 2, SIZE, SIZE), points[None], moved[None], OPENPOSE_COCO_18)
    assert float(flow.abs().max()) == 0.0
    assert float(reach_of(points, moved[None], OPENPOSE_COCO_18, SIZE, SIZE).max()) == 0.0


def test_lids_that_meet_throw_nothing_about():
    """Through the points exactly, and never further than the furthest of them, as a spline would."""
    points = face()
    shut = points.clone()
    for up, low in ((37, 41), (38, 40), (43, 47), (44, 46)):
        shut[up] = points[low] - 0.1 * (points[low] - points[up])
    flow = through_keypoints(torch.zeros(1, 2, SIZE, SIZE), points[None], shut[None])
    furthest = float((points - shut).norm(dim=1).max())
    assert float(flow.norm(dim=1).max()) <= furthest + 1e-4
    assert float(flow[0, :, : int(points[17:27, 1].min()) - 2].abs().max()) == 0.0  # above the brows
    whole = torch.tensor([[[30.0, 40.0], [60.0, 20.0]]])
    through = through_keypoints(torch.zeros(1, 2, SIZE, SIZE), whole + torch.tensor([3.0, -2.0]), whole)
    assert torch.allclose(sample_points(through, whole), torch.tensor([3.0, -2.0]).expand(1, 2, 2), atol=1e-4)


@pytest.mark.parametrize("places", [[[5.0, 5.0]], [[5.0, 5.0], [9.0, 9.0], [13.0, 13.0]]])
def test_points_on_a_line_have_a_hull_too(places):
    points = torch.full((68, 2), torch.nan)
    points[: len(places)] = torch.tensor(places)
    assert float(reach_of(points, points[None] + 4.0, IBUG_68, 32, 32)[0, 0, 9, 9]) == 1.0
