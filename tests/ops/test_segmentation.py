"""From noisy class probabilities to one steady ventricle, and refusal where there is none."""

import math

import pytest
import torch

from echokdm.core.errors import GeometryError
from echokdm.ops.segmentation import (
    clip_probabilities,
    mitral_lines,
    segment_clip,
    smooth_in_time,
    ventricle_masks,
)
from echokdm.ops.warp import pixel_grid

SIZE, FRAMES, FPS = 112, 20, 25.0
X, Y = pixel_grid(SIZE, SIZE)[0]


def radius(cx: float, cy: float, a: float, b: float) -> torch.Tensor:
    return ((X - cx) / a) ** 2 + ((Y - cy) / b) ** 2


def heart(t: int) -> tuple[torch.Tensor, float]:
    """Labels (H, W) of a drawn beating ventricle over an atrium, and the mitral plane's row."""
    squeeze = 1 - 0.15 * (1 - math.cos(2 * math.pi * t / FRAMES))
    base = 74 - 6 * (1 - squeeze) / 0.3
    labels = torch.zeros(SIZE, SIZE, dtype=torch.int64)
    labels[radius(60, 50, 15 * squeeze + 7, 40) < 1] = 2
    labels[radius(60, base + 12, 14, 18) < 1] = 3
    cavity = (radius(60, 50, 15 * squeeze, 33) < 1) & (Y < base)
    labels[(labels == 3) & (Y < base)] = 2
    labels[cavity] = 1
    return labels, base


def probabilities(labels: torch.Tensor, certainty: float = 0.9) -> torch.Tensor:
    one_hot = torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()
    return one_hot * certainty + (1 - certainty) / 4


@pytest.fixture
def clip() -> tuple[torch.Tensor, list[float]]:
    drawn = [heart(t) for t in range(FRAMES)]
    return torch.stack([d[0] for d in drawn]), [d[1] for d in drawn]


SECTOR = torch.ones(SIZE, SIZE, dtype=torch.bool)


