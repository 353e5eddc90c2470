"""Equivariance (Liu et al., Eq. 8) and the perceptual pyramid (Eq. 7)."""

import pytest
import torch

from echokdm.losses.equivariance import Deformation, crowding, deform, equivariance, random_deformation
from echokdm.losses.pyramid import pyramid_perceptual
from echokdm.ops.resample import shrink

GRID = torch.cartesian_prod(torch.linspace(0, 31, 4), torch.linspace(0, 31, 4))[None]


def _centre(image):
    """A detector that is exactly equivariant: the centre of mass of what is bright."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    weight = image[:, 0] / image[:, 0].sum((1, 2), keepdim=True)
    return torch.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], -1)[:, None]


def _dot(x, y):
    at_y, at_x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return torch.exp(-((at_x - x) ** 2 + (at_y - y) ** 2) / 8)[None, None]


def test_a_detector_that_moves_with_the_picture_costs_nothing():
    shift = Deformation(GRID + torch.tensor([4.0, -3.0]), GRID)  # the new picture's p shows the old one's p + (4, -3)
    image = _dot(18.0, 12.0)
    moved = deform(image, shift)
    assert torch.allclose(_centre(moved)[0, 0], torch.tensor([14.0, 15.0]), atol=0.05)
    assert float(equivariance(_centre(image), _centre(moved), shift, 32, 32)) < 5e-3


def test_a_detector_that_stands_still_costs_the_shift():
    shift = Deformation(GRID + torch.tensor([4.0, -3.0]), GRID)
    still = torch.tensor([[[10.0, 10.0], [20.0, 5.0]]])
    # mean over x and y of |dx| = 4 and |dy| = 3 px, in half pictures of 15.5 px
    assert float(equivariance(still, still, shift, 32, 32)) == pytest.approx((4 + 3) / 2 / 15.5, abs=1e-5)


def test_an_affine_map_is_followed_exactly():
    """Points p of the deformed picture lie at A p + b of the image: the spline of an affine map is the map itself."""
    matrix, offset = torch.tensor([[1.1, 0.2], [-0.1, 0.9]]), torch.tensor([2.0, 1.0])
    bent = Deformation(GRID @ matrix.T + offset, GRID)
    there = torch.tensor([[[3.0, 4.0], [17.0, 26.0], [30.0, 1.0]]])
    assert float(equivariance(there @ matrix.T + offset, there, bent, 32, 32)) < 1e-5


def test_crowding_by_hand():
    """In half pictures of 10 px: two points 0.2 apart lack 0.1 - 0.04, counted both ways; the third is far from
    either."""
    points = torch.tensor([[[4.0, 4.0], [6.0, 4.0], [18.0, 18.0]], [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]])
    assert float(crowding(points, 21, 21)) == pytest.approx((2 * 0.06 + 0) / 2, abs=1e-6)


def test_random_deformations_are_affine_plus_bend():
    torch.manual_seed(0)
    still = random_deformation(3, 32, 48, affine=0.0, spline=0.0)
    assert torch.allclose(still.here, still.there, atol=1e-5)
    assert still.there.amax((0, 1)).tolist() == [47, 31] and still.there.amin() == 0
    affine = random_deformation(1, 32, 32, affine=0.1, spline=0.0)
    design = torch.cat([affine.there[0], torch.ones(25, 1)], 1)
    assert torch.allclose(design @ torch.linalg.lstsq(design, affine.here[0]).solution, affine.here[0], atol=1e-3)
    bent = random_deformation(40, 32, 32, affine=0.0, spline=0.05)
    assert float((bent.here - bent.there).std()) == pytest.approx(0.05 * 15.5, rel=0.1)


def _layers(image):
    return [image, 2 * image[:, :1, ::2, ::2]]


def test_the_pyramid_is_the_sum_over_sizes_and_layers():
    g = torch.Generator().manual_seed(0)
    made, truth = torch.rand(2, 3, 32, 32, generator=g), torch.rand(2, 3, 32, 32, generator=g)
    want = 0.0
    for size in (32, 16):
        a, b = shrink(made, size, size), shrink(truth, size, size)
        want += float((a - b).abs().mean()) + float((2 * a[:, :1, ::2, ::2] - 2 * b[:, :1, ::2, ::2]).abs().mean())
    assert float(pyramid_perceptual(_layers, made, truth, (1, 0.5))) == pytest.approx(want, abs=1e-5)


def test_a_constant_difference_by_hand():
    made, truth = torch.full((1, 3, 16, 16), 0.75), torch.full((1, 3, 16, 16), 0.5)
    # each size: 0.25 of the first layer, 0.5 of the doubled one
    assert float(pyramid_perceptual(_layers, made, truth, (1, 0.5, 0.25))) == pytest.approx(3 * 0.75, abs=1e-5)


def test_the_truth_gets_no_gradient():
    made, truth = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 3, 16, 16, requires_grad=True)
    pyramid_perceptual(_layers, made, truth, (1,)).backward()
    assert made.grad is not None and truth.grad is None
