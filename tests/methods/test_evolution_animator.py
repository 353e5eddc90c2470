"""Liu et al., Eq. 5 and 6, and absolute and relative transfer, with small networks or none."""

import pytest
import torch

from echokdm.methods.evolution.animator import Networks, fuse, look, nearest_pose, relative_keypoints, render
from echokdm.methods.evolution.config import AnimatorConfig
from echokdm.methods.evolution.stage import build_networks
from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import warp

SMALL = AnimatorConfig(
    points=4,
    downscale=2,
    keypoint_widths=(8, 8),
    motion_widths=(8, 8),
    field_width=8,
    solver="euler",
    solver_steps=2,
    appearance_widths=(8, 8),
    generator_width=8,
    generator_widest=8,
    generator_downs=1,
    generator_blocks=1,
)


def networks(**changes):
    torch.manual_seed(0)
    parts = build_networks(SMALL.model_copy(update=changes))
    for name, layer in (("field", "head"), ("appearance", "head")):  # their last layers start at zero: let them act
        if name in parts:
            torch.nn.init.normal_(dict(parts[name].named_modules())[layer].weight, std=0.05)
    return Networks(**{name: parts.get(name) for name in Networks._fields})


def pictures(*shape):
    return torch.rand(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_fusing_is_a_slow_loop():
    g = torch.Generator().manual_seed(0)
    features, confidence = torch.randn(2, 3, 4, 5, 6, generator=g), torch.rand(2, 3, 1, 5, 6, generator=g) + 0.1
    fused, share = fuse(features, confidence)
    for b in range(2):
        for y in range(5):
            for x in range(6):
                total = sum(float(confidence[b, j, 0, y, x]) for j in range(3))
                want = sum(float(confidence[b, j, 0, y, x]) / total * features[b, j, :, y, x] for j in range(3))
                assert torch.allclose(fused[b, :, y, x], want, atol=1e-5)
    assert torch.allclose(share.sum(1), torch.ones(2, 1, 5, 6), atol=1e-6)


def test_a_single_view_is_taken_whole_whatever_its_confidence():
    features = torch.randn(1, 1, 4, 5, 6)
    assert torch.allclose(fuse(features, torch.full((1, 1, 1, 5, 6), 0.003))[0], features[:, 0], atol=1e-6)


@torch.no_grad()
def test_the_order_of_references_does_not_matter():
    nets, images = networks(), pictures(1, 4)
    end = torch.tensor([[[8.0, 9.0], [20.0, 22.0], [5.0, 25.0], [16.0, 16.0]]])
    one = render(nets, look(nets, images), end)
    order = torch.tensor([0, 3, 1, 2])
    other = render(nets, look(nets, images[:, order]), end)
    assert torch.allclose(one.image, other.image, atol=1e-5)
    assert torch.allclose(one.motion[:, order], other.motion, atol=1e-4)


@torch.no_grad()
def test_a_reference_like_the_source_adds_nothing():
    nets, images = networks(), pictures(2, 1)
    end = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(3)) * 31
    one = render(nets, look(nets, images), end)
    twice = render(nets, look(nets, images.expand(-1, 3, -1, -1, -1)), end)
    assert torch.allclose(one.image, twice.image, atol=1e-5)


class _Seen(torch.nn.Module):
    """Stands for the decoder, and keeps what it was given."""

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, features, copies):
        self.given, self.copies = features, copies
        return features[:, :3]


@pytest.mark.parametrize("copy", [False, True])
@torch.no_grad()
def test_features_are_moved_then_moved_again_within_themselves(copy):
    """Eq. 5: F_SD = T o F_S, F_App = T_App o F_SD, side by side, F_App first; and so the picture, where it is
    copied."""
    nets, images = networks(copy_pixels=copy), pictures(1, 1)
    views = look(nets, images)
    seen = _Seen(nets.generator.config)
    end = views.keypoints[:, 0] + torch.tensor([3.0, -2.0])
    made = render(nets._replace(generator=seen), views, end)
    moved = warp(views.features[:, 0], made.motion[:, 0])
    borrowed = warp(moved, made.appearance[:, 0])
    assert made.appearance.abs().max() > 0.1 and torch.allclose(seen.given, torch.cat([borrowed, moved], 1), atol=1e-5)
    assert (seen.copies is None) != copy
    if copy:
        picture = warp(images[:, 0], resize_flow(made.motion[:, 0], 32, 32))
        again = warp(picture, resize_flow(made.appearance[:, 0], 32, 32))
        assert torch.allclose(seen.copies, torch.stack([again, picture], 1), atol=1e-5)


@torch.no_grad()
def test_the_ablations_leave_their_part_out():
    nets, images = networks(evolution=False, self_appearance=False), pictures(1, 2)
    made = render(nets, look(nets, images), torch.full((1, 4, 2), 10.0))
    assert nets.field is None and torch.equal(made.motion, made.coarse) and made.appearance is None
    assert nets.generator.config.inputs == 1 and made.image.shape == (1, 3, 32, 32)
    full = networks()
    made = render(full, look(full, images), torch.full((1, 4, 2), 10.0))
    assert (made.motion - made.coarse).abs().max() > 0.01


def test_relative_transfer_by_hand():
    source, anchor = torch.tensor([[10.0, 10.0]]), torch.tensor([[5.0, 6.0]])
    driving = torch.tensor([[[5.0, 6.0]], [[7.0, 5.0]]])
    assert relative_keypoints(source, driving, anchor).tolist() == [[[10, 10]], [[12, 9]]]
    assert torch.equal(relative_keypoints(anchor, driving, anchor), driving)  # equal first frames: as absolute


def test_the_nearest_pose_ignores_place_and_size():
    g = torch.Generator().manual_seed(4)
    source = torch.rand(6, 2, generator=g) * 30
    driving = torch.rand(5, 6, 2, generator=g) * 30
    driving[3] = source * 1.7 + torch.tensor([4.0, -9.0])
    assert nearest_pose(source, driving) == 3


@pytest.mark.parametrize("name", ["keypoints", "motion", "generator", "field", "appearance"])
def test_every_network_learns(name):
    nets = networks()
    images = pictures(2, 3)
    views = look(nets, images[:, 1:])
    made = render(nets, views, nets.keypoints(images[:, 0]))
    (made.image - images[:, 0]).abs().mean().backward()
    grads = [p.grad for p in getattr(nets, name).parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in grads) and any(g.abs().max() > 0 for g in grads)
