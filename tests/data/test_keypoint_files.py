"""Key-points from files: real OpenPose JSON in BODY_25B order serves a bundle with COCO's 18 joints, and damage is told."""

import json

import numpy as np
import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.core.schemas import IBUG_68, OPENPOSE_BODY_25B, OPENPOSE_COCO_18, learned
from echokdm.data.keypoint_files import read_keypoints


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
    first = [float(v) for v in text[text.index("{") + 1:].split()[:2]]
    assert points.shape == (1, 68, 2) and points[0, 0].tolist() == pytest.approx([first[0] - 1, first[1] - 1], abs=1e-4)


def test_arrays_of_one_frame_and_of_several(tmp_path):
    np.save(tmp_path / "one.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 2)))
    assert read_keypoints(tmp_path / "one.npy", learned(3)).tolist() == [[[0, 1], [2, 3], [4, 5]]]
    assert read_keypoints(tmp_path / "two.npy", learned(3)).shape == (2, 3, 2)


@pytest.mark.parametrize(("content", "words"), [
    (json.dumps({"people": []}), "No person is found"), ("{", "damaged"), (json.dumps({"persons": 1}), "not OpenPose's"),
])
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
