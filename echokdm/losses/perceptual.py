"""Perceptual distances: our own, which comes with the package, and LPIPS (Zhang et al. 2018, v0.1) over a backbone
found here."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echokdm.core.errors import BundleError

if TYPE_CHECKING:
    from echokdm.losses.feature_net import FeatureNet

PerceptualNet = Literal["own", "squeeze", "alex", "vgg"]


class _Backbone(NamedTuple):
    file: str  # plain name
    hub_file: str  # torchvision's name in its cache, with the first 8 hex digits of the file's SHA-256


BACKBONES: dict[PerceptualNet, _Backbone] = {
    "squeeze": _Backbone("squeezenet1_1.pth", "squeezenet1_1-b8a52dc0.pth"),
    "alex": _Backbone("alexnet.pth", "alexnet-owt-7be5be79.pth"),
    "vgg": _Backbone("vgg16.pth", "vgg16-397923af.pth"),
}
"""LPIPS' own."""

WEIGHTS: dict[str, _Backbone] = {
    **{net: file for net, file in BACKBONES.items()},
    "vgg19": _Backbone("vgg19.pth", "vgg19-dcbb9e9d.pth"),
}
"""All that a loss or a score may ask for."""


def find_backbone(net: str) -> Path:
    """File with torchvision's ImageNet weights for `net` ("squeeze", "alex", "vgg" or "vgg19").

    Looked for in the folder that ECHOKDM_BACKBONES names and in torchvision's cache.
    Raises BundleError, which says what to put where, when it is in neither.
    """
    if net not in WEIGHTS:
        raise BundleError(f"There is no perceptual backbone '{net}': choose one of own, {', '.join(WEIGHTS)}.")
    backbone = WEIGHTS[net]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    folders = [cache]
    if os.environ.get("ECHOKDM_BACKBONES"):
        folders.insert(0, Path(os.environ["ECHOKDM_BACKBONES"]))
    for folder in folders:
        for name in backbone:
            if (folder / name).is_file():
                return folder / name
    begins = backbone.hub_file.rsplit("-", 1)[1].removesuffix(".pth")
    raise BundleError(
        f"The backbone {net} needs torchvision's ImageNet weights: put {backbone.hub_file} (SHA-256 {begins}...) into "
        f"{_short(cache)}, or into a folder named by the environment variable ECHOKDM_BACKBONES."
    )


def _short(folder: Path) -> str:
    """A folder as the user may type it, the home directory not spelled out."""
    try:
        return f"~/{folder.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(folder)


def missing_backbone(net: str = "squeeze") -> str:
    """What to put where so that `net` is found, in a sentence; "" where it is."""
    try:
        find_backbone(net)
    except BundleError as error:
        return str(error)
    return ""


def has_backbone(net: str) -> bool:
    """Whether `find_backbone(net)` would find a file."""
    return not missing_backbone(net)


class Perceptual(nn.Module):
    """A perceptual distance; frozen, differentiable in the images.

    net: "own", or LPIPS over "squeeze", "alex" or "vgg". provenance: one line for a table's footnote, with the hash of
    the weights. Raises BundleError when the weights are missing or unreadable.
    """

    net: "FeatureNet | LPIPS"

    def __init__(self, net: PerceptualNet) -> None:
        super().__init__()
        if net == "own":
            from echokdm.losses.feature_net import load_shipped

            self.net, self.provenance = load_shipped()
        else:
            self.net = LPIPS(net)
            self.provenance = self.net.provenance
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Perceptual":
        """Stays in evaluation mode: dropout would make the distance random."""
        return super().train(False)

    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        """Distance (B,) of images (B, 1 or 3, H, W) in [0, 1]; with `mask` (B, 1, H, W) in [0, 1], the mean inside it
        alone."""
        total = first.new_zeros(first.shape[0])
        for distance in self.net.differences(first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1)):
            if mask is None:
                total = total + distance.mean((1, 2, 3))
            else:
                weight = F.interpolate(mask.to(distance.dtype), distance.shape[2:], mode="area")
                total = total + (distance * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)
        return total


class LPIPS(nn.Module):
    """The lpips package's network with torchvision's weights from this machine."""

    def __init__(self, net: str) -> None:
        super().__init__()
        path = find_backbone(net)
        from echokdm.core import torchvision_compat  # noqa: F401  (first: lpips imports torchvision)

        import lpips  # isort: skip

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchvision's, about how lpips calls it
            self.lpips = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            own = {
                f"{part}.{name}": value
                for part, slice_ in self.lpips.net.named_children()
                for name, value in slice_.state_dict().items()
            }
            weights = {k: state["features." + k.split(".", 1)[1]].float() for k in own}
            self.lpips.net.load_state_dict(weights)
        except Exception:  # a damaged or foreign file fails in many ways, all with one remedy
            raise BundleError(
                f"{path.name} does not hold torchvision's weights for LPIPS-{net}: put the right file in its place."
            ) from None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        self.provenance = f"LPIPS v0.1, {net} backbone {path.name} (sha256 {digest})"

    def differences(self, first: Tensor, second: Tensor) -> list[Tensor]:
        """Weighted squared differences of the unit-length features of (B, 3, H, W) in [0, 1]: (B, 1, h, w) a layer."""
        import lpips

        return [
            lin((lpips.normalize_tensor(a) - lpips.normalize_tensor(b)).square())
            for lin, a, b in zip(self.lpips.lins, self._features(first), self._features(second), strict=True)
        ]

    def _features(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.lpips.net(self.lpips.scaling_layer(image * 2 - 1))


def found_distances(device: torch.device | str = "cpu") -> dict[str, Perceptual]:
    """LPIPS by each backbone whose weights are on this machine, by the backbone's name: the judges; our own net only
    teaches."""
    return {net: Perceptual(net).to(device) for net in BACKBONES if has_backbone(net)}
