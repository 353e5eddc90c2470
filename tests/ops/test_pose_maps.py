"""Joints as Gaussian envelopes: the right height at the right place, nothing where none was detected."""

import math

import torch

from echokdm.ops.pose_maps import gaussian_maps


def test_the_envelope_is_the_formula_s_at_every_pixel():
    points = torch.tensor([[[3.0, 1.0], [0.5, 4.25]], [[6.0, 2.0], [-2.0, 1.0]]])
    maps = gaussian_maps(points, 5, 7, 1.5)
    assert maps.shape == (2, 2, 5, 7)
    for b in range(2):
        for n in range(2):
            for y in range(5):
                for x in range(7):
                    squared = (x - float(points[b, n, 0])) ** 2 + (y - float(points[b, n, 1])) ** 2
                    assert math.isclose(float(maps[b, n, y, x]), math.exp(-squared / (2 * 1.5**2)), abs_tol=1e-6)
    assert maps[0, 0, 1, 3] == 1


def test_a_joint_that_was_not_detected_is_an_empty_map_and_disturbs_no_other():
    points = torch.tensor([[[3.0, 1.0], [2.0, 2.0]]])
    hidden = points.clone()
    hidden[0, 1] = torch.nan
    half = points.clone()
    half[0, 1, 0] = torch.nan
    for unseen in (hidden, half):
        maps = gaussian_maps(unseen, 5, 5, 1.0)
        assert maps[0, 1].abs().max() == 0
        assert torch.equal(maps[0, 0], gaussian_maps(points, 5, 5, 1.0)[0, 0])
