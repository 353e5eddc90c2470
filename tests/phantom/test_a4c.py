"""The phantom as a whole: what its pictures, flows, masks and key-points owe each other."""

import pytest
import torch

from echokdm.core.errors import ConfigError
from echokdm.ops.ventricle import polygon_to_mask
from echokdm.ops.warp import sample_points, warp
from echokdm.phantom.a4c import A4CPhantom
from echokdm.phantom.statistics import frame_correlation, gray_shares

SEEDS = [5, 11, 17, 23, 29, 31]
N = len(SEEDS)


@pytest.fixture(scope="module")
def phantom() -> A4CPhantom:
    return A4CPhantom(SEEDS)


@pytest.fixture(scope="module")
def phases(phantom: A4CPhantom) -> torch.Tensor:
    return torch.stack([torch.zeros(N), phantom.end_systole], 1)


@pytest.fixture(scope="module")
def frames(phantom: A4CPhantom, phases: torch.Tensor) -> torch.Tensor:
    return phantom.frames(phases)


def test_frames_are_pictures_and_black_outside_the_sector(phantom: A4CPhantom, frames: torch.Tensor) -> None:
    assert frames.shape == (N, 2, 1, 112, 112) and frames.dtype == torch.float32
    assert frames.min() >= 0 and frames.max() <= 1
    assert (frames * ~phantom.sector[:, None, None]).abs().max() == 0
    inside = (frames[:, 0, 0] * phantom.sector).sum((1, 2)) / phantom.sector.sum((1, 2))
    assert inside.min() > 0.01 and inside.max() < 0.6
    assert not phantom.sector.flatten(1).all(1).any()


def test_a_patient_does_not_depend_on_its_batch(
    phantom: A4CPhantom, frames: torch.Tensor, phases: torch.Tensor
) -> None:
    alone = A4CPhantom(SEEDS[2:3])
    assert torch.equal(alone.frames(phases[2:3]), frames[2:3])
    assert torch.equal(A4CPhantom(SEEDS[2:3]).frames(phases[2:3]), frames[2:3])
    assert torch.equal(alone.keypoints(phases[2:3]), phantom.keypoints(phases)[2:3])


def test_no_motion_between_a_phase_and_itself(phantom: A4CPhantom) -> None:
    assert phantom.flow(phantom.end_systole, phantom.end_systole).abs().max() < 0.02


def test_flow_brings_end_diastole_to_end_systole(phases: torch.Tensor) -> None:
    """In a scan plane that stands still in the tissue: what swings through it is none of the flow's business."""
    phantom = A4CPhantom(SEEDS)
    phantom.scanner.out_of_plane.zero_()
    phantom.scanner.restless.zero_()
    frames = phantom.frames(phases)
    flow = phantom.flow(phantom.end_systole, torch.zeros(N))
    valid = phantom.valid(phantom.end_systole, torch.zeros(N))
    warped = warp(frames[:, 0], flow)
    still = ((frames[:, 0] - frames[:, 1]).square() * valid).sum((1, 2, 3)) / valid.sum((1, 2, 3))
    moved = ((warped - frames[:, 1]).square() * valid).sum((1, 2, 3)) / valid.sum((1, 2, 3))
    assert (moved < still).all()
    assert moved.mean() < 0.5 * still.mean()


def test_flow_carries_key_points_and_masks(phantom: A4CPhantom, phases: torch.Tensor) -> None:
    """The ED contour, and the mask, are what the flow finds when it looks back from ES."""
    contours, masks = phantom.contours(phases), phantom.masks(phases)
    flow = phantom.flow(phantom.end_systole, torch.zeros(N))
    back = contours[:, 1] + sample_points(flow, contours[:, 1])
    inside = sample_points(phantom.sector[:, None].float(), contours[:, 1])[..., 0] == 1
    assert ((back - contours[:, 0]).norm(dim=-1) * inside).max() < 0.35
    ventricle = (masks == 1).float()
    carried = warp(ventricle[:, :1], flow)[:, 0] > 0.5
    inner = phantom.valid(phantom.end_systole, torch.zeros(N))[:, 0]
    both = (carried & (ventricle[:, 1] > 0) & inner).sum((1, 2)) * 2
    assert (both / ((carried & inner).sum((1, 2)) + ((ventricle[:, 1] > 0) & inner).sum((1, 2)))).min() > 0.95


def test_round_trip_of_the_flow(phantom: A4CPhantom) -> None:
    there = phantom.flow(phantom.end_systole, torch.zeros(N))
    back = phantom.flow(torch.zeros(N), phantom.end_systole)
    both = there + warp(back, there)
    inner = phantom.valid(phantom.end_systole, torch.zeros(N)).expand(-1, 2, -1, -1)
    assert both.abs()[inner].quantile(0.99) < 0.25


def test_motion_ends_at_the_probe_and_its_edge_but_never_short_of_the_ventricle(phantom: A4CPhantom) -> None:
    """The edge is the sector's where the ventricle lies far inside it; a ventricle that fills the fan beats across
    it."""
    points = phantom.scanner.sector.pixels_mm(112)
    edge = phantom.heart.motion.edge_distance(points)
    lack = edge - phantom.scanner.sector.edge_distance(points)
    assert lack.min() > -1e-3 and (lack.amax(1) - lack.amin(1)).max() < 1e-3
    moved = (phantom.heart.forward(points, phantom.end_systole) - points).norm(dim=-1)
    assert moved[edge.abs() < 1].max() < 0.2
    near_probe = (points.norm(dim=-1) < 12) & phantom.sector.flatten(1)
    assert moved[near_probe].max() < 0.05
    outline = phantom.heart.resting_outline()
    deep = outline.norm(dim=-1) > 30
    assert phantom.heart.taper(outline)[deep].min() > 0.6


