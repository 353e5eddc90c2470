"""Adversarial losses by hand."""

import math

import pytest
import torch

from echokdm.losses.adversarial import (
    discriminator_linear,
    discriminator_lsgan,
    discriminator_minimax,
    generator_linear,
    generator_lsgan,
    generator_minimax,
)


def test_least_squares_losses_by_hand():
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 1.0])
    assert float(discriminator_lsgan(real, fake)) == pytest.approx(0.5 * (0.25 / 2 + 1 / 2))
    assert float(generator_lsgan(fake)) == pytest.approx(0.5 * (1 + 0) / 2)


def test_minimax_by_hand():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-1.0])

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    judged = -(math.log(sigmoid(0.5)) + math.log(sigmoid(2.0))) / 2 - math.log(1 - sigmoid(-1.0))
    assert discriminator_minimax(real, fake).item() == pytest.approx(judged, rel=1e-5)
    assert generator_minimax(fake).item() == pytest.approx(math.log(1 - sigmoid(-1.0)), rel=1e-5)


def test_eq_6_by_hand():
    real, fake = torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, -math.log(3)])  # D = 1/2, 3/4 and 1/2, 1/4
    assert float(generator_linear(fake)) == pytest.approx((0.5 + 0.75) / 2)
    assert float(discriminator_linear(real, fake)) == pytest.approx(-((0.5 + 0.75) / 2 + (0.5 + 0.75) / 2))


def test_both_sides_pull_the_logits_apart():
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    discriminator_linear(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    made = torch.zeros(3, requires_grad=True)
    generator_linear(made).backward()
    assert (made.grad < 0).all()
