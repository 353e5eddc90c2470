"""Key-points from files: OpenPose, COCO, MediaPipe, dlib, `.pts`; each order serves the bundle's own, and damage is
told."""

import json

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.core.schemas import IBUG_68, OPENPOSE_BODY_25B, OPENPOSE_COCO_18, learned
from echokdm.data.keypoint_files import read_keypoints
from echokdm.data.keypoint_layouts import COCO_17, MEDIAPIPE_33, MEDIAPIPE_TO_IBUG


def test_real_body_25b_joints_are_those_of_the_same_name(test_data):
    folder = test_data / "pose" / "pose2sim_cam01_json"
    own = read_keypoints(folder, OPENPOSE_BODY_25B)
    coco = read_keypoints(folder, OPENPOSE_COCO_18)
    assert own.shape[1:] == (25, 2) and coco.shape == (len(own), 18, 2) and len(own) == 100
    for name in ("nose", "left_wrist", "right_ankle", "left_ear"):
        a, b = own[:, OPENPOSE_BODY_25B.names.index(name)], coco[:, OPENPOSE_COCO_18.names.index(name)]
        assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))
    neck = OPENPOSE_BODY_25B.names.index("upper_neck")
    assert torch.equal(coco[:, OPENPOSE_COCO_18.names.index("neck")].nan_to_num(-1), own[:, neck].nan_to_num(-1))


def test_landmarks_of_the_shared_face_count_from_zero(test_data):
    points = read_keypoints(test_data / "face" / "einstein.pts", IBUG_68)
    text = (test_data / "face" / "einstein.pts").read_text()
    first = [float(v) for v in text[text.index("{") + 1 :].split()[:2]]
    assert points.shape == (1, 68, 2) and points[0, 0].tolist() == pytest.approx([first[0] - 1, first[1] - 1], abs=1e-4)


def test_arrays_of_one_frame_and_of_several(tmp_path):
    np.save(tmp_path / "one.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 2)))
    assert read_keypoints(tmp_path / "one.npy", learned(3)).tolist() == [[[0, 1], [2, 3], [4, 5]]]
    assert read_keypoints(tmp_path / "two.npy", learned(3)).shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps({"people": []}), "No person is found"),
        ("{", "damaged"),
        (json.dumps({"persons": 1}), "not OpenPose's"),
    ],
)
def test_json_without_a_person_is_told(tmp_path, content, words):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(GeometryError, match=words):
        read_keypoints(tmp_path / "a.json", OPENPOSE_COCO_18)


