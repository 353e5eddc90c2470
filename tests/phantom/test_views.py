"""The object: a full turn shows and hides every side, and surfaces meet the camera where they should."""

import torch

from echokdm.phantom.views import ViewsPhantom


def pose(azimuth, elevation, count):
    return torch.tensor([[azimuth, elevation, 0.0, 0.0]]).expand(count, -1)


def test_each_key_point_is_seen_from_one_side_and_hidden_from_the_other():
    objects = ViewsPhantom(range(6), 64)
    seen = objects.keypoints_visible((torch.arange(24) / 24)[None].expand(6, -1))
    share = seen.float().mean(1)
    assert (share > 0.1).all() and (share < 0.75).all()


def test_key_points_turn_on_ellipses():
    """Without elevation a point keeps its height and swings as a cosine."""
    objects = ViewsPhantom(range(4), 64)
    turns = torch.arange(8) * torch.pi / 4
    path = torch.stack([objects.keypoints(pose(float(a), 0.0, 4)[:, None])[:, 0] for a in turns], 1)
    assert path[..., 1].std(1).max() < 1e-3
    x = path[..., 0] - 31.5
    assert (x[:, :4] + x[:, 4:]).abs().max() < 1e-3  # half a turn later on the other side
    squared = x[:, 0].square() + x[:, 2].square()
    assert torch.allclose(squared, x[:, 1].square() + x[:, 3].square(), atol=0.05) and (squared > 25).all()


def test_elevation_raises_what_lies_behind():
    objects = ViewsPhantom(range(4), 64)
    level, above = (objects.keypoints(pose(0.0, e, 4)[:, None])[:, 0] for e in (0.0, 0.3))
    front, back = 0, 4  # azimuths 180 degrees apart, at one height in the directions' list
    lift = above[..., 1] - level[..., 1]
    assert ((lift[:, front] - lift[:, back]).abs() > 3).all()


def test_the_far_side_can_not_be_fetched():
    objects = ViewsPhantom(range(6), 64)
    front, back = pose(0.0, 0.0, 6), pose(torch.pi, 0.0, 6)
    thing = objects.layers(front[:, None]) > 0
    share = (objects.visible(front, back) & thing).sum((1, 2, 3)) / thing.sum((1, 2, 3))
    assert (thing.float().mean((1, 2, 3)) > 0.08).all() and (share < 0.05).all()
