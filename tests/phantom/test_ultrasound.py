"""Speckle statistics, sector, noise: what image formation must get right whatever the heart."""

import pytest
import torch

from echokdm.phantom.postprocess import box
from echokdm.phantom.sector import LINES, MARGIN, ROWS, SectorGeometry
from echokdm.phantom.ultrasound import Scanner, gaussian_response, splat

SEEDS = list(range(12))


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(SEEDS)


@pytest.fixture(scope="module")
def speckle(scanner: Scanner) -> torch.Tensor:
    """Fully developed speckle: every scatterer of the same tissue."""
    g = torch.Generator().manual_seed(3)
    keep = scanner.polar_grid(scanner.points)[0] > scanner.sector.face_radius[:, None] - 5
    return scanner.echo(scanner.points, torch.randn(scanner.points.shape[:2], generator=g) * keep)[
        :, 40:-MARGIN, MARGIN:-MARGIN
    ]


def test_envelope_of_developed_speckle_is_rayleigh(speckle: torch.Tensor) -> None:
    envelope = speckle.abs()
    envelope = envelope / box(envelope.square(), 61, 61).sqrt()  # what is left of slow brightness does not count
    snr = envelope.mean((1, 2)) / envelope.std((1, 2))
    assert abs(float(snr.mean()) - 1.91) < 0.06
    assert (snr - 1.91).abs().max() < 0.3  # a wide beam leaves few independent cells in a picture
    # the Rayleigh distribution itself, not its first two moments alone: P(A > k * rms) = exp(-k^2)
    for k in (0.5, 1.0, 1.5, 2.0):
        tail = float((envelope > k).float().mean())
        assert tail == pytest.approx(float(torch.exp(torch.tensor(-k * k))), abs=0.02)


def test_phase_is_uniform_and_independent_of_range(speckle: torch.Tensor) -> None:
    mean = speckle.mean((1, 2)).abs() / speckle.abs().square().mean((1, 2)).sqrt()
    assert mean.max() < 0.15


@pytest.mark.parametrize("axis", [1, 2])
def test_correlation_lengths_match_the_psf(scanner: Scanner, axis: int) -> None:
    """A Gaussian amplitude PSF of sigma s gives the echo a coherence of exp(-d^2 / 4 s^2) at lag d."""
    g = torch.Generator().manual_seed(4)
    white = torch.complex(torch.randn(12, ROWS, LINES, generator=g), torch.randn(12, ROWS, LINES, generator=g))
    middle = slice(ROWS // 2 - 30, ROWS // 2 + 30)
    echo = scanner.blur(white)[:, middle]
    sigma = (
        (scanner.axial_sigma / scanner.row_mm).clamp(min=0.6) if axis == 1 else scanner.lateral_sigma[:, middle].mean(1)
    )
    for lag in (1, 2):
        first, second = echo.narrow(axis, 0, echo.shape[axis] - lag), echo.narrow(axis, lag, echo.shape[axis] - lag)
        coherence = (first * second.conj()).mean((1, 2)).abs() / (
            first.abs().square().mean((1, 2)) * second.abs().square().mean((1, 2))
        ).sqrt()
        expected = torch.exp(-(lag**2) / (4 * sigma**2))
        # side lobes widen the lateral response a little; sub-sample pulses are only known in their band
        where = sigma > 0.8
        assert (coherence - expected)[where].abs().max() < 0.1
        assert abs(float((coherence - expected)[where].mean())) < 0.04


def test_rigid_axial_motion_moves_the_speckle_with_it(scanner: Scanner) -> None:
    g = torch.Generator().manual_seed(5)
    amplitude = torch.randn(scanner.points.shape[:2], generator=g)
    radius, angle = scanner.sector.polar(scanner.points)
    moved = scanner.sector.cartesian(radius + 3 * scanner.row_mm[:, None], angle)
    before, after = scanner.echo(scanner.points, amplitude).abs(), scanner.echo(moved, amplitude).abs()
    a, b = before[:, 60:150, 20:-20].flatten(1), after[:, 63:153, 20:-20].flatten(1)
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    assert ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).min() > 0.9


def test_splat_keeps_amplitude_and_centroid() -> None:
    grid = splat(torch.tensor([[3.25]]), torch.tensor([[5.5]]), torch.tensor([[2.0]]), torch.tensor([[-1.0]]), 8, 9)
    assert grid.sum() == torch.tensor(2.0 - 1.0j)
    rows, lines = torch.arange(8.0)[:, None], torch.arange(9.0)[None]
    assert float((grid.real[0] * rows).sum() / 2) == pytest.approx(3.25)
    assert float((grid.real[0] * lines).sum() / 2) == pytest.approx(5.5)
    assert (
        splat(torch.tensor([[9.0]]), torch.tensor([[5.5]]), torch.ones(1, 1), torch.ones(1, 1), 8, 9).abs().sum() == 0
    )


def test_gaussian_response_has_unit_energy() -> None:
    kernel = torch.fft.ifft(gaussian_response(torch.tensor([0.7, 2.0, 5.0]), 128)).abs()
    assert torch.allclose(kernel.square().sum(-1), torch.ones(3), atol=1e-4)


def test_sector_geometry_round_trips() -> None:
    sector = SectorGeometry(SEEDS)
    points = sector.pixels_mm(32)
    assert torch.allclose(sector.cartesian(*sector.polar(points)), points, atol=1e-3)
    assert torch.allclose(sector.to_mm(sector.to_px(points, 112), 112), points, atol=1e-3)
    # one pixel is one pixel in both directions, at any size
    assert torch.allclose(sector.to_px(points, 224) + 0.5, 2 * (sector.to_px(points, 112) + 0.5), atol=1e-3)


def test_edge_distance_is_zero_on_the_edges_and_negative_beyond() -> None:
    sector = SectorGeometry(SEEDS)
    sector.cut[:] = 1e6
    radius = (sector.face_radius + 0.6 * sector.depth)[:, None]
    far = (sector.face_radius + sector.depth)[:, None]
    middle = ((sector.left + sector.right) / 2)[:, None]
    for r, a in ((radius, sector.left[:, None]), (radius, sector.right[:, None]), (far, middle)):
        assert sector.edge_distance(sector.cartesian(r, a)).abs().max() < 1e-3
    inwards = sector.edge_distance(sector.cartesian(far - 3, middle))
    assert torch.allclose(inwards, torch.full_like(inwards, 3.0), atol=1e-3)
    beyond = sector.edge_distance(sector.cartesian(radius, sector.left[:, None] - 0.1))
    assert torch.allclose(beyond, -radius * torch.sin(torch.tensor(0.1)), atol=1e-2)


def test_noise_goes_on_from_frame_to_frame_and_repeats_for_a_seed(scanner: Scanner) -> None:
    now, soon, later = (scanner.noise(torch.full((12,), p)) for p in (0.2, 0.2, 0.5))
    assert torch.equal(now, soon)
    assert abs(float((now * later.conj()).mean().abs())) < 0.02
    alone = Scanner([SEEDS[3]]).noise(torch.tensor([0.2]))
    assert torch.equal(alone[0], now[3])