def test_a_pickle_is_never_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(GeometryError, match="no array of numbers"):
        read_keypoints(tmp_path / "a.npy", learned(1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(GeometryError, match="holds no JSON"):
        read_keypoints(tmp_path / "empty", OPENPOSE_COCO_18)


BODY = {name: [100.0 + 7 * i, 50.0 + 5 * i] for i, name in enumerate(COCO_17.names)}


def saved(folder, content, name="a.json"):
    (folder / name).write_text(json.dumps(content))
    return folder / name


def coco(image, scale=1.0, hidden=()):
    flat = [v for name in COCO_17.names for v in (*(scale * c for c in BODY[name]), 0 if name in hidden else 2)]
    return {"image_id": image, "category_id": 1, "keypoints": flat}


@pytest.mark.parametrize("wrapped", [lambda items: {"images": [], "annotations": items}, lambda items: items])
def test_coco_gives_a_frame_a_picture_and_the_neck_between_the_shoulders(tmp_path, wrapped):
    file = saved(tmp_path, wrapped([coco(2, hidden=["left_wrist"]), coco(1), coco(1, 0.5)]))
    points = read_keypoints(file, OPENPOSE_COCO_18)
    names = OPENPOSE_COCO_18.names
    assert points.shape == (2, 18, 2)
    assert points[0, names.index("right_knee")].tolist() == BODY["right_knee"]  # the larger of two in the first picture
    neck = [(a + b) / 2 for a, b in zip(BODY["left_shoulder"], BODY["right_shoulder"], strict=True)]
    assert points[0, names.index("neck")].tolist() == pytest.approx(neck)
    assert points[1].isnan().any(-1).nonzero().flatten().tolist() == [names.index("left_wrist")]


@pytest.mark.parametrize(
    "form",
    [
        lambda points: points,
        lambda points: {"faceLandmarks": [points]},
        lambda points: {"face_landmarks": [points]},
        lambda points: {"multi_face_landmarks": [{"landmark": points}], "poseWorldLandmarks": [points[:33]]},
        lambda points: [[p["x"], p["y"], p["z"]] for p in points],
    ],
)
@pytest.mark.parametrize("count", [468, 478])
def test_mediapipe_meshes_are_shares_of_the_picture(tmp_path, form, count):
    points = [{"x": i / 1000, "y": 0.25 + i / 2000, "z": -0.01} for i in range(count)]
    found = read_keypoints(saved(tmp_path, form(points)), IBUG_68, (200, 100))
    assert found.shape == (1, 68, 2)
    for place, vertex in ((8, 152), (36, 33), (45, 263), (30, 4), (66, 14)):
        assert found[0, place].tolist() == pytest.approx([vertex / 10 - 0.5, 50 + vertex / 10 - 0.5], abs=1e-3)
    with pytest.raises(GeometryError, match="name the picture"):
        read_keypoints(tmp_path / "a.json", IBUG_68)


def test_mediapipes_table_is_symmetric():
    """Pairs of the mesh's mirrored vertices stand where 300-W's mirrored points do; a table with two places exchanged
    fails."""
    assert len(set(MEDIAPIPE_TO_IBUG)) == 68
    right = (
        33,
        160,
        158,
        133,
        153,
        144,
        61,
        39,
        37,
        84,
        181,
        78,
        82,
        87,
        70,
        63,
        105,
        66,
        107,
        98,
        97,
        162,
        234,
        172,
        148,
    )
    left = (
        263,
        387,
        385,
        362,
        380,
        373,
        291,
        269,
        267,
        314,
        405,
        308,
        312,
        317,
        300,
        293,
        334,
        296,
        336,
        327,
        326,
        389,
        454,
        397,
        377,
    )
    mirrored = dict(zip(right, left, strict=True))
    place = {vertex: i for i, vertex in enumerate(MEDIAPIPE_TO_IBUG)}
    pairs = {frozenset(pair) for pair in IBUG_68.pairs}
    for one, other in mirrored.items():
        assert frozenset((place[one], place[other])) in pairs, (one, other)


def test_a_pose_of_mediapipe_hides_what_it_does_not_see(tmp_path):
    points = [
        {"x": i / 100, "y": 0.5, "z": 0.0, "visibility": 0.2 if name == "left_ankle" else 0.9}
        for i, name in enumerate(MEDIAPIPE_33.names)
    ]
    found = read_keypoints(
        saved(tmp_path, {"poseLandmarks": [points], "worldLandmarks": [points]}), OPENPOSE_COCO_18, (200, 100)
    )[0]
    names = OPENPOSE_COCO_18.names
    assert found[names.index("left_ankle")].isnan().all() and torch.isfinite(found[names.index("neck")]).all()
    assert found[names.index("right_wrist"), 0] == pytest.approx(MEDIAPIPE_33.names.index("right_wrist") - 0.5)


def test_openposes_face_and_dlibs_xml_have_68(tmp_path):
    places = [[float(i), 2.0 * i] for i in range(70)]
    people = {"people": [{"pose_keypoints_2d": [], "face_keypoints_2d": [v for x, y in places for v in (x, y, 0.9)]}]}
    assert read_keypoints(saved(tmp_path, people), IBUG_68)[0, 1:].tolist() == places[1:68]
    parts = "".join(f"<part name='{i:02d}' x='{i}' y='{2 * i}'/>" for i in range(68))
    (tmp_path / "a.xml").write_text(
        f"<?xml version='1.0'?><dataset><images><image file='a.jpg'><box>{parts}</box></image></images></dataset>"
    )
    assert read_keypoints(tmp_path / "a.xml", IBUG_68)[0].tolist() == places[:68]


@pytest.mark.parametrize(
    ("content", "schema", "words"),
    [
        ({"shapes": []}, IBUG_68, "is not OpenPose's .people., COCO's"),
        ([coco(1)], IBUG_68, "hold COCO joints"),
        ([{"image_id": 1, "keypoints": [1, 2, 3]}], OPENPOSE_COCO_18, "holds 1 key-points a person"),
        ([{"keypoints": ["a"]}], OPENPOSE_COCO_18, "damaged"),
        ([[1.0, 2.0]] * 33, IBUG_68, "33 points are none of ibug-68"),
        ({"faceLandmarks": []}, IBUG_68, "No person is found"),
        ([{"x": "?"}] * 468, IBUG_68, "damaged"),
    ],
)
def test_other_json_is_one_sentence(tmp_path, content, schema, words):
    with pytest.raises(GeometryError, match=words):
        read_keypoints(saved(tmp_path, content), schema, (10, 10))


def test_a_file_is_told_by_what_it_holds(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 68, 2)))
    (tmp_path / "a.npy").rename(tmp_path / "points.txt")
    assert read_keypoints(tmp_path / "points.txt", IBUG_68).shape == (2, 68, 2)
    (tmp_path / "b.txt").write_text("hello")
    with pytest.raises(GeometryError, match="of no kind that is known"):
        read_keypoints(tmp_path / "b.txt", IBUG_68)
    (tmp_path / "b.xml").write_text("<a>")
    with pytest.raises(GeometryError, match="no XML of dlib's"):
        read_keypoints(tmp_path / "b.xml", IBUG_68)