def dice(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 2 * (a & b).sum((1, 2)) / (a.sum((1, 2)) + b.sum((1, 2)))


def test_clean_probabilities_pass_through(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, _ = clip
    assert float(dice(ventricle_masks(probabilities(labels), SECTOR, FPS), labels == 1).min()) > 0.96


def test_mitral_line_lies_between_ventricle_and_atrium(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, base = clip
    lines = mitral_lines(probabilities(labels), FPS)
    row = (lines[:, 2] - lines[:, 0] * 60) / lines[:, 1]
    assert float((row - torch.tensor(base)).abs().max()) < 2.0
    assert float(lines[:, 1].min()) > 0.98


def test_a_leak_into_the_atrium_in_two_frames_is_cut_at_the_plane(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, base = clip
    truth = labels == 1
    leaky = labels.clone()
    for t in (7, 8):
        leaky[t][(labels[t] == 3)] = 1
    masks = ventricle_masks(probabilities(leaky), SECTOR, FPS)
    assert float(dice(masks, truth).min()) > 0.92
    area = masks.sum((1, 2)).float()
    assert float((area[1:] - area[:-1]).abs().max()) < 0.12 * float(area.max())


def test_holes_bites_and_specks_are_mended(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, _ = clip
    truth = labels == 1
    broken = labels.clone()
    broken[:, radius(60, 45, 4, 4) < 1] = 2  # a hole
    broken[:, (radius(73, 55, 4, 3) < 1) & truth.all(0)] = 2  # a papillary muscle
    broken[:, radius(20, 90, 6, 6) < 1] = 1  # a speck elsewhere
    masks = ventricle_masks(probabilities(broken), SECTOR, FPS)
    assert float(dice(masks, truth).min()) > 0.94
    assert not bool(masks[:, 80:, :40].any())


def test_one_lost_frame_is_bridged(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, _ = clip
    truth = labels == 1
    p = probabilities(labels)
    p[10, 1] *= 0.3
    assert float(dice(ventricle_masks(p, SECTOR, FPS), truth).min()) > 0.9


def test_smoothing_keeps_phase_and_constants() -> None:
    wave = torch.sin(torch.arange(40) * 2 * math.pi / 20)
    smooth = smooth_in_time(wave, FPS, 0.08)
    assert int(smooth[:12].argmax()) == int(wave[:12].argmax())
    assert torch.allclose(smooth_in_time(torch.full((9, 2, 2), 0.7), FPS, 0.08), torch.full((9, 2, 2), 0.7))
    assert torch.equal(smooth_in_time(wave[:1], FPS, 0.08), wave[:1])


def drawn_image(labels: torch.Tensor) -> torch.Tensor:
    return torch.tensor([0.0, 0.15, 0.9, 0.4])[labels][:, None]


def oracle(image: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
    """A stand-in for a network that knows the drawn gray levels."""
    levels = torch.tensor([0.0, 0.15, 0.9, 0.4]).view(1, 4, 1, 1)
    return -200 * (image - levels).square()


def test_segment_clip_finds_the_drawn_ventricle_whatever_the_batch(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels, _ = clip
    masks, found, _ = segment_clip(oracle, drawn_image(labels), SECTOR, FPS)
    assert masks.dtype == torch.bool and found.shape == (FRAMES, 4, SIZE, SIZE)
    assert float(dice(masks, labels == 1).min()) > 0.93
    again, *_ = segment_clip(oracle, drawn_image(labels), SECTOR, FPS, batch_size=7)
    assert torch.equal(masks, again)


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(3, 1, SIZE, SIZE),
        torch.ones(3, 1, SIZE, SIZE),
        torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)),
    ],
)
def test_no_ventricle_is_refused_with_the_way_out(frames: torch.Tensor) -> None:
    with pytest.raises(GeometryError, match="--keypoints"):
        segment_clip(oracle, frames, SECTOR, FPS)


def test_a_dark_disc_without_a_wall_is_refused() -> None:
    labels = torch.zeros(3, SIZE, SIZE, dtype=torch.int64)
    labels[:, radius(56, 56, 18, 26) < 1] = 1
    with pytest.raises(GeometryError, match="wall"):
        segment_clip(oracle, drawn_image(labels), SECTOR, FPS)


def test_a_frame_is_seen_by_itself() -> None:
    """What other frames show does not change what the network sees, nor what comes of it, in a frame."""
    frames, sector = torch.rand(3, 1, 16, 16), torch.ones(16, 16, dtype=torch.bool)

    def network(image: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, 1 - image], 1)

    together, _ = clip_probabilities(network, frames, sector)
    assert torch.allclose(together[1:2], clip_probabilities(network, frames[1:2], sector)[0])


def test_a_mirrored_picture_is_seen_mirrored() -> None:
    """Whatever the network makes of left and right; how far it sees them alike is told."""
    frames, sector = (
        torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.ones(16, 16, dtype=torch.bool),
    )
    ramp = torch.linspace(0, 4, 16)

    def network(image: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, image * ramp], 1)

    seen, agreement = clip_probabilities(network, frames, sector)
    other, same = clip_probabilities(network, frames.flip(-1), sector.flip(-1))
    assert torch.allclose(other.flip(-1), seen) and torch.allclose(agreement, same)
    assert 0.3 < float(agreement.max()) < 0.99
    assert torch.allclose(
        clip_probabilities(lambda image, _: torch.cat([image, -image], 1), frames, sector)[1], torch.ones(2)
    )


@pytest.mark.parametrize("fps", [2.0, 8.0, 30.0, 50.0])
def test_two_frames_are_two_frames(clip: tuple[torch.Tensor, list[float]], fps: float) -> None:
    p = probabilities(clip[0][[0, FRAMES // 2]])
    alone = torch.cat([ventricle_masks(p[t : t + 1], SECTOR, fps) for t in range(2)])
    assert torch.equal(ventricle_masks(p, SECTOR, fps), alone)


def test_a_thinned_clip_keeps_its_end_systole(clip: tuple[torch.Tensor, list[float]]) -> None:
    labels = clip[0].repeat(3, 1, 1)[::4]  # a beat in five frames, 0.16 s apart
    areas = ventricle_masks(probabilities(labels), SECTOR, 6.25).sum((1, 2)).float()
    drawn = (labels == 1).sum((1, 2)).float()
    assert float((areas / drawn - (areas / drawn).mean()).abs().max()) < 0.03
