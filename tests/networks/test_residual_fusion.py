"""Eq. 2-6: one equation a test, against loops; any number of sources, in any order."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from echokdm.networks.flow_pyramid import FlowLevel, FlowPyramid
from echokdm.networks.residual_fusion import ResidualFusion, RFBlock
from echokdm.ops.warp import warp


def stirred(module, seed=0):
    """Weights that no initialisation left at zero."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return module.eval()


def draw(batch, count, channels, side, seed=0):
    g = torch.Generator().manual_seed(seed)
    target, sources = (
        torch.randn(batch, channels, side, side, generator=g),
        torch.randn(batch, count, channels, side, side, generator=g),
    )
    n = batch * count
    level = FlowLevel(
        2 * torch.randn(n, 2, side, side, generator=g),
        torch.randn(n, 1, side, side, generator=g),
        torch.rand(n, 1, side, side, generator=g),
    )
    return target, sources, level


@pytest.fixture(scope="module")
def networks():
    flow = stirred(FlowPyramid(5, (4, 2, 1), 2, (8, 16, 16)), 1)
    return flow, stirred(ResidualFusion(3, 2, (4, 2, 1), (8, 16, 24)), 2)


@torch.no_grad()
def picture(networks, count, order=None):
    """From `count` drawn sources, taken in an order."""
    flow_net, fusion = networks
    g = torch.Generator().manual_seed(5)
    sources, structure = torch.rand(2, 4, 3, 16, 16, generator=g), torch.rand(2, 2, 16, 16, generator=g)
    sources = sources[:, list(order or range(count))]
    seen = torch.cat([sources.flatten(0, 1), structure.repeat_interleave(count, 0)], 1)
    return fusion(sources, structure, flow_net(seen))


@pytest.mark.parametrize(
    ("strides", "stem", "widths", "shapes"),
    [
        ((8, 4), 1, (8, 8, 16, 16), [(4, 4), (8, 8)]),
        ((4, 2, 1), 2, (8, 16), [(8, 8), (16, 16), (32, 32)]),
        ((4,), 4, (8, 8, 8), [(8, 8)]),
    ],
)
def test_flow_pyramid_gives_a_level_a_stride(strides, stem, widths, shapes):
    """Eq. 2: w, a and m at N resolutions; at the start no flow but the given one, rescaled to the level's pixels."""
    net = FlowPyramid(5, strides, stem, widths)
    start = torch.full((2, 2, 32, 32), 6.2)
    for level, shape in zip(net(torch.rand(2, 5, 32, 32), start), shapes, strict=True):
        assert level.flow.shape == (2, 2, *shape) and level.attention.shape == level.occlusion.shape == (2, 1, *shape)
        assert torch.allclose(level.flow, torch.full_like(level.flow, 6.2 * (shape[0] - 1) / 31), atol=1e-4)
        assert torch.allclose(level.occlusion, torch.tensor(-1.0).sigmoid())
    for level in stirred(net)(torch.rand(2, 5, 32, 32)):
        assert level.flow.std() > 0 and 0 < level.occlusion.min() and level.occlusion.max() < 1


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="can't be read off"):
        FlowPyramid(5, (16, 4), 1, (8, 8, 8))
    with pytest.raises(ValueError, match="half the one before"):
        ResidualFusion(3, 3, (4, 1), (8, 8, 8))


def test_residual_flow_reads_the_target_and_the_warped_source():
    """Eq. 3 and 4: the predictor's two convolutions, by hand, on f_t beside W(f, w) - fetched place by place for a
    whole-pixel w."""
    block = stirred(RFBlock(4))
    target, sources, _ = draw(1, 1, 4, 6)
    source = sources[:, 0]
    flow = torch.randint(-1, 2, (1, 2, 6, 6), generator=torch.Generator().manual_seed(3)).float()
    moved = torch.empty_like(source)
    for y, x in itertools.product(range(6), range(6)):
        moved[0, :, y, x] = source[
            0, :, min(max(y + int(flow[0, 1, y, x]), 0), 5), min(max(x + int(flow[0, 0, y, x]), 0), 5)
        ]
    first, _, last = block.predictor
    hidden = F.silu(F.conv2d(torch.cat([target, moved], 1), first.weight, first.bias, padding=1))
    assert torch.allclose(
        block.residual_flow(target, source, flow), F.conv2d(hidden, last.weight, last.bias, padding=1), atol=1e-5
    )


