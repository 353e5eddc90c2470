"""Procedural pairs: seeded a sample, and really moved by the flow they state."""

import torch

from echokdm.ops.warp import warp
from echokdm.phantom.procedural import procedural_pairs


def test_a_sample_depends_on_its_own_seed_alone():
    batch, single = procedural_pairs(0, range(4), 64), procedural_pairs(0, [2], 64)
    assert torch.equal(batch.source[2:3], single.source) and torch.equal(batch.flow[2:3], single.flow)
    assert not torch.equal(batch.source[0], batch.source[1])


def test_the_flow_explains_the_target():
    pairs = procedural_pairs(3, range(24))
    inside = pairs.sector.float()
    moved = (warp(pairs.source, pairs.flow) - pairs.target).abs() * inside
    still = (pairs.source - pairs.target).abs() * inside
    strong = pairs.flow.abs().mean((1, 2, 3)) > 0.5
    assert strong.sum() >= 5
    assert moved[strong].mean() < 0.8 * still[strong].mean()


def test_images_are_black_outside_the_sector_and_within_range():
    pairs = procedural_pairs(1, range(6), 64)
    for image in (pairs.source, pairs.target):
        assert image.min() >= 0 and image.max() <= 1 and (image[~pairs.sector] == 0).all()
    assert (pairs.flow * ~pairs.sector).abs().max() == 0
