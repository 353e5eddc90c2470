"""Spatial transforms move images, masks, key-points and flows together; brightness transforms move nothing."""

import math

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.data.intensity import Intensity, IntensityParameters, RandIntensity
from echokdm.data.transforms import RandSpatial, Spatial, SpatialParameters
from echokdm.ops.warp import pixel_grid, warp

SIZE = 112
WAVES = ((0.012, 0.004, 0.3, 1.4, -0.6), (-0.006, 0.011, 2.0, 0.5, 1.5))


def blobs(points: torch.Tensor, sigma: float = 3.0) -> torch.Tensor:
    """(1, H, W): the sum of Gaussian blobs at points (N, 2)."""
    offset = pixel_grid(SIZE, SIZE)[0][:, None] - points.T[:, :, None, None]
    return torch.exp(-0.5 * offset.square().sum(0) / sigma**2).sum(0, keepdim=True)


def centroid(image: torch.Tensor) -> torch.Tensor:
    return (pixel_grid(SIZE, SIZE)[0] * image).sum((1, 2)) / image.sum()


def test_shift_moves_pixels_masks_and_points_alike() -> None:
    image = torch.rand(1, SIZE, SIZE)
    mask = (torch.rand(SIZE, SIZE) > 0.5).to(torch.uint8)
    out = Spatial(SpatialParameters(shift=(5.0, -3.0)))(
        {"image": image, "mask": mask, "keypoints": torch.tensor([[50.0, 60.0]]), "age": 3}
    )
    assert torch.allclose(out["image"][:, 20:80, 20:80], image[:, 23:83, 15:75], atol=1e-4)
    assert torch.equal(out["mask"][20:80, 20:80], mask[23:83, 15:75]) and out["mask"].dtype == torch.uint8
    assert torch.allclose(out["keypoints"], torch.tensor([[55.0, 57.0]]))
    assert out["age"] == 3


def test_rotation_is_clockwise_on_the_screen_and_scale_enlarges() -> None:
    centre = (SIZE - 1) / 2
    right = torch.tensor([[centre + 20, centre]])
    turned = Spatial(SpatialParameters(rotation=90, scale=1.5))({"image": blobs(right), "keypoints": right})
    assert torch.allclose(turned["keypoints"], torch.tensor([[centre, centre + 30]]), atol=1e-4)
    assert torch.allclose(centroid(turned["image"]), turned["keypoints"][0], atol=0.05)


@pytest.mark.parametrize(
    "parameters",
    [
        SpatialParameters(rotation=17, scale=0.8, shift=(6, -4)),
        SpatialParameters(rotation=-25, scale=1.2, flip=True),
        SpatialParameters(waves=WAVES),
        SpatialParameters(rotation=31, scale=1.3, shift=(-3, 5), flip=True, waves=WAVES),
    ],
)
def test_every_point_lands_on_its_image_structure(parameters: SpatialParameters) -> None:
    points = torch.tensor([[40.0, 40.0], [70.0, 45.0], [55.0, 75.0]])
    for point in points:
        out = Spatial(parameters)({"image": blobs(point[None], 1.5), "keypoints": point[None]})
        assert torch.dist(centroid(out["image"]), out["keypoints"][0]) < 0.3
    twin = Spatial(parameters)
    there = twin.forward(points.double(), SIZE, SIZE)
    assert torch.allclose(twin.backward(there, SIZE, SIZE), points.double(), atol=1e-3)


def test_flow_after_the_transform_joins_the_transformed_frames() -> None:
    # A smooth, known motion: source = image, target = image warped by flow. The transformed flow must warp the
    # transformed source onto the transformed target.
    x, y = pixel_grid(SIZE, SIZE)[0]
    source = (0.5 + 0.25 * torch.sin(x / 5) + 0.25 * torch.cos(y / 6 + x / 17))[None]
    flow = torch.stack([4 * torch.sin(y / 30), 3 * torch.cos(x / 25)])
    target = warp(source[None], flow[None])[0]
    for parameters in (
        SpatialParameters(rotation=90),
        SpatialParameters(rotation=20, scale=1.2, shift=(4, 3), flip=True, waves=WAVES),
    ):
        out = Spatial(parameters)({"source": source, "target": target, "flow": flow})
        error = (warp(out["source"][None], out["flow"][None])[0] - out["target"]).abs()[:, 30:-30, 30:-30]
        still = (out["source"] - out["target"]).abs()[:, 30:-30, 30:-30]
        assert error.mean() < 0.01 and error.mean() < 0.1 * still.mean()


