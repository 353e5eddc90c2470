"""Ventricle geometry against shapes whose axis, chords and volume are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from echokdm.core.errors import GeometryError
from echokdm.ops import ventricle as v
from echokdm.ops.chords import chord_positions


def bullet(a=40.0, b=20.0, cut=0.4, tilt=0.2, centre=(56.0, 52.0), count=2000):
    """An ellipse of semi-axes a (long), b, cut at `cut` * a below its centre: (apex, base, polygon (M, 2), volume in
    px^3)."""
    u = np.array([np.sin(tilt), np.cos(tilt)])
    w = np.array([-u[1], u[0]])
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    s, r = -a * np.cos(angle), b * np.sin(angle)
    keep = s <= cut * a + 1e-12
    edge = b * np.sqrt(1 - cut**2)
    right, left = keep & (r >= 0), keep & (r < 0)
    s = np.concatenate([s[right], [cut * a, cut * a], s[left]])
    r = np.concatenate([r[right], [edge, -edge], r[left]])
    centre = np.asarray(centre)
    volume = np.pi * b**2 * a * (cut - cut**3 / 3 + 2 / 3)
    return centre - a * u, centre + cut * a * u, centre + s[:, None] * u + r[:, None] * w, volume


def mask_of(polygon, size=112):
    return v.polygon_to_mask(polygon, size, size)


SHAPES = [
    dict(cut=cut, b=b, tilt=tilt) for cut in (1.0, 0.7, 0.4, 0.1) for b in (18.0, 26.0) for tilt in (-0.7, 0.0, 0.35)
]


@pytest.mark.parametrize("shape", SHAPES)
def test_long_axis_of_polygon(shape):
    apex, base, polygon, _ = bullet(**shape)
    found = v.long_axis(polygon)
    assert np.hypot(*(found[0] - apex)) < 0.5
    assert np.hypot(*(found[1] - base)) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_long_axis_of_mask(shape):
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(8):
        apex, base, polygon, _ = bullet(**shape, centre=(56, 52) + rng.uniform(-3, 3, 2))
        found = v.long_axis(mask_of(polygon))
        errors.append([np.hypot(*(found[0] - apex)), np.hypot(*(found[1] - base))])
    assert np.mean(errors) < 0.5
    assert np.max(errors) < 1.0


@pytest.mark.parametrize("tilt", np.deg2rad([100, 135, 180, 225, 300]))
def test_long_axis_follows_previous_frame_at_any_tilt(tilt):
    apex, base, polygon, _ = bullet(tilt=tilt, centre=(56, 56))
    found = v.long_axis(mask_of(polygon), previous_axis=(apex + 2, base - 3))
    assert np.hypot(*(found[0] - apex)) < 1
    assert np.hypot(*(found[1] - base)) < 1


@pytest.mark.parametrize("lean", [-0.35, -0.15, 0.15, 0.35])
def test_leaning_mitral_plane_keeps_its_middle(lean):
    apex, _, polygon, _ = bullet(cut=1.0, tilt=0.0, count=4000)
    below = polygon[:, 1] - 66 + np.tan(lean) * (polygon[:, 0] - 56)
    polygon = polygon[below <= 0]
    gaps = np.hypot(*(np.roll(polygon, -1, axis=0) - polygon).T)  # the cut is the one long side
    middle = (polygon[gaps.argmax()] + polygon[(gaps.argmax() + 1) % len(polygon)]) / 2
    found = v.long_axis(mask_of(polygon))
    assert np.hypot(*(found[1] - middle)) < 1.5
    assert abs(found[1][1] - 66 + np.tan(lean) * (found[1][0] - 56)) < 0.7, "the base lies on the cut"
    assert np.hypot(*(found[0] - apex)) < 3


@pytest.mark.parametrize("spacing", ["midpoint", "interior"])
def test_chords_of_exact_outline(spacing):
    apex, base, polygon, _ = bullet()
    points = v.keypoints_from_polygon(polygon, apex, base, spacing)
    u = (base - apex) / np.hypot(*(base - apex))
    along = (points - apex) @ u
    np.testing.assert_allclose(along[:20], chord_positions(spacing) * 56, atol=1e-6)
    np.testing.assert_allclose(along[20:], along[:20][::-1], atol=1e-6)
    half = 20 * np.sqrt(1 - ((along[:20] - 40) / 40) ** 2)
    np.testing.assert_allclose(np.hypot(*(points[:20] - points[:19:-1]).T), 2 * half, rtol=1e-4)
    assert (points[:20, 0] < points[:19:-1, 0]).all(), "first ends are on the left of an upright ventricle"


@pytest.mark.parametrize("shape", SHAPES)
def test_simpson_volume_of_outline_is_exact(shape):
    apex, base, polygon, volume = bullet(**shape)
    assert v.simpson_volume(v.keypoints_from_polygon(polygon, apex, base)) == pytest.approx(volume, rel=0.005)


def test_simpson_volume_of_masks_is_unbiased():
    rng = np.random.default_rng(2)
    ratio = []
    for _ in range(40):
        _, _, polygon, volume = bullet(
            b=rng.uniform(15, 26),
            cut=rng.uniform(0.2, 0.8),
            tilt=rng.uniform(-0.6, 0.6),
            centre=(56, 50) + rng.uniform(-2, 2, 2),
        )
        ratio.append(v.simpson_volume(v.keypoints_from_mask(mask_of(polygon))) / volume)
    assert np.mean(ratio) == pytest.approx(1, abs=0.005)
    assert np.max(np.abs(np.array(ratio) - 1)) < 0.03


def test_simpson_volume_by_hand_and_in_ml():
    y = chord_positions() * 80
    points = np.concatenate([np.stack([np.full(20, -15.0), y], 1), np.stack([np.full(20, 15.0), y], 1)[::-1]])
    assert v.simpson_volume(points) == pytest.approx(np.pi / 4 * 30**2 * 80)
    assert v.simpson_volume(points, 0.5) == pytest.approx(np.pi / 4 * 15**2 * 40 / 1000)
    assert v.simpson_volume(points, (1.0, 0.5)) == pytest.approx(np.pi / 4 * 15**2 * 80 / 1000)
    points[:, 1] = np.concatenate([chord_positions("interior"), chord_positions("interior")[::-1]]) * 80
    assert v.simpson_volume(points, spacing="interior") == pytest.approx(np.pi / 4 * 30**2 * 80)
    assert v.simpson_volume(np.stack([points] * 6).reshape(2, 3, 40, 2)).shape == (2, 3)


def test_ejection_fraction():
    assert v.ejection_fraction(120.0, 50.0) == pytest.approx(58.3333, abs=1e-3)
    with pytest.raises(GeometryError):
        v.ejection_fraction(0.0, 1.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spacing", ["midpoint", "interior"])
def test_keypoints_to_mask_and_back(shape, spacing):
    _, _, polygon, _ = bullet(**shape)
    points = v.keypoints_from_mask(mask_of(polygon), spacing)
    again = v.keypoints_from_mask(v.keypoints_to_mask(points, 112, 112, spacing), spacing)
    error = np.hypot(*(again - points).T)
    assert np.mean(error) < 0.5
    assert np.max(error) < 1.2


def test_polygon_to_mask_is_pixel_centres():
    mask = v.polygon_to_mask([[1.5, 0.5], [4.5, 0.5], [4.5, 2.5], [1.5, 2.5]], 5, 6)
    expected = np.zeros((5, 6), dtype=bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("spacing", ["midpoint", "interior"])
def test_tracing_round_trip(spacing):
    apex, base, polygon, _ = bullet()
    points = v.keypoints_from_polygon(polygon, apex, base, spacing)
    rows = v.tracing_from_keypoints(points, spacing)
    assert rows.shape == (21, 4)
    np.testing.assert_allclose(rows[0], np.concatenate([apex, base]), atol=0.3)
    np.testing.assert_allclose(v.keypoints_from_tracing(rows, spacing), points, atol=1e-6)


@pytest.mark.parametrize("chords, per_length", [(20, 20.0), (20, 21.0), (20, 18.6), (21, 21.0), (24, 24.0)])
def test_tracings_of_the_wild(chords, per_length):
    apex, base, polygon, volume = bullet(tilt=0.0)
    at = (np.arange(chords) + 0.5) / per_length
    at = np.where(at < 1, at, 0.999)
    y = apex[1] + at * 56
    half = 20 * np.sqrt(1 - ((at * 56 - 40) / 40) ** 2)
    # x1 on the right, as often
    rows = np.concatenate([[[*apex, *base]], np.stack([apex[0] + half, y, apex[0] - half, y], 1)])
    points = v.keypoints_from_tracing(rows)
    truth = v.keypoints_from_polygon(polygon, apex, base)
    assert np.hypot(*(points - truth).T).max() < 0.6
    assert v.simpson_volume(points) == pytest.approx(volume, rel=0.01)
    rows[0] = rows[0, [2, 3, 0, 1]]  # the axis written base first
    np.testing.assert_allclose(v.keypoints_from_tracing(rows), points)


def test_tracing_with_one_sided_stub():
    apex, base, polygon, _ = bullet(tilt=0.0)
    points = v.keypoints_from_polygon(polygon, apex, base)
    rows = v.tracing_from_keypoints(points)
    rows[-1, 2:] = rows[-1, :2] + [2.0, 0.0]
    found = v.keypoints_from_tracing(rows)
    np.testing.assert_allclose(np.delete(found, [19, 20], axis=0), np.delete(points, [19, 20], axis=0), atol=1e-6)
    v.check_keypoints(found)


@pytest.mark.parametrize("rows", [np.zeros((3, 4)), np.ones((1, 4)), np.full((21, 4), np.nan), np.zeros((21, 3))])
def test_bad_tracings(rows):
    with pytest.raises(GeometryError):
        v.keypoints_from_tracing(rows)


def test_holes_islands_and_stubs_do_not_matter():
    _, _, polygon, _ = bullet(tilt=0.1)
    mask = mask_of(polygon)
    clean = v.keypoints_from_mask(mask)
    odd = mask.copy()
    odd[45:52, 50:58] = False  # a hole
    odd[5:12, 5:12] = True  # an island
    np.testing.assert_allclose(v.keypoints_from_mask(odd), clean, atol=0.05)
    odd[60:95, 60:63] = True  # a stub through the mitral plane
    assert np.hypot(*(v.keypoints_from_mask(odd) - clean).T).mean() < 1.0
    assert abs(v.simpson_volume(v.keypoints_from_mask(odd)) / v.simpson_volume(clean) - 1) < 0.05


def test_probabilities_are_finer_than_masks():
    apex, base, polygon, _ = bullet(tilt=0.3)
    fine = v.polygon_to_mask((polygon + 0.5) * 8 - 0.5, 896, 896).reshape(112, 8, 112, 8).mean((1, 3))
    points, truth = v.keypoints_from_mask(fine), v.keypoints_from_polygon(polygon, apex, base)
    assert np.hypot(*(points - truth).T).mean() < 0.2


@pytest.mark.parametrize("call", [v.keypoints_from_mask, v.long_axis])
def test_empty_mask(call):
    with pytest.raises(GeometryError, match="empty"):
        call(np.zeros((112, 112), dtype=bool))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(3, 24))))
def test_total_on_any_mask(mask):
    if not mask.any():
        with pytest.raises(GeometryError):
            v.keypoints_from_mask(mask)
        return
    points = v.keypoints_from_mask(mask)
    assert points.shape == (40, 2) and np.isfinite(points).all()
    height, width = mask.shape
    assert (points > -1.01).all() and (points < [width + 0.01, height + 0.01]).all()
    assert v.simpson_volume(points) >= 0
    assert not v.self_crossing(points)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(hnp.arrays(np.float64, (16, 16), elements=st.floats(0, 1)))
def test_total_on_any_probability(field):
    if (field > 0.5).any():
        assert np.isfinite(v.keypoints_from_mask(field)).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    tilt=st.floats(-1.2, 1.2),
    cut=st.floats(0.1, 0.8),
    wide=st.floats(0.45, 0.7),
    x=st.floats(-4, 4),
    y=st.floats(-4, 4),
)
def test_any_bullet(tilt, cut, wide, x, y):
    apex, base, polygon, volume = bullet(b=40 * wide, cut=cut, tilt=tilt, centre=(56 + x, 56 + y))
    mask = mask_of(polygon, 120)
    # one as wide as it is long and lying down has no upper end
    neighbour = None if abs(tilt) < 0.9 else (apex + 2, base - 2)
    found = v.long_axis(mask, neighbour)
    assert np.hypot(*(found[0] - apex)) < 1.8
    assert np.hypot(*(found[1] - base)) < 1.8
    assert v.simpson_volume(v.keypoints_from_mask(mask, previous_axis=neighbour)) == pytest.approx(volume, rel=0.04)


def test_check_keypoints():
    apex, base, polygon, _ = bullet()
    points = v.keypoints_from_polygon(polygon, apex, base)
    sector = np.zeros((112, 112), dtype=bool)
    sector[5:100, 5:105] = True
    np.testing.assert_array_equal(v.check_keypoints(points, sector), points)
    v.check_keypoints(np.stack([points, points]), sector)
    bad = points.copy()
    bad[3] = np.nan
    with pytest.raises(GeometryError, match="finite"):
        v.check_keypoints(bad)
    with pytest.raises(GeometryError, match="40"):
        v.check_keypoints(points[:39])
    with pytest.raises(GeometryError, match="outside"):
        v.check_keypoints(points + [60, 0], sector)
    bad = points.copy()
    bad[[5, 15]] = bad[[15, 5]]
    with pytest.raises(GeometryError, match="crosses"):
        v.check_keypoints(bad)
