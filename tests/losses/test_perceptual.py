"""LPIPS with the backbone at hand gives its known figures, and says what to do where there is none."""

import pytest
import torch

from echokdm.core.errors import BundleError
from echokdm.losses.perceptual import Perceptual, find_backbone


@pytest.fixture(scope="module")
def astronaut():
    from skimage import data

    return torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def squeeze(squeeze_weights):
    return Perceptual("squeeze")


def test_lpips_squeeze_of_blurred_images(squeeze, astronaut):
    from scipy.ndimage import gaussian_filter

    for sigma, expected in ((0.5, 0.0226), (2, 0.2930), (8, 0.6484)):
        blurred = torch.from_numpy(gaussian_filter(astronaut.numpy(), (0, 0, sigma, sigma)))
        distance = squeeze(astronaut, blurred)
        assert distance.item() == pytest.approx(expected, rel=0.01)
        assert torch.allclose(distance, squeeze.net.lpips(astronaut, blurred, normalize=True).flatten(), atol=1e-6)


def test_mask_restricts_the_distance_and_gray_images_do(squeeze):
    image = torch.rand(2, 1, 112, 112, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[..., 56:] = 0.5
    left = torch.zeros(2, 1, 112, 112)
    left[..., :28] = 1
    inside, whole = squeeze(image, other, left), squeeze(image, other)
    assert whole.shape == (2,) and (inside < 0.3 * whole).all()
    assert torch.allclose(squeeze(image, other, torch.ones_like(left)), whole, atol=1e-6)


def test_gradient_reaches_the_image_and_not_the_weights(squeeze):
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    squeeze.train()
    squeeze(image, torch.rand(1, 3, 64, 64)).sum().backward()
    assert image.grad.abs().sum() > 0 and not squeeze.training
    assert all(p.grad is None for p in squeeze.parameters())


def test_missing_backbone_names_file_and_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("ECHOKDM_BACKBONES", str(tmp_path / "none"))
    with pytest.raises(BundleError, match="vgg16-397923af.pth.*ECHOKDM_BACKBONES"):
        find_backbone("vgg")
    with pytest.raises(BundleError, match="squeeze, alex, vgg"):
        find_backbone("resnet")


def test_own_folder_is_found_first_and_a_wrong_file_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("ECHOKDM_BACKBONES", str(tmp_path))
    (tmp_path / "alexnet.pth").write_bytes(b"no weights")
    assert find_backbone("alex") == tmp_path / "alexnet.pth"
    with pytest.raises(BundleError, match="alexnet.pth does not hold"):
        Perceptual("alex")
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "alexnet.pth")
    with pytest.raises(BundleError, match="alexnet.pth does not hold"):
        Perceptual("alex")


def test_published_values_of_seeded_noise(squeeze):
    """torchmetrics' documented examples of LPIPS-squeeze: two images of a generator seeded 42, ten of the global one
    seeded 123."""
    g = torch.Generator().manual_seed(42)
    first, second = torch.rand(2, 3, 100, 100, generator=g), torch.rand(2, 3, 100, 100, generator=g)
    assert squeeze(first, second).tolist() == pytest.approx([0.1024, 0.0938], abs=2e-4)
    torch.manual_seed(123)
    assert float(squeeze(torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)).mean()) == pytest.approx(
        0.1008, abs=2e-4
    )
