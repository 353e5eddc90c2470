"""The neural ODE of flows (Liu et al., Eq. 4)."""

import math

import pytest
import torch

from echokdm.networks.ode_field import ODEField, evolve


class _Constant(torch.nn.Module):
    def forward(self, t, flow):
        return torch.tensor([3.0, -1.5]).view(1, 2, 1, 1).expand_as(flow)


class _Growth(torch.nn.Module):
    """dT/dt = a T: T(1) = e^a T(0), and dT(1)/da = T(1)."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, t, flow):
        return self.a * flow


class _Time(torch.nn.Module):
    def forward(self, t, flow):
        return 3 * t**2 + torch.zeros_like(flow)


START = torch.randn(2, 2, 4, 5, generator=torch.Generator().manual_seed(0))


def test_a_new_field_changes_nothing():
    field = ODEField(width=8, solver="euler", steps=3)
    assert torch.equal(field.refine(START), START)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_constant_field_is_an_exact_shift(solver, steps):
    moved = evolve(_Constant(), START, solver, steps)
    assert torch.allclose(moved - START, torch.tensor([3.0, -1.5]).view(1, 2, 1, 1).expand_as(START), atol=1e-5)


def test_euler_by_hand():
    """Four steps of a quarter: T(1) = T(0) (1 + a / 4)^4."""
    assert torch.allclose(evolve(_Growth(), START, "euler", 4), START * (1 + 0.7 / 4) ** 4, atol=1e-5)


def test_runge_kutta_meets_the_exponential_and_reads_the_time():
    assert torch.allclose(evolve(_Growth(), START, "rk4", 4), START * math.exp(0.7), atol=1e-4)
    assert torch.allclose(evolve(_Time(), START, "rk4", 2), START + 1, atol=1e-5)


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_by_both_ways_are_those_of_the_exponential(adjoint):
    field, start = _Growth(), START.clone().requires_grad_()
    evolve(field, start, "rk4", 8, adjoint).sum().backward()
    assert torch.allclose(start.grad, torch.full_like(START, math.exp(0.7)), atol=1e-3)
    assert float(field.a.grad) == pytest.approx(float(START.sum()) * math.exp(0.7), abs=1e-2)


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_field_learns_through_the_solver(adjoint):
    torch.manual_seed(0)
    field = ODEField(width=8, dilations=(1, 2), solver="midpoint", steps=2, adjoint=adjoint)
    optimizer = torch.optim.Adam(field.parameters(), 1e-2)
    errors = []
    for _ in range(30):
        loss = (field.refine(START) - START - 2).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.5 * errors[0]


def test_flows_are_seen_in_shares_of_the_picture():
    """A flow twice as long on a grid twice as fine is the same to the network; what it gives is twice as long too."""
    torch.manual_seed(0)
    field = ODEField(width=8, dilations=(1,))
    torch.nn.init.normal_(field.head.weight)
    small, large = torch.ones(1, 2, 9, 9), 2 * torch.ones(1, 2, 17, 17)
    time = torch.tensor(0.3)
    assert torch.allclose(2 * field(time, small)[..., 4, 4], field(time, large)[..., 8, 8], atol=1e-5)
