"""Size and pump function, asked for alone and together."""

import numpy as np
import pytest

from echokdm.core.errors import ConfigError, GeometryError
from echokdm.ops import wishes
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.strain import end_systolic_strain
from echokdm.ops.ventricle import axis_from_keypoints, self_crossing, simpson_volume
from echokdm.ops.wall_motion import with_wall_motion


def ef_of(points, beats):
    return clip_ejection_fraction(simpson_volume(points), beats)


def test_volumes_are_read():
    assert wishes.parse_volume("120") == (120, False)
    assert wishes.parse_volume(" 80.5 %") == (80.5, True)
    for text in ("", "big", "-3", "0%", "nan", "inf"):
        with pytest.raises(ConfigError, match="120 or 80%"):
            wishes.parse_volume(text)


@pytest.mark.parametrize("percent", [60, 85, 150])
def test_end_diastolic_volume_is_exact_and_nothing_else_changes(ventricles, percent):
    for points, beats in ventricles:
        moved = wishes.with_end_diastolic_volume(points, beats, percent, percent=True)
        own = wishes.end_diastolic_volume(points, beats)
        assert wishes.end_diastolic_volume(moved, beats) == pytest.approx(own * percent / 100, rel=1e-9)
        assert ef_of(moved, beats) == pytest.approx(ef_of(points, beats), abs=1e-9)
        assert end_systolic_strain(moved, beats) == pytest.approx(end_systolic_strain(points, beats), abs=1e-6)
        np.testing.assert_allclose(axis_from_keypoints(moved)[0], axis_from_keypoints(points)[0], atol=1e-9)
    np.testing.assert_allclose(wishes.with_end_diastolic_volume(points, beats, 100, percent=True), points, atol=1e-9)


def test_millilitres(ventricles):
    points, beats = ventricles[0]
    own = wishes.end_diastolic_volume(points, beats, (1.2, 1.2))
    moved = wishes.with_end_diastolic_volume(points, beats, own + 10, spacing_mm=(1.2, 1.2))
    assert wishes.end_diastolic_volume(moved, beats, 1.2) == pytest.approx(own + 10)
    with pytest.raises(GeometryError, match=rf"60 to 150 %, that is {0.6 * own:.1f} to {1.5 * own:.1f} mL"):
        wishes.with_end_diastolic_volume(points, beats, 2 * own, spacing_mm=1.2)
    for share in (59.9, 150.1, float("nan")):
        with pytest.raises(GeometryError, match="px\\^3"):
            wishes.with_end_diastolic_volume(points, beats, share, percent=True)


def test_all_that_is_asked_comes_together(ventricles):
    walls = {"apical-lateral": 0.0, "mid-lateral": 0.5}
    asks = (
        {"ef": 50, "gls": -14},
        {"ef": 40, "walls": walls},
        {"gls": -12, "walls": walls},
        {"ef": 42, "gls": -13, "walls": walls},
    )
    for number, asked in enumerate(asks):
        points, beats = ventricles[number % 3]
        moved = wishes.with_pump_function(points, 0, beats, wishes.PumpFunction(**asked))
        assert not self_crossing(moved).any()
        if "ef" in asked:
            assert ef_of(moved, beats) == pytest.approx(asked["ef"], abs=1e-6)
        if "gls" in asked:
            assert end_systolic_strain(moved, beats)["global"] == pytest.approx(asked["gls"], abs=1e-6)
    assert np.array_equal(
        wishes.with_pump_function(points, 0, beats, wishes.PumpFunction(walls=walls)),
        with_wall_motion(points, walls, 0),
    )
    assert np.array_equal(wishes.with_pump_function(points, 0, beats, wishes.PumpFunction()), points)


def test_what_can_not_be_had_together_is_refused(ventricles):
    points, beats = ventricles[0]
    still = dict.fromkeys(("basal-lateral", "mid-lateral", "apical-lateral", "mid-septal", "apical-septal"), 0.0)
    with pytest.raises(GeometryError, match="together"):
        wishes.with_pump_function(points, 0, beats, wishes.PumpFunction(ef=70, walls=still))


def test_a_still_ventricle_can_be_given_both(ventricles):
    points = np.repeat(ventricles[0].keypoints[:1], 30, axis=0)
    moved = wishes.with_pump_function(points, 0, [(0, 29)], wishes.PumpFunction(ef=45, gls=-12))
    es = int(simpson_volume(moved).argmin())
    assert ef_of(moved, [(0, es)]) == pytest.approx(45, abs=1e-6)
    assert end_systolic_strain(moved, [(0, es)])["global"] == pytest.approx(-12, abs=1e-6)
