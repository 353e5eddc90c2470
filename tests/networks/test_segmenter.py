"""The segmenter: small, saved as a diffusers component, blind to gain, independent of the batch."""

from pathlib import Path

import pytest
import torch

from echokdm.networks.segmenter import CLASSES, Segmenter


@pytest.fixture(scope="module")
def network() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter().eval()


def test_shapes_and_size(network: Segmenter) -> None:
    for side in (112, 224):
        assert network(torch.rand(1, 1, side, side), torch.ones(1, 1, side, side)).shape == (
            1,
            len(CLASSES),
            side,
            side,
        )
    assert sum(p.numel() for p in network.parameters()) < 1_000_000


def test_round_trip_as_config_and_safetensors(network: Segmenter, tmp_path: Path) -> None:
    network.save_pretrained(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    image, sector = torch.rand(1, 1, 112, 112), torch.ones(1, 1, 112, 112, dtype=torch.bool)
    assert torch.equal(Segmenter.from_pretrained(tmp_path).eval()(image, sector), network(image, sector))


def test_gain_and_offset_inside_the_sector_do_not_matter(network: Segmenter) -> None:
    image, sector = torch.rand(1, 1, 112, 112), torch.zeros(1, 1, 112, 112)
    sector[..., 20:100, 10:90] = 1
    image = image * sector
    with torch.no_grad():
        assert torch.allclose(network(image, sector), network((0.5 * image + 0.2) * sector, sector), atol=1e-3)


def test_a_frame_does_not_depend_on_its_batch(network: Segmenter) -> None:
    image, sector = torch.rand(5, 1, 112, 112), torch.ones(5, 1, 112, 112)
    with torch.no_grad():
        assert torch.allclose(network(image, sector)[3:4], network(image[3:4], sector[3:4]), atol=1e-4)
