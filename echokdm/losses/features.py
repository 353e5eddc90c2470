"""Features of a frozen network for perceptual, style and matching losses; weights are shipped or found here, never
downloaded."""

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from echokdm.core.errors import BundleError
from echokdm.losses.perceptual import find_backbone

if TYPE_CHECKING:
    from echokdm.losses.feature_net import FeatureNet

Backbone = Literal["own", "vgg19", "squeeze"]

# The end of each relu<stage>_<n> in torchvision's `features`; SqueezeNet has the stages' strides 2, 4, 8 and, for the
# last two, 16.
_VGG19 = {
    f"relu{stage}_{n}": end
    for stage, ends in enumerate(((2, 4), (7, 9), (12, 14, 16, 18), (21, 23, 25, 27), (30, 32, 34, 36)), 1)
    for n, end in enumerate(ends, 1)
}
_SQUEEZE = {1: 2, 2: 5, 3: 8, 4: 10, 5: 13}


class Features(nn.Module):
    """Activations by VGG-19's names, such as "relu3_1"; differentiable in the images, frozen.

    net: "own", the package's net, or ImageNet's "vgg19", which the papers use, or "squeeze"; of the first and the last
    the stage of like stride stands for each name. Raises BundleError where the weights are missing or a layer has no
    such name.
    """

    body: "FeatureNet | _ImageNet"

    def __init__(self, net: Backbone, layers: tuple[str, ...]) -> None:
        super().__init__()
        if unknown := [layer for layer in layers if layer not in _VGG19]:
            raise BundleError(f"There is no layer '{unknown[0]}': choose of {', '.join(_VGG19)}.")
        if net == "own":
            from echokdm.losses.feature_net import load_shipped

            self.ends, self.body = [int(layer[4]) for layer in layers], load_shipped()[0]
        else:
            self.ends = [_VGG19[layer] if net == "vgg19" else _SQUEEZE[int(layer[4])] for layer in layers]
            self.body = _ImageNet(net, max(self.ends))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Features":
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images (B, 1 or 3, H, W) in [0, 1] -> one (B, C, h, w) a layer, in the order of the layers asked for."""
        reached = self.body.activations(images.expand(-1, 3, -1, -1), max(self.ends))
        return [reached[end - 1] for end in self.ends]


class _ImageNet(nn.Module):
    """The first `count` modules of torchvision's VGG-19 or SqueezeNet, with ImageNet's weights from this machine."""

    mean: Tensor  # (1, 3, 1, 1) of ImageNet
    deviation: Tensor

    def __init__(self, net: Literal["vgg19", "squeeze"], count: int) -> None:
        super().__init__()
        path = find_backbone(net)
        from echokdm.core import torchvision_compat  # noqa: F401  (first: torchvision)

        from torchvision import models  # isort: skip

        self.body = (models.vgg19() if net == "vgg19" else models.squeezenet1_1()).features[:count]
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.body.load_state_dict({k: state[f"features.{k}"].float() for k in self.body.state_dict()})
        except Exception:  # a damaged or foreign file fails in many ways, all with one remedy
            raise BundleError(
                f"{path.name} does not hold torchvision's weights for {net}: put the right file in its place."
            ) from None
        for module in self.body:
            if isinstance(module, nn.ReLU):
                module.inplace = False
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def activations(self, images: Tensor, count: int) -> list[Tensor]:
        """images (B, 3, H, W) in [0, 1] -> what each of the first `count` modules gives."""
        value, reached = (images - self.mean) / self.deviation, []
        for module in self.body[:count]:
            value = module(value)
            reached.append(value)
        return reached
