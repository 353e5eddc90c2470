"""Matched poses: every equation against a slow loop, streamed against whole, and what the whole never may be."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from echokdm.core.errors import ConfigError
from echokdm.networks.matching import (
    MatchingFlow,
    correlation,
    normalize_over_source,
    soft_mutual_filter,
    source_peaks,
    unit_grid,
)

SMALL = {"joints": 3, "width": 8, "features": 5, "layers": 3, "strides": (2,), "channels": (8, 6)}


def features(h=3, w=2, H=2, W=3, m=4):
    generator = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(2, m, *size, generator=generator) for size in ((h, w), (H, W)))
    return torch.nn.functional.normalize(z_s, dim=1), torch.nn.functional.normalize(z_t, dim=1)


def everywhere(h, w, H, W):
    return itertools.product(range(2), range(h), range(w), range(H), range(W))


def test_eq_1_is_the_scalar_product_of_every_two_positions():
    z_s, z_t = features()
    c = correlation(z_s, z_t)
    assert c.shape == (2, 6, 2, 3)
    for b, i, j, v, u in everywhere(3, 2, 2, 3):
        assert float(c[b, 2 * i + j, v, u]) == pytest.approx(
            sum(float(z_s[b, r, i, j] * z_t[b, r, v, u]) for r in range(4)), abs=1e-6
        )


def test_eq_9_divides_by_both_maxima():
    c = correlation(*features())
    gamma = soft_mutual_filter(c, 1e-5)
    for b, i, j, v, u in everywhere(3, 2, 2, 3):
        value = float(c[b, 2 * i + j, v, u])
        best_source = max(float(c[b, 2 * a + k, v, u]) for a in range(3) for k in range(2))
        best_target = max(float(c[b, 2 * i + j, a, k]) for a in range(2) for k in range(3))
        assert float(gamma[b, 2 * i + j, v, u]) == pytest.approx(
            value / (best_source + 1e-5) * value / (best_target + 1e-5), rel=1e-4
        )


def test_the_filter_is_one_where_two_positions_are_each_other_s_best_and_less_elsewhere():
    c = torch.tensor([[1.0, 0.2], [0.6, 0.5]]).view(1, 2, 1, 2)  # source positions down, target positions across
    gamma = soft_mutual_filter(c, 0.0)[0, :, 0]
    assert torch.allclose(
        gamma, torch.tensor([[1.0, 0.2 * 0.2 / (0.5 * 1.0)], [0.6 * 0.6 / (1.0 * 0.6), 0.5 * 0.5 / (0.5 * 0.6)]])
    )


def test_eq_2_gives_every_target_position_unit_length_over_the_source():
    q = correlation(*features())
    out = normalize_over_source(q)
    for b, v, u in itertools.product(range(2), range(2), range(3)):
        length = sum(float(q[b, p, v, u]) ** 2 for p in range(6)) ** 0.5
        for p in range(6):
            assert float(out[b, p, v, u]) == pytest.approx(float(q[b, p, v, u]) / length, abs=1e-6)
    assert torch.isfinite(normalize_over_source(torch.zeros(1, 4, 2, 2))).all()


def test_peaks_found_in_parts_are_those_of_the_whole_with_the_same_gradients():
    z_s, z_t = features(H=5)
    for rows in (1, 2, 5):
        a, b = (z.clone().requires_grad_() for z in (z_s, z_t))
        whole = correlation(a, b).flatten(2).amax(2)
        streamed = source_peaks(a, b, rows)[..., 0, 0]
        assert torch.allclose(whole, streamed, atol=1e-6)
        for first, second in zip(
            torch.autograd.grad(whole.square().sum(), (a, b), retain_graph=True),
            torch.autograd.grad(streamed.square().sum(), (a, b)),
            strict=True,
        ):
            assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "mutual", "guided", "pool"),
    [(3, True, False, 1), (1, True, True, 2), (3, False, True, 1), (1, False, False, 2)],
)
def test_streamed_is_whole_in_values_and_gradients(kernel, mutual, guided, pool):
    options = {"grid": 8, "kernel": kernel, "mutual": mutual, "guided": guided, "source_pool": pool}
    torch.manual_seed(0)
    poses = torch.rand(2, 2, 3, 16, 16)
    whole = MatchingFlow(**SMALL, **options, chunk_rows=None)
    wanted = whole(*poses)
    wanted.square().mean().backward()
    for rows in (1, 3, 8):
        streamed = MatchingFlow(**SMALL, **options, chunk_rows=rows)
        streamed.load_state_dict(whole.state_dict())
        flow = streamed(*poses)
        assert torch.allclose(flow, wanted, atol=1e-4)
        flow.square().mean().backward()
        for (name, a), b in zip(whole.named_parameters(), streamed.parameters(), strict=True):
            assert torch.allclose(a.grad, b.grad, rtol=2e-3, atol=1e-4), name
        with torch.no_grad():
            assert torch.allclose(streamed(*poses), wanted, atol=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return out


def test_the_whole_correlation_is_never_there_when_streamed_not_even_in_training():
    grid, poses = 16, torch.rand(2, 1, 3, 32, 32)
    largest = {}
    for rows in (None, 2):
        network = MatchingFlow(**SMALL, grid=grid, kernel=1, chunk_rows=rows)
        with Largest() as seen:
            network(*poses).mean().backward()
        largest[rows] = seen.numbers
    assert largest[None] == grid**4
    assert largest[2] <= grid**4 // 8  # two rows of sixteen, and nothing else is as large


def test_m_has_eleven_convolutions_headed_by_batch_normalisations_and_gives_unit_vectors():
    network = MatchingFlow(grid=16, width=8)
    kinds = [type(layer).__name__ for layer in network.encoder]
    assert (
        kinds.count("Conv2d") == kinds.count("BatchNorm2d") == 11
        and kinds[0] == "BatchNorm2d"
        and kinds[-1] == "Conv2d"
    )
    z_s, z_t = network.features(torch.rand(2, 18, 64, 64), torch.rand(2, 18, 64, 64))
    assert z_s.shape == z_t.shape == (2, 35, 16, 16)  # a quarter of the picture's side, as 64 is of 256
    assert torch.allclose(z_s.square().sum(1), torch.ones(2, 16, 16), atol=1e-5)


def test_c_l_has_the_paper_s_six_layers_on_the_rasterised_correlation():
    with torch.device("meta"):
        head = MatchingFlow().head
    assert head.first.in_channels == 4096
    assert [head.first.out_channels, *(layer.out_channels for layer in head.rest)] == [128, 128, 96, 64, 32, 2]


def test_locations_become_a_flow_in_pixels_of_the_picture():
    network = MatchingFlow(**SMALL, grid=8, chunk_rows=None).eval()
    with torch.no_grad():
        network.head.rest[-1].weight.zero_()
        network.head.rest[-1].bias.copy_(torch.tensor([1.0, -1.0]))  # every pixel is fetched from the top right corner
        flow = network(*torch.rand(2, 1, 3, 16, 16))
    assert torch.allclose(flow[0, 0, :, 4], torch.full((16,), 15.0 - 4), atol=1e-4)
    assert torch.allclose(flow[0, 1, 6], torch.full((16,), -6.0), atol=1e-4)


def test_guided_without_its_head_is_no_motion_and_knows_where_the_correlation_lies():
    network = MatchingFlow(**SMALL, grid=8, guided=True, chunk_rows=None).eval()
    with torch.no_grad():
        network.head.rest[-1].weight.zero_()
        network.head.rest[-1].bias.zero_()
        assert network(*torch.rand(2, 1, 3, 16, 16)).abs().max() == 0
        network.sharpness.fill_(8.0)
        z = torch.nn.functional.normalize(torch.randn(1, 35, 8, 8, generator=torch.Generator().manual_seed(0)), dim=1)
        # the target's (v, u) shows the source's (v - 2, u + 1)
        expected = network.project(z, z.roll((2, -1), (2, 3)))[1]
    own = unit_grid(8, 8)
    assert torch.allclose(
        (expected - own)[0, :, 2:, :-1], torch.tensor([1.0, -2.0]).view(2, 1, 1).mul(2 / 7).expand(2, 6, 7), atol=1e-3
    )


def test_a_pose_of_another_size_and_an_odd_kernel_are_refused():
    with pytest.raises(ConfigError, match="12 x 12 cells"):
        MatchingFlow(**SMALL, grid=8)(*torch.rand(2, 1, 3, 24, 24))
    with pytest.raises(ConfigError, match="kernel"):
        MatchingFlow(**SMALL, grid=8, kernel=5)
