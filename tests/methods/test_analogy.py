"""The changed pair's flow is right: checked by warping, and by hand for a pure shift."""

import torch
import torch.nn.functional as F

from echokdm.methods.kdm.analogy import hide, make_analogy, random_affine, recolour, transform_pair
from echokdm.ops.warp import warp


def smooth_image(size: int = 64) -> torch.Tensor:
    noise = torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (size, size), mode="bicubic", align_corners=True).clamp(0, 1)


def shift(dx: float, dy: float) -> torch.Tensor:
    matrix = torch.eye(3).repeat(2, 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = dx, dy
    return matrix


def test_shifts_of_the_two_images_add_to_the_flow():
    image = smooth_image()
    flow = torch.zeros(2, 2, 64, 64)
    flow[:, 0] = 1.5
    ones = torch.ones(2, 1, 64, 64)
    changed = transform_pair(image, image, flow, ones, shift(3, -2), shift(5, 1))
    inside = changed.weight > 0
    assert torch.allclose(changed.flow[:, :1][inside], torch.tensor(3 + 1.5 - 5), atol=1e-4)
    assert torch.allclose(changed.flow[:, 1:][inside], torch.tensor(-2.0 - 1), atol=1e-4)
    assert not inside[:, :, :2].any() and inside[:, :, 5:50, 5:50].all()  # looked up above the image's edge


def test_carried_flow_warps_the_changed_source_onto_the_changed_target():
    torch.manual_seed(3)
    source = smooth_image()
    flow = F.interpolate(torch.randn(2, 2, 3, 3), (64, 64), mode="bicubic", align_corners=True) * 2
    target = warp(source, flow)
    ones = torch.ones(2, 1, 64, 64)
    a = random_affine(source, 15, 0.15, 6)
    b = a @ random_affine(source, 3, 0.03, 2)
    changed = transform_pair(target, source, flow, ones, a, b)
    error = (warp(changed.source, changed.flow) - changed.target).abs()[changed.weight > 0].mean()
    unmoved = (changed.source - changed.target).abs()[changed.weight > 0].mean()
    assert error < 0.15 * unmoved


def test_invisible_pixels_carry_no_weight():
    torch.manual_seed(0)
    image, flow = smooth_image(), torch.zeros(2, 2, 64, 64)
    assert make_analogy(image, image, flow, torch.zeros(2, 1, 64, 64)).weight.sum() == 0
    full = make_analogy(image, image, flow, torch.ones(2, 1, 64, 64))
    assert 0.3 < full.weight.mean() <= 1
    assert all(torch.isfinite(v).all() for v in full) and full.target.min() >= 0 and full.source.max() <= 1


def test_neutral_style_changes_nothing_and_blobs_only_some():
    image = smooth_image().clamp_min(1e-3)
    assert torch.allclose(recolour(image, torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(2, 4)), image, atol=1e-6)
    torch.manual_seed(0)
    changed = (hide(image) != image).float().mean()
    assert 0 < changed < 0.3