def test_refined_warp_fetches_by_the_sum_of_both_flows():
    """Eq. 5, with a predictor that answers (1, -2) everywhere."""
    block = RFBlock(4)
    with torch.no_grad():
        block.predictor[-1].bias.copy_(torch.tensor([1.0, -2.0]))
    target, sources, level = draw(1, 1, 4, 6)
    flow = level.flow.round()
    refined, whole = block.refine(target, sources[:, 0], flow)
    assert torch.equal(whole, flow + torch.tensor([1.0, -2.0]).view(1, 2, 1, 1))
    for y, x in itertools.product(range(6), range(6)):
        j, i = min(max(y + int(flow[0, 1, y, x]) - 2, 0), 5), min(max(x + int(flow[0, 0, y, x]) + 1, 0), 5)
        assert torch.allclose(refined[0, :, y, x], sources[0, 0, :, j, i], atol=1e-5)
    assert torch.equal(block.refine(target, sources[:, 0], flow, residual=False)[0], warp(sources[:, 0], flow))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fusing_mattes_by_occlusion_and_sums_by_attention(count):
    """Eq. 6, place by place."""
    block = RFBlock(3)
    target, refined, level = draw(2, count, 3, 5)
    occlusion, logits = level.occlusion.unflatten(0, (2, count)), level.attention.unflatten(0, (2, count))
    attention = block.weights(logits)
    fused = block.fuse(target, refined, attention, occlusion)
    for b, y, x in itertools.product(range(2), range(5), range(5)):
        raised = logits[b, :, 0, y, x].exp()
        expected = torch.zeros(3)
        for k in range(count):
            m = occlusion[b, k, 0, y, x]
            expected += raised[k] / raised.sum() * (refined[b, k, :, y, x] * (1 - m) + target[b, :, y, x] * m)
        assert torch.allclose(fused[b, :, y, x], expected, atol=1e-5)


def test_switches_take_parts_away():
    """Table 4: no residual flow, even attention, no matting; the baseline is the plain mean of the warped sources."""
    target, sources, level = draw(2, 3, 4, 6)
    plain = stirred(RFBlock(4, residual=False, attention=False, occlusion=False))
    assert not list(plain.parameters())
    fused, flow, attention = plain(target, sources, level)
    mean = torch.stack([warp(sources[:, k], level.flow.unflatten(0, (2, 3))[:, k]) for k in range(3)]).mean(0)
    assert torch.allclose(fused, mean, atol=1e-6) and torch.equal(flow.flatten(0, 1), level.flow)
    assert torch.allclose(attention, torch.full_like(attention, 1 / 3))
    full = stirred(RFBlock(4))
    whole = full(target, sources, level)[0]
    for name in ("residual", "attention", "occlusion"):
        less = RFBlock(4, **{name: False})
        less.load_state_dict({k: v for k, v in full.state_dict().items() if k in less.state_dict()})
        assert not torch.allclose(less(target, sources, level)[0], whole, atol=1e-3)


def test_any_number_of_sources_in_any_order_by_the_same_weights(networks):
    whole = picture(networks, 3)
    assert whole.image.shape == (2, 3, 16, 16) and [f.shape[-1] for f in whole.flows] == [4, 8, 16]
    for order in itertools.permutations(range(3)):
        other = picture(networks, 3, order)
        assert torch.allclose(other.image, whole.image, atol=1e-5)
        for mine, theirs in zip(whole.flows + whole.attentions, other.flows + other.attentions, strict=True):
            assert torch.allclose(mine[:, list(order)], theirs, atol=1e-5)
    for count in (1, 2, 4):
        assert picture(networks, count).attentions[-1].shape == (2, count, 1, 16, 16)


def test_places_keep_their_precision_in_half_precision(networks):
    """Features in bfloat16 are fetched from the same places: no grid is rounded to a quarter of a pixel."""
    _, fusion = networks
    block, side = fusion.blocks[-1], 64
    # the value is the place, exact in bfloat16
    ramp = torch.arange(side).float().expand(1, 1, 8, side, side).contiguous()
    level = FlowLevel(torch.full((1, 2, side, side), 0.5), torch.zeros(1, 1, side, side), torch.zeros(1, 1, side, side))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fused = block(torch.zeros(1, 8, side, side), ramp.bfloat16(), level, residual=False)[0]
    assert torch.allclose(fused[..., :-1].float(), ramp[0, ..., :-1] + 0.5, atol=1e-3)


def test_a_source_given_twice_says_no_more_than_once(networks):
    assert torch.allclose(picture(networks, 2, (0, 0)).image, picture(networks, 1).image, atol=1e-5)


def test_training_starts_from_the_sources_themselves():
    """With a level at full size: even attention, no flow; without what counts as hidden, 0.27 at first."""
    fusion = ResidualFusion(3, 2, (2, 1), (8, 16), occlusion=False).eval()
    sources = torch.rand(1, 2, 3, 16, 16) * 2 - 1
    levels = [FlowLevel(torch.zeros(2, 2, s, s), torch.zeros(2, 1, s, s), torch.zeros(2, 1, s, s)) for s in (8, 16)]
    assert torch.allclose(fusion(sources, torch.rand(1, 2, 16, 16), levels).image, sources.mean(1), atol=1e-5)


def test_coarse_levels_alone_still_give_a_whole_picture():
    """The paper's levels, of strides 8 and 4: the rest is decoded to full size."""
    fusion = ResidualFusion(3, 3, (8, 4), (8, 8, 16, 16))
    levels = FlowPyramid(9, (8, 4), 1, (8, 8, 16, 16))(torch.rand(2, 9, 32, 32))
    made = fusion(torch.rand(1, 2, 3, 32, 32), torch.rand(1, 3, 32, 32), levels)
    assert made.image.shape == (1, 3, 32, 32)
    made.image.sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())
