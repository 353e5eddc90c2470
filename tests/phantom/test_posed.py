"""What holds for the face, the body and the object alike: exact flow, right visibility, seeds, poses."""

import pytest
import torch
import torch.nn.functional as F

from echokdm.core.schemas import schema
from echokdm.ops.warp import sample_points, warp
from echokdm.phantom.body import BodyPhantom
from echokdm.phantom.face import FacePhantom
from echokdm.phantom.views import ViewsPhantom

PAIRS = [(FacePhantom, 0.3), (BodyPhantom, 0.2), (ViewsPhantom, 0.06)]  # the second: phases between source and target
ids = {"argvalues": PAIRS, "ids": ["face", "body", "views"]}
every = pytest.mark.parametrize("kind", [kind for kind, _ in PAIRS], ids=ids["ids"])
SEEDS = range(100, 108)


def moments(gap):
    target = torch.linspace(0, 1, len(SEEDS))
    return target, target + gap


def one_layer(phantom, moment, width):
    """(B, 1, H, W) bool: all pixels of the square around show one layer."""
    layer = phantom.layers(moment[:, None]).float()
    return F.max_pool2d(layer, width, 1, width // 2) == -F.max_pool2d(-layer, width, 1, width // 2)


@every
def test_pictures_and_key_points_are_of_the_stated_shape(kind):
    phantom = kind([1, 2], 48)
    phases = torch.tensor([[0.0, 0.3, 0.6], [0.1, 0.4, 2.7]])
    frames, n = phantom.frames(phases), len(phantom.schema)
    assert (
        frames.shape == (2, 3, 3, 48, 48) and frames.dtype == torch.float32 and frames.min() >= 0 and frames.max() <= 1
    )
    assert frames.std() > 0.1 and not torch.equal(frames[0], frames[1])
    assert phantom.keypoints(phases).shape == (2, 3, n, 2) and phantom.keypoints_visible(phases).shape == (2, 3, n)
    assert phantom.flow(phases[:, 0], phases[:, 1]).shape == (2, 2, 48, 48)
    seen = phantom.visible(phases[:, 0], phases[:, 1])
    assert seen.shape == (2, 1, 48, 48) and seen.dtype == torch.bool
    assert phantom.poses(phases).shape == (2, 3, len(phantom.pose_names))
    assert schema(phantom.schema.name) == phantom.schema


@pytest.mark.parametrize(("kind", "gap"), **ids)
def test_the_true_flow_makes_the_target_where_visible_and_nothing_can_elsewhere(kind, gap):
    phantom = kind(SEEDS, 96)
    target, source = moments(gap)
    flow, seen = phantom.flow(target, source), phantom.visible(target, source)
    wanted, given = phantom.frames(target[:, None])[:, 0], phantom.frames(source[:, None])[:, 0]
    error = (warp(given, flow) - wanted).abs().mean(1, keepdim=True)
    still = (given - wanted).abs().mean(1, keepdim=True)
    moving = seen & (flow.norm(dim=1, keepdim=True) > 1)
    assert moving.float().mean() > 0.05 and 0.005 < (~seen).float().mean() < 0.4
    assert error[moving].mean() < 0.35 * still[moving].mean()
    assert error[moving].median() < 0.025
    assert error[~seen].mean() > 5 * error[seen].mean()
    # Away from outlines the rest is small, and half a pixel beside the true flow is worse to all sides, so none got
    # lost on the way.
    inner = moving & one_layer(phantom, target, 7) & (-F.max_pool2d(-seen.float(), 7, 1, 3) > 0)
    assert inner.float().mean() > 0.01 and error[inner].mean() < 0.15 * still[inner].mean()
    for beside in torch.tensor([[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]]):
        worse = (warp(given, flow + beside.view(1, 2, 1, 1)) - wanted).abs().mean(1, keepdim=True)
        assert worse[inner].mean() > 1.6 * error[inner].mean()


@pytest.mark.parametrize(("kind", "gap"), **ids)
def test_the_flow_carries_the_key_points(kind, gap):
    phantom = kind(SEEDS, 96)
    target, source = moments(gap)
    at, whence = phantom.keypoints(target[:, None])[:, 0], phantom.keypoints(source[:, None])[:, 0]
    uniform = one_layer(phantom, target, 3).float()  # away from an outline, where the flow jumps
    usable = phantom.keypoints_visible(target[:, None])[:, 0] & (sample_points(uniform, at)[..., 0] > 0.999)
    missed = (sample_points(phantom.flow(target, source), at) - (whence - at)).norm(dim=-1)[usable]
    moved = (whence - at).norm(dim=-1)[usable]
    assert usable.sum() >= 16 and moved.mean() > 2
    assert missed.median() < 0.05 and missed.quantile(0.95) < 0.35


@every
def test_nothing_moves_between_equal_moments(kind):
    phantom = kind(SEEDS, 64)
    target, _ = moments(0.0)
    assert phantom.flow(target, target).abs().max() < 2e-3
    assert phantom.flow(target, target + 1).abs().max() < 0.02
    assert phantom.visible(target, target).float().mean() > 0.999


@every
def test_a_pure_shift_of_the_pose_is_that_shift(kind):
    phantom = kind([5, 6], 64)
    source = phantom.poses(torch.tensor([[0.2], [0.7]]))[:, 0]
    target = source.clone()
    target[:, phantom.pose_names.index("x")] += 3 * 2 / 64
    target[:, phantom.pose_names.index("y")] -= 2 * 2 / 64
    moved = phantom.layers(target[:, None]) > 0
    shift = torch.tensor([-3.0, 2.0])
    flow = phantom.flow(target, source).permute(0, 2, 3, 1)
    assert (flow[moved[:, 0]] - shift).abs().max() < 3e-3 and flow[~moved[:, 0]].abs().max() < 1e-4
    assert torch.allclose(phantom.keypoints(target[:, None]), phantom.keypoints(source[:, None]) - shift, atol=3e-3)


@every
def test_an_identity_depends_on_its_own_seed_alone(kind):
    phases = torch.tensor([[0.1, 0.4], [0.2, 0.5], [0.3, 0.9]])
    batch, single = kind([7, 8, 9], 48), kind([8], 48)
    assert torch.allclose(batch.frames(phases)[1:2], single.frames(phases[1:2]), atol=1e-5)
    assert torch.allclose(
        batch.flow(phases[:, 0], phases[:, 1])[1:2], single.flow(phases[1:2, 0], phases[1:2, 1]), atol=1e-3
    )
    assert torch.equal(single.frames(phases[1:2]), kind([8], 48).frames(phases[1:2]))


@every
def test_phases_are_short_for_poses(kind):
    phantom, other = kind([1, 2], 48), kind([3, 4], 48)
    phases = torch.tensor([[0.1, 0.4], [0.2, 0.5]])
    poses = other.poses(phases)
    own = phantom.poses(phases)
    assert torch.equal(phantom.frames(phases), phantom.frames(own)) and torch.equal(
        phantom.keypoints(phases), phantom.keypoints(own)
    )
    assert torch.equal(phantom.flow(phases[:, 0], phases[:, 1]), phantom.flow(own[:, 0], own[:, 1]))
    # Another's pose: its place and bearing, with the own shape and colours.
    lent, theirs = phantom.keypoints(poses), other.keypoints(poses)
    assert (lent - theirs).abs().mean() < 0.6 * (lent - phantom.keypoints(phases)).abs().mean() and not torch.equal(
        lent, theirs
    )
    assert (phantom.frames(poses) - other.frames(poses)).abs().mean() > 0.05


@every
def test_motion_is_smooth_and_repeats(kind):
    phantom = kind(SEEDS, 64)
    phases = torch.arange(0, 1, 0.01)[None].expand(len(SEEDS), -1)
    path = phantom.keypoints(phases)
    assert (path[:, 1:] - path[:, :-1]).norm(dim=-1).max() < 64 * 0.06
    assert (phantom.keypoints(phases + 3) - path).abs().max() < 0.01
    assert path.std(1).mean() > 0.5


@every
def test_the_picture_s_size_only_samples_the_scene(kind):
    phases = torch.tensor([[0.15, 0.55]])
    small, large = kind([11], 40), kind([11], 80)
    assert torch.allclose((small.keypoints(phases) + 0.5) * 2 - 0.5, large.keypoints(phases), atol=1e-3)
    halved = F.avg_pool2d(large.frames(phases)[0], 2)
    assert (halved - small.frames(phases)[0]).abs().mean() < 0.02
