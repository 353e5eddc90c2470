"""Composition, resizing and colours of flows."""

import torch

from echokdm.ops.flow import compose, flow_to_color, resize_flow


def test_translations_compose_by_adding():
    a = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    b = torch.tensor([-3.0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    assert torch.allclose(compose(a, b), a + b)


def test_resizing_rescales_the_values():
    flow = torch.tensor([2.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 11, 21)
    big = resize_flow(flow, 21, 41)
    assert big.shape == (1, 2, 21, 41)
    assert torch.allclose(big[0, :, 5, 5], torch.tensor([4.0, -8.0]))


def test_colours_follow_the_middlebury_wheel():
    """Still is white; rightward motion is red, leftward cyan, downward yellow-green side; longer is more saturated."""
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0] = torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    colours = flow_to_color(flow, max_magnitude=1.0)[0, :, 0].T
    assert torch.allclose(colours[0], torch.ones(3))
    assert colours[1, 0] > 0.95 and colours[1, 1:].max() < 0.15
    assert colours[2, 0] < 0.15 and colours[2, 1:].min() > 0.6
    assert 0.3 < colours[3, 1:].mean() < 0.7
