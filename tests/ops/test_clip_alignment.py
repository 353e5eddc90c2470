"""Aligning two clips: what was done to one of them is found again, and what stands still can't pass for motion."""

import pytest
import torch
import torch.nn.functional as F

from echokdm.core.seeding import generator
from echokdm.ops.clip_alignment import Placement, blur, compare_clips, follow, pick_frames, register, texture

SIDE, FPS = 56, 20.0


def speckle(frames: int, seed: int = 0, sigma: float = 1.2) -> torch.Tensor:
    """(T, SIDE, SIDE) of zero mean, black at the border; every frame is another."""
    noise = blur(torch.randn((frames, 1, SIDE, SIDE), generator=generator(seed)), sigma)[:, 0]
    inside = torch.zeros(SIDE, SIDE)
    inside[6:-6, 6:-6] = 1
    return noise / noise.std() * inside


def beat(frames: int = 20, still: float = 2.0) -> torch.Tensor:
    """What stands still, with what changes over it."""
    return still * speckle(1, 1) + speckle(frames, 2)


@pytest.mark.parametrize(
    ("frames", "most", "picked"), [(1, 16, [0]), (2, 16, [0, 1]), (7, 16, [0, 2, 4, 6]), (31, 4, [0, 10, 20, 30])]
)
def test_picked_frames_are_spread_and_two_apart(frames: int, most: int, picked: list[int]) -> None:
    assert pick_frames(frames, most) == picked


def test_texture_knows_no_gain_and_nothing_outside_the_sector() -> None:
    frames = torch.rand((3, 1, 112, 112), generator=generator(0))
    sector = torch.zeros(112, 112, dtype=torch.bool)
    sector[10:100, 20:90] = True
    plain, bright = texture(0.4 * frames, sector), texture(0.8 * frames, sector)
    assert plain.shape == (3, SIDE, SIDE)
    assert F.cosine_similarity(plain.flatten(), bright.flatten(), dim=0) > 0.99
    assert (plain[:, :5] == 0).all() and (plain[:, :, :10] == 0).all() and plain.abs().max() > 0.5


@pytest.mark.parametrize(
    ("mirrored", "zoom", "dy", "dx"),
    [(False, 0, 0, 0), (False, 0, 2, -3), (True, 0, -1, 4), (False, 4, 0, 1), (True, -4, 1, 0)],
)
def test_a_placement_is_found_again(mirrored: bool, zoom: int, dy: int, dx: int) -> None:
    placed = Placement(mirrored, zoom, dy, dx)
    picture = speckle(1, sigma=2.0)
    found = register(picture[0], placed.apply(picture)[0])
    assert (found.mirrored, found.zoom) == (mirrored, zoom)
    assert (found.dy, found.dx) == pytest.approx((dy, dx), abs=0.3)


def test_a_copy_from_another_phase_with_frames_missing_is_one() -> None:
    clip = beat()
    order = [(7 + t) % 20 for t in range(20) if t % 6 != 3]
    match = compare_clips(clip[order][::2].roll(2, 2), torch.arange(0, len(order), 2) / FPS, clip, FPS)
    assert match.motion > 0.95 and match.appearance > 0.95
    assert match.frames == tuple(order[::2])
    assert match.placement.dx == pytest.approx(-2, abs=0.3)


def test_the_same_heart_in_other_motion_is_no_copy() -> None:
    clip = beat(still=4.0)
    other = 4.0 * speckle(1, 1) + speckle(10, 3)
    match = compare_clips(other, torch.arange(0, 20, 2) / FPS, clip, FPS)
    assert match.appearance > 0.85 and match.motion < 0.4


def test_a_path_goes_on_at_half_to_twice_the_speed() -> None:
    frozen = torch.zeros(6, 12)
    frozen[:, 4] = 1  # every frame is most like the fifth, as in a clip that was made from it
    steps = torch.remainder(follow(frozen, torch.full((5,), 2.0)).diff(), 12)
    assert (steps >= 1).all() and (steps <= 4).all()


def test_black_clips_share_nothing() -> None:
    match = compare_clips(torch.zeros(3, SIDE, SIDE), torch.arange(3) / FPS, torch.zeros(5, SIDE, SIDE), FPS)
    assert match.appearance == match.motion == 0
