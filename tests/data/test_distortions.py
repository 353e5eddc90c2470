"""Distortions do what they say, at the strength asked for."""

import pytest
import torch

from echokdm.data.distortions import KINDS, STRENGTHS, blur, distort, shift


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_stronger_is_farther_in_gray_values_too(pictures: torch.Tensor, kind: str) -> None:
    smooth = blur(pictures, 2.0)
    weak, strong = (distort(smooth, kind, s, torch.Generator().manual_seed(1)) for s in STRENGTHS[kind])
    assert weak.shape == smooth.shape and 0 < (weak - smooth).abs().mean() < (strong - smooth).abs().mean()
    assert weak.min() >= 0 and weak.max() <= 1


def test_blur_keeps_the_mean_of_a_plane_and_widens_a_point() -> None:
    assert torch.allclose(blur(torch.full((1, 1, 20, 20), 0.4), 3.0), torch.full((1, 1, 20, 20), 0.4), atol=1e-6)
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    x = torch.arange(41.0) - 20
    assert float((blur(point, 2.0)[0, 0].sum(0) * x.square()).sum()) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(("side", "place"), [(0, (10, 13)), (1, (10, 7)), (2, (13, 10)), (3, (7, 10))])
def test_a_shift_moves_by_whole_pixels(side: int, place: tuple[int, int]) -> None:
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    assert shift(point, 3.2, side)[0, 0].nonzero().tolist() == [list(place)]


def test_the_full_texture_is_another_pictures(pictures: torch.Tensor) -> None:
    spoiled = distort(0.3 + 0.4 * pictures, "texture", 1.0, torch.Generator())
    own, other = (v - blur(v, 2.0) for v in (pictures, pictures.flip(0).flip(3)))
    detail = spoiled - blur(spoiled, 2.0)
    agree = torch.stack([(detail * v).mean((1, 2, 3)) for v in (own, other)])
    assert (agree[1] > 5 * agree[0].abs()).all()