def test_twins_differ_in_their_ejection_fraction_alone(
    phantom: A4CPhantom, frames: torch.Tensor, phases: torch.Tensor
) -> None:
    """End-diastole is the same picture; at end-systole the exact flow carries one twin's frame, speckle and all, onto
    the other's."""
    asked = [30.0, 60.0, 22.0, 50.0, 70.0, 40.0]
    twins = A4CPhantom(SEEDS, ejection_fraction=asked)
    volumes = twins.volumes(phases)
    assert (100 * (1 - volumes[:, 1] / volumes[:, 0]) - torch.tensor(asked)).abs().max() < 3
    theirs = twins.frames(phases)
    assert (theirs[:, 0] - frames[:, 0]).abs().max() < 0.01 and torch.equal(twins.end_systole, phantom.end_systole)
    flow = twins.flow(twins.end_systole, phantom.end_systole, phantom)
    valid = twins.valid(twins.end_systole, phantom.end_systole, phantom)
    still, carried = ((x - theirs[:, 1]).square() * valid for x in (frames[:, 1], warp(frames[:, 1], flow)))
    far = (twins.ejection_fraction - phantom.ejection_fraction).abs() > 8
    assert far.sum() >= 3
    assert (carried.sum((1, 2, 3)) < 0.7 * still.sum((1, 2, 3)))[far].all()
    contours = twins.contours(phases)[:, 1]
    back = contours + sample_points(flow, contours) - phantom.contours(phases)[:, 1]
    inside = sample_points(phantom.sector[:, None].float(), contours)[..., 0] == 1
    assert (back.norm(dim=-1) * inside).max() < 0.35
    assert twins.flow(phases[:, 0], phases[:, 0], phantom).abs().max() < 0.02


@pytest.mark.parametrize("wrong", [[30.0], [5.0] * N, [90.0] * N, [float("nan")] * N])
def test_an_ejection_fraction_that_no_heart_has_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ConfigError, match="one ejection fraction a seed"):
        A4CPhantom(SEEDS, ejection_fraction=wrong)


def test_no_flow_leads_from_one_patient_to_another(phantom: A4CPhantom) -> None:
    with pytest.raises(ConfigError, match="twins"):
        phantom.flow(torch.zeros(N), torch.zeros(N), A4CPhantom(SEEDS[::-1]))


def test_key_points_bound_the_ventricle_and_its_volume_gives_the_ef(phantom: A4CPhantom, phases: torch.Tensor) -> None:
    keypoints, masks, volumes = phantom.keypoints(phases), phantom.masks(phases), phantom.volumes(phases)
    assert keypoints.shape == (N, 2, 40, 2)
    for b in range(N):
        for t in range(2):
            polygon = torch.from_numpy(polygon_to_mask(keypoints[b, t].double().numpy(), 112, 112)) & phantom.sector[b]
            ventricle = masks[b, t] == 1
            assert 2 * (polygon & ventricle).sum() / (polygon.sum() + ventricle.sum()) > 0.9
    measured = 100 * (1 - volumes[:, 1] / volumes[:, 0])
    assert (measured - phantom.ejection_fraction).abs().max() < 3


def test_successive_frames_look_alike_and_the_beat_repeats(phantom: A4CPhantom, frames: torch.Tensor) -> None:
    step = phantom.heart_rate / 60 / 40
    following = phantom.frames(step[:, None])
    for b in range(N):
        assert 0.75 < frame_correlation(frames[b, :1], following[b], phantom.sector[b]) < 0.9999
    later = phantom.frames(torch.ones(N, 1))
    assert (later - frames[:, :1]).abs().max() > 0  # the noise goes on
    for b in range(N):
        assert frame_correlation(frames[b, :1], later[b], phantom.sector[b]) > 0.8
    assert torch.equal(phantom.masks(torch.ones(N, 1)), phantom.masks(torch.zeros(N, 1)))


def test_sizes_show_the_same_patient(phantom: A4CPhantom, frames: torch.Tensor) -> None:
    large = A4CPhantom(SEEDS[:2], 224).frames(torch.zeros(2, 1))[:, 0]
    small = torch.nn.functional.avg_pool2d(large, 2)
    inside = torch.nn.functional.avg_pool2d(large.sign(), 2) == 1
    assert (small - frames[:2, 0])[inside].abs().mean() < 0.03


def test_clip_lasts_one_beat() -> None:
    phantom = A4CPhantom([3, 4])
    clips = phantom.clip(fps=10, beats=1.0)
    for clip, rate, spacing in zip(clips, phantom.heart_rate, phantom.mm_per_px, strict=True):
        assert abs(len(clip) - 10 * 60 / float(rate)) <= 1
        assert clip.spacing_mm == (pytest.approx(float(spacing)),) * 2 and clip.fps == 10


def test_gray_shares_sum_to_one_in_each_third(phantom: A4CPhantom, frames: torch.Tensor) -> None:
    depth = torch.linspace(0, 1, 112)[:, None].expand(112, 112)
    shares = gray_shares(frames[0], torch.ones(112, 112, dtype=torch.bool), depth)
    assert len(shares) == 24 and sum(shares.values()) == pytest.approx(3.0, abs=1e-5)
    flat = gray_shares(torch.full((1, 1, 112, 112), 0.25), torch.ones(112, 112, dtype=torch.bool), depth)
    assert flat["gray 0.20-0.30 near"] == 1.0
