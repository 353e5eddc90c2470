"""Points are looked for where the detector is sure, told in the picture's own pixels, and refused where it is not."""

import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.methods.kdm.detection import search
from echokdm.networks.landmarks import LandmarkNet, spread


class Spots:
    """A detector that needs no training: the places where a picture is reddest and greenest, sure where it has both
    colours."""

    def detect(self, images):
        flat = images[:, :2].flatten(2)
        weights = (flat * 60).softmax(-1)
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in images.shape[2:]), indexing="ij")
        points = torch.stack([(weights * x.flatten()).sum(-1), (weights * y.flatten()).sum(-1)], -1)
        return points, 0.1 - 0.09 * (flat.amax((1, 2)) * flat.amax(2).amin(1) > 0.5).float()


def test_points_in_a_large_picture_are_found_in_its_own_pixels():
    image = torch.zeros(1, 3, 120, 200)
    image[:, 0, 80:84, 130:134] = image[:, 1, 60:64, 160:164] = 1.0
    found = search(Spots(), image, 32)
    assert torch.allclose(found, torch.tensor([[[131.5, 81.5], [161.5, 61.5]]]), atol=1.5)


def test_nothing_to_find_is_told():
    with pytest.raises(GeometryError, match="No face or person"):
        search(Spots(), torch.full((1, 3, 40, 40), 0.5), 32)


def test_spread_by_hand():
    heat = torch.zeros(1, 1, 5, 5)
    heat[0, 0, 2, 1] = heat[0, 0, 2, 3] = 0.5
    assert float(spread(torch.tensor([[[2.0, 2.0]]]), heat)) == pytest.approx((1 / 2) ** 0.5, abs=1e-3)


def test_points_are_centres_of_mass_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    network, images = LandmarkNet(points=3, features=(8, 8, 8, 8, 8, 8)).eval(), torch.rand(3, 3, 32, 32)
    points, unsure = network.detect(images)
    _, heat = network(images[1:2])
    by_hand = torch.stack([(heat[0, 0].sum(0) * torch.arange(32)).sum(), (heat[0, 0].sum(1) * torch.arange(32)).sum()])
    assert torch.allclose(points[1, 0], by_hand, atol=1e-3)
    alone, its = network.detect(images[1:2])
    assert torch.equal(alone[0], points[1]) and torch.equal(its[0], unsure[1])
