"""The body: rigid limbs on joints, nearer ones hiding farther ones."""

import pytest
import torch

from echokdm.phantom.body import PARTS, BodyPhantom


@pytest.fixture(scope="module")
def bodies():
    return BodyPhantom(range(6), 96)


def pose(bodies, **values):
    return torch.tensor([[values.get(name, 0.0) for name in bodies.pose_names]]).expand(len(bodies.seeds), -1)


# every limb free of the rest
SPREAD = {"left_shoulder": -1.2, "right_shoulder": 1.2, "left_hip": -0.2, "right_hip": 0.2}


def test_bones_keep_their_lengths(bodies):
    names = bodies.schema.names
    points = bodies.keypoints(torch.arange(0, 1, 0.1)[None].expand(6, -1))
    scale = bodies.poses(torch.arange(0, 1, 0.1)[None].expand(6, -1))[..., bodies.pose_names.index("scale")].exp()
    for side in ("left", "right"):
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            length = (points[:, :, names.index(f"{side}_{a}")] - points[:, :, names.index(f"{side}_{b}")]).norm(
                dim=-1
            ) / scale
            assert torch.allclose(length, length[:, :1].expand_as(length), atol=0.01) and (length > 8).all()


def test_a_body_stands_upright_with_left_on_the_picture_s_right(bodies):
    points = bodies.keypoints(pose(bodies, **SPREAD)[:, None])[:, 0]
    at = {name: points[:, i] for i, name in enumerate(bodies.schema.names)}
    for side in ("left", "right"):
        order = (f"{side}_eye", "nose", "neck", f"{side}_shoulder", f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        down = [at[name][:, 1] for name in order]
        assert all((a < b).all() for a, b in zip(down, down[1:], strict=False))
    for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert (at[f"left_{joint}"][:, 0] > at[f"right_{joint}"][:, 0]).all()
    assert bodies.keypoints_visible(pose(bodies, **SPREAD)[:, None]).all()


@pytest.mark.parametrize(
    ("side", "shoulder", "elbow", "seen"), [("left", -0.3, 1.4, False), ("right", 0.3, -1.4, True)]
)
def test_the_left_arm_passes_behind_the_trunk_and_the_right_before_it(bodies, side, shoulder, elbow, seen):
    crossed = pose(bodies, **{**SPREAD, f"{side}_shoulder": shoulder, f"{side}_elbow": elbow})
    wrist = bodies.schema.names.index(f"{side}_wrist")
    where = bodies.keypoints(crossed[:, None])[:, 0, wrist].round().long()
    shown = bodies.layers(crossed[:, None])[range(6), 0, where[:, 1], where[:, 0]]
    assert (bodies.keypoints_visible(crossed[:, None])[:, 0, wrist] == seen).all()
    assert ((shown == PARTS.index(f"{side}_forearm")) == seen).all()


def test_what_an_arm_uncovers_is_not_visible_in_the_source(bodies):
    free, crossed = pose(bodies, **SPREAD), pose(bodies, **{**SPREAD, "right_shoulder": -0.35, "right_elbow": -0.6})
    arm = bodies.layers(crossed[:, None]) >= PARTS.index("right_upper_arm")
    trunk = bodies.layers(free[:, None]) == PARTS.index("torso")
    covered = arm & trunk
    assert (covered.sum((1, 2, 3)) > 20).all()
    assert not (bodies.visible(free, crossed) & covered).any()
    assert bodies.visible(free, crossed)[trunk & ~arm].all()
