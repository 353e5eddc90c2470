"""Adversarial losses on logits: hinge, least squares, minimax, linear; and the VQ-GAN's adaptive weight."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_hinge(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean(relu(1 - D(real))) / 2 + mean(relu(1 + D(fake))) / 2."""
    return 0.5 * (F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean())


def generator_hinge(fake_logits: Tensor) -> Tensor:
    """-mean(D(fake))."""
    return -fake_logits.mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, limit: float = 1e4) -> Tensor:
    """|d reconstruction| / |d adversarial| at the decoder's last layer (Esser et al., VQ-GAN, Eq. 7), detached."""
    a = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0].norm()
    b = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0].norm()
    return (a / (b + 1e-4)).clamp(0, limit).detach()


def discriminator_lsgan(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """mean((D(real) - 1)^2) / 2 + mean(D(fake)^2) / 2 (Mao et al., ICCV 2017, Eq. 9)."""
    return 0.5 * ((real_logits - 1).square().mean() + fake_logits.square().mean())


def generator_lsgan(fake_logits: Tensor) -> Tensor:
    """mean((D(fake) - 1)^2) / 2."""
    return 0.5 * (fake_logits - 1).square().mean()


def discriminator_minimax(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-(E log D(real) + E log(1 - D(fake))), D the sigmoid of the logits (Goodfellow et al., NeurIPS 2014; residual
    flow, Eq. 11)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_minimax(fake_logits: Tensor) -> Tensor:
    """E log(1 - D(fake)), to be lowered."""
    return -F.softplus(fake_logits).mean()


def discriminator_linear(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-(E[1 - D(fake)] + E[D(real)]), D the sigmoid of the logits (single spatial transformation, Eq. 6 as printed)."""
    return -(1 - torch.sigmoid(fake_logits)).mean() - torch.sigmoid(real_logits).mean()


def generator_linear(fake_logits: Tensor) -> Tensor:
    """E[1 - D(fake)]: the part of that equation that the generator can change, and minimises."""
    return (1 - torch.sigmoid(fake_logits)).mean()