def test_constant_flow_turns_and_scales_exactly() -> None:
    flow = torch.tensor([2.0, 0.0]).view(2, 1, 1).expand(2, SIZE, SIZE)
    out = Spatial(SpatialParameters(rotation=90, scale=2.0, shift=(7, 1)))({"flow": flow})["flow"]
    assert torch.allclose(out, torch.tensor([0.0, 4.0]).view(2, 1, 1).expand_as(out), atol=1e-3)


def test_flip_swaps_the_chords_ends_of_the_schema() -> None:
    points = torch.stack([torch.arange(40.0) + 20, torch.full((40,), 50.0)], 1)
    item = {"image": torch.zeros(1, SIZE, SIZE), "keypoints": points}
    flipped = Spatial(SpatialParameters(flip=True), A4C_BLOODPOOL_40)(item)["keypoints"]
    assert torch.allclose(flipped[0], torch.tensor([SIZE - 1 - points[39, 0], 50.0]), atol=1e-4)


def test_clips_are_transformed_like_their_frames() -> None:
    clip = torch.rand(3, 1, SIZE, SIZE)
    twin = Spatial(SpatialParameters(rotation=12, waves=WAVES))
    whole = twin({"image": clip})["image"]
    assert torch.equal(whole[1], twin({"image": clip[1]})["image"])


def test_random_transforms_replay_from_their_seed_and_parameters() -> None:
    item = {
        "image": torch.rand(1, SIZE, SIZE),
        "sector": torch.ones(1, SIZE, SIZE),
        "keypoints": torch.rand(40, 2) * SIZE,
    }
    pipeline = Compose([RandSpatial(), RandIntensity(probability=1.0)])
    first, again, other = (pipeline.set_random_state(seed)(item) for seed in (5, 5, 6))
    assert all(torch.equal(first[k], again[k]) for k in item)
    assert not torch.equal(first["image"], other["image"])
    spatial = RandSpatial()
    drawn = spatial.set_random_state(3)(item)
    assert torch.equal(drawn["keypoints"], Spatial(spatial.parameters)(item)["keypoints"])


def test_drawn_bends_stay_one_to_one() -> None:
    for seed in range(30):
        draw = RandSpatial(strain=0.25).set_random_state(seed)
        draw.randomize()
        strain = sum(2 * math.pi * math.hypot(w[0], w[1]) * math.hypot(w[3], w[4]) for w in draw.parameters.waves)
        assert strain * draw.parameters.scale < 0.5


def test_default_intensity_changes_nothing_and_outside_stays_black() -> None:
    image, sector = torch.rand(1, SIZE, SIZE), torch.zeros(1, SIZE, SIZE)
    sector[:, 20:90, 30:80] = 1
    same = Intensity(IntensityParameters())({"image": image * sector, "sector": sector})["image"]
    assert torch.allclose(same, image * sector, atol=1e-6)
    draw = RandIntensity(probability=1.0)
    for seed in range(20):
        out = draw.set_random_state(seed)({"image": image, "sector": sector})["image"]
        assert float(out.min()) >= 0 and float(out.max()) <= 1 and float(out[sector == 0].abs().max()) == 0


def test_each_intensity_part_does_what_it_says() -> None:
    flat = {"image": torch.full((1, SIZE, SIZE), 0.25), "sector": torch.ones(1, SIZE, SIZE)}

    def result(**parameters: object) -> torch.Tensor:
        return Intensity(IntensityParameters(**parameters))(flat)["image"][0]

    assert torch.allclose(result(gamma=0.5), torch.full((SIZE, SIZE), 0.5), atol=1e-6)
    assert torch.allclose(result(window=(0.05, 0.45)), torch.full((SIZE, SIZE), 0.5), atol=1e-6)
    assert torch.allclose(result(haze=((0.2, 0.2), (0.2, 0.2))), torch.full((SIZE, SIZE), 0.4), atol=1e-6)
    assert torch.allclose(
        result(gain=((0.0, 0.0), (math.log(2), math.log(2))))[-1], torch.full((SIZE,), 0.5), atol=1e-5
    )
    shadow = result(shadows=((0.0, 0.05, 0.3, 2.0),))
    assert shadow[100, 56] < 0.05 and shadow[10, 56] > 0.24 and shadow[100, 100] > 0.24
    step = {"image": (pixel_grid(SIZE, SIZE)[0][:1] > 56).float(), "sector": flat["sector"]}
    blurred = Intensity(IntensityParameters(blur=(2.0, 0.0)))(step)["image"][0, 50]
    expected = torch.special.ndtr((torch.arange(SIZE) - 56.5) / 2.0)
    assert torch.allclose(blurred, expected.float(), atol=0.01)
    noisy = result(noise=0.05)
    assert np.isclose(float(noisy.std()), 0.05, rtol=0.05)
    assert float(result(speckle=(0.3, 1.0, 1.0)).log().std()) == pytest.approx(0.3, rel=0.05)
