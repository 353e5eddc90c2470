"""Occlusion of a known translation, by splatting and by forward-backward consistency."""

import pytest
import torch

from echokdm.losses.occlusion import forward_backward_occlusion, splat_density, splat_occlusion


def constant(dx: float, dy: float, h: int = 12, w: int = 16) -> torch.Tensor:
    return torch.tensor([float(dx), float(dy)]).view(1, 2, 1, 1).expand(1, 2, h, w).contiguous()


def test_density_of_whole_and_half_pixel_translations():
    whole = splat_density(constant(3, -2))
    assert torch.equal(whole[0, 0, :10, 3:], torch.ones(10, 13))
    assert whole[0, 0, 10:].sum() == 0 and whole[0, 0, :, :3].sum() == 0
    half = splat_density(constant(0.5, 0))
    assert torch.allclose(half[0, 0, :, 1:], torch.ones(12, 15)) and torch.allclose(
        half[0, 0, :, 0], torch.full((12,), 0.5)
    )


def test_target_pixels_that_the_source_does_not_reach_are_occluded():
    """Everything moves 3 px to the right: the target's three left columns show what the source never had."""
    flow, reverse = constant(-3, 0), constant(3, 0)
    occluded = splat_occlusion(reverse)
    assert occluded[..., :3].all() and occluded[..., 3:].sum() == 0
    assert forward_backward_occlusion(flow, reverse).sum() == 0  # the flows cancel everywhere


def test_a_moving_block_hides_what_it_uncovers():
    """A block moves 4 px right over a still ground: the place it left has no counterpart in the source."""
    flow, reverse = torch.zeros(1, 2, 20, 24), torch.zeros(1, 2, 20, 24)
    flow[0, 0, 6:14, 10:16] = -4  # target block at columns 10..15
    reverse[0, 0, 6:14, 6:12] = 4  # source block at columns 6..11
    uncovered = torch.zeros(1, 1, 20, 24)
    uncovered[0, 0, 6:14, 6:10] = 1
    assert torch.equal(splat_occlusion(reverse), uncovered)
    assert torch.equal(forward_backward_occlusion(flow, reverse), uncovered)


def test_small_disagreement_is_no_occlusion():
    assert forward_backward_occlusion(constant(2, 1), constant(-2.4, -1)).sum() == 0
    assert forward_backward_occlusion(constant(2, 1), constant(-3, -1)).all()


@pytest.mark.parametrize("scale", [1e6, float("inf"), float("nan")])
def test_wild_flows_do_not_break_the_splat(scale):
    density = splat_density(constant(1, 1) * scale)
    assert torch.isfinite(density).all() and density.sum() == 0
