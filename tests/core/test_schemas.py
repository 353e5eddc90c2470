"""Schemas: true orders, lines that make sense, and names that resolve."""

import json

import numpy as np
import pytest
import torch

from echokdm.core.errors import ConfigError
from echokdm.core.schemas import IBUG_68, OPENPOSE_BODY_25, OPENPOSE_BODY_25B, OPENPOSE_COCO_18, learned, schema
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.ops.render import render_keypoints

ALL = [A4C_BLOODPOOL_40, IBUG_68, OPENPOSE_BODY_25, OPENPOSE_BODY_25B, OPENPOSE_COCO_18, learned(10)]


@pytest.mark.parametrize(
    ("known", "count"), list(zip(ALL, (40, 68, 25, 25, 18, 10), strict=True)), ids=lambda v: getattr(v, "name", v)
)
def test_a_schema_is_whole(known, count):
    assert len(known) == count == len(set(known.names))
    assert len(known.edges) == len(known.colours) and len(set(known.edges)) == len(known.edges)
    assert {i for edge in known.edges for i in edge} == set(range(count))
    assert all(0 <= channel <= 1 for colour in known.colours for channel in colour)
    swapped = [i for pair in known.pairs for i in pair]
    assert len(swapped) == len(set(swapped)) and set(swapped) <= set(range(count))
    assert schema(known.name) == known


@pytest.mark.parametrize("known", ALL[:5], ids=lambda s: s.name)
def test_mirroring_maps_lines_onto_lines(known):
    swap = {a: b for pair in known.pairs for a, b in (pair, pair[::-1])}
    lines = {frozenset(edge) for edge in known.edges}
    assert {frozenset(swap.get(i, i) for i in edge) for edge in known.edges} == lines


def test_a_face_has_eleven_lines_of_one_colour_each():
    colours = dict.fromkeys(IBUG_68.colours)
    assert len(colours) == 11
    for colour in colours:  # each line is one walk from point to point
        edges = [e for e, c in zip(IBUG_68.edges, IBUG_68.colours, strict=True) if c == colour]
        assert all(a[1] == b[0] for a, b in zip(edges, edges[1:], strict=False))
    eyes = [[e for e in IBUG_68.edges if low <= e[0] < low + 6] for low in (36, 42)]
    assert [(eye[0][0], eye[-1][1]) for eye in eyes] == [(36, 36), (42, 42)]


@pytest.mark.parametrize(
    ("known", "at"),
    [
        (
            OPENPOSE_BODY_25,
            {
                "neck": 1,
                "right_wrist": 4,
                "left_wrist": 7,
                "mid_hip": 8,
                "left_ankle": 14,
                "right_eye": 15,
                "left_heel": 21,
            },
        ),
        (
            OPENPOSE_BODY_25B,
            {"left_eye": 1, "left_shoulder": 5, "right_wrist": 10, "right_ankle": 16, "upper_neck": 17, "head_top": 18},
        ),
        (OPENPOSE_COCO_18, {"neck": 1, "right_hip": 8, "left_ankle": 13, "right_eye": 14, "left_ear": 17}),
        (
            IBUG_68,
            {
                "jaw_8": 8,
                "right_brow_0": 17,
                "nose_bridge_3": 30,
                "right_eye_0": 36,
                "left_eye_0": 42,
                "outer_lip_upper_0": 48,
            },
        ),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_known_places_in_the_order(known, at):
    assert {name: known.names.index(name) for name in at} == at


def test_body_25b_is_the_order_of_the_real_clip(test_data):
    """In its first picture a man walks towards the camera: upright, his left on the picture's right, limbs shorter than
    legs."""
    person = json.loads((test_data / "pose/pose2sim_cam01_json/cam01.0000.json").read_text())["people"][0]
    joints = np.asarray(person["pose_keypoints_2d"]).reshape(25, 3)[:, :2]
    at = dict(zip(OPENPOSE_BODY_25B.names, joints, strict=True))
    for side in ("left", "right"):
        down = [
            at[name][1]
            for name in ("head_top", "upper_neck", f"{side}_shoulder", f"{side}_hip", f"{side}_knee", f"{side}_ankle")
        ]
        assert down == sorted(down)
    assert all(
        at[f"left_{joint}"][0] > at[f"right_{joint}"][0]
        for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee")
    )
    assert max(np.linalg.norm(joints[a] - joints[b]) for a, b in OPENPOSE_BODY_25B.edges) < 0.35 * np.ptp(joints[:, 1])


def test_learned_points_are_dots():
    drawn = render_keypoints(torch.tensor([[[5.0, 5.0], [20.0, 9.0]]]), learned(2), 32, 32)
    assert drawn[0, :, 5, 5].tolist() == list(learned(2).colours[0]) and drawn[0, :, 7, 12].sum() == 0


@pytest.mark.parametrize(
    ("name", "nearest"), [("ibug68", "ibug-68"), ("openpose-25", "openpose-body25"), ("learned-x", "learned-<K>")]
)
def test_an_unknown_name_is_told_its_nearest(name, nearest):
    with pytest.raises(ConfigError, match=f"nearest is '{nearest}'"):
        schema(name)


def test_no_learned_points_is_an_error():
    with pytest.raises(ConfigError, match="1 to 1000"):
        schema("learned-0")
