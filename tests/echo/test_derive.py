"""Key-points of a drawn heart whose ventricle is known."""

from pathlib import Path

import numpy as np
import pytest

from echokdm.core.errors import GeometryError, ViewError
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints, fill_frames
from echokdm.io.tracings import write_tracings
from echokdm.io.write import write_nifti
from echokdm.ops.ventricle import axis_from_keypoints, keypoints_to_mask, tracing_from_keypoints


def test_finds_the_drawn_ventricle(drawn_clip: Clip, heart, pipeline) -> None:
    derived = derive_keypoints(drawn_clip, bundle=pipeline)
    assert derived.keypoints_source.shape == (heart.frames, 40, 2) and derived.found.all() and not derived.given
    middle = derived.keypoints_source.mean(1)
    assert np.abs(middle - heart.centre).max() < 2.5
    assert derived.ed in (0, 1, heart.frames - 1) and abs(derived.es - heart.frames // 2) <= 1
    assert derived.ejection_fraction == pytest.approx(100 * (1 - 0.85**3), abs=5)


def test_chords_are_at_right_angles_to_the_axis(drawn_clip: Clip, pipeline) -> None:
    for points in derive_keypoints(drawn_clip, bundle=pipeline).keypoints:
        apex, base = axis_from_keypoints(points)
        chords = points[:20] - points[39:19:-1]
        assert np.abs(chords @ (base - apex) / np.linalg.norm(base - apex)).max() < 1e-6


def test_volume_is_in_ml_where_the_spacing_is_known(drawn_clip: Clip, heart, pipeline, tmp_path: Path) -> None:
    write_tracings(tmp_path / "t.csv", {"clip": {t: heart.ellipse(t) for t in range(heart.frames)}})
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv")
    # An ellipsoid of revolution: 4/3 pi a a b, in mm at 0.8 mm a pixel.
    truth = 4 / 3 * np.pi * (heart.half_width * 0.8) ** 2 * heart.half_length * 0.8 / 1000
    assert derived.unit == "mL" and derived.volumes[0] == pytest.approx(truth, rel=0.02)
    unknown = drawn_clip.with_frames(drawn_clip.frames, spacing_mm=None)
    other = derive_keypoints(unknown, keypoints=tmp_path / "t.csv")
    assert other.unit == "px^3" and other.ejection_fraction == pytest.approx(derived.ejection_fraction, abs=1e-6)


def test_given_outlines_come_back_in_the_clips_own_pixels(drawn_clip: Clip, heart, tmp_path: Path) -> None:
    write_tracings(tmp_path / "t.csv", {"clip": {t: heart.ellipse(t) for t in range(heart.frames)}})
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv")
    assert derived.given
    for t in (0, 5, 12):
        assert np.abs(tracing_from_keypoints(derived.keypoints_source[t])[1:] - heart.ellipse(t)[1:]).max() < 1.0


def test_frames_between_tracings_are_interpolated(drawn_clip: Clip, heart, tmp_path: Path) -> None:
    write_tracings(tmp_path / "t.csv", {"clip": {0: heart.ellipse(0), 12: heart.ellipse(12)}})
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv")
    assert derived.found.sum() == 2 and (derived.ed, derived.es) == (0, 12)
    assert np.allclose(derived.keypoints[6], (derived.keypoints[0] + derived.keypoints[12]) / 2)
    assert np.allclose(derived.keypoints[20], derived.keypoints[12])


def test_masks_as_nifti(drawn_clip: Clip, heart, tmp_path: Path) -> None:
    from echokdm.ops.ventricle import keypoints_from_tracing

    masks = np.stack(
        [keypoints_to_mask(keypoints_from_tracing(heart.ellipse(t)), *drawn_clip.size) for t in range(heart.frames)]
    )
    write_nifti(tmp_path / "masks.nii.gz", masks)
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "masks.nii.gz")
    assert np.abs(derived.keypoints_source.mean(1) - heart.centre).max() < 1.0


def test_fill_frames_holds_the_ends() -> None:
    points = np.full((5, 1, 2), np.nan)
    points[1], points[3] = 2.0, 4.0
    filled = fill_frames(points, np.array([False, True, False, True, False]))
    assert filled[:, 0, 0].tolist() == [2, 2, 3, 4, 4]


def bad_tracings(heart) -> dict[str, tuple[dict, str]]:
    crossing = heart.ellipse()
    crossing[[3, 15]] = crossing[[15, 3]]
    return {
        "wrong count": ({"clip": {0: heart.ellipse(count=12)}}, "12 chords"),
        "outside the sector": ({"clip": {0: heart.ellipse(centre=np.array([20.0, 40.0]))}}, "outside"),
        "self-crossing": ({"clip": {0: crossing}}, "crosses itself"),
        "no such frame": ({"clip": {heart.frames: heart.ellipse()}}, "frames 0 to 23"),
        "two clips": ({"a": {0: heart.ellipse()}, "b": {0: heart.ellipse()}}, "2 clips"),
    }


@pytest.mark.parametrize("case", ["wrong count", "outside the sector", "self-crossing", "no such frame", "two clips"])
def test_bad_outlines_are_refused(case: str, drawn_clip: Clip, heart, tmp_path: Path) -> None:
    tracings, words = bad_tracings(heart)[case]
    write_tracings(tmp_path / "t.csv", tracings)
    with pytest.raises(GeometryError, match=words):
        derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv")


def test_masks_of_another_length_are_refused(drawn_clip: Clip, tmp_path: Path) -> None:
    masks = np.zeros((3, *drawn_clip.size), bool)
    masks[:, 50:90, 90:110] = True
    write_nifti(tmp_path / "masks.nii", masks)
    with pytest.raises(GeometryError, match="3 frames"):
        derive_keypoints(drawn_clip, keypoints=tmp_path / "masks.nii")


def test_no_ventricle_says_how_to_go_on(empty_clip: Clip, pipeline) -> None:
    with pytest.raises(GeometryError, match="--keypoints"):
        derive_keypoints(empty_clip, bundle=pipeline)


def test_another_view_is_worked_on_only_where_asked_and_with_a_warning(drawn_clip: Clip, pipeline, monkeypatch) -> None:
    segment = pipeline.segment

    def seen_from_elsewhere(frames, sector, fps, made=False, any_view=False):
        if not made and not any_view:
            raise ViewError("No right heart is seen.")
        return segment(frames, sector, fps, made)

    plain = derive_keypoints(drawn_clip, bundle=pipeline)
    assert plain.doubt == ""
    monkeypatch.setattr(pipeline, "segment", seen_from_elsewhere)
    with pytest.raises(ViewError, match="--any-view"):
        derive_keypoints(drawn_clip, bundle=pipeline)
    said: list[str] = []
    with pytest.warns(UserWarning, match="No right heart"):
        derived = derive_keypoints(drawn_clip, any_view=True, bundle=pipeline, progress=said.append)
    assert derived.doubt == "No right heart is seen." and any(
        line.startswith("Warning: No right heart") for line in said
    )
    assert np.array_equal(derived.keypoints, plain.keypoints)
