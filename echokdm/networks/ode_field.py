"""A neural ODE that refines a coarse flow: dT/dt = F_E(T, t), t from 0 to 1 (Liu et al., Eq. 4; Chen et al., NeurIPS
2018)."""

from typing import Literal

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from echokdm.networks.configured import ConfiguredModel

Solver = Literal["euler", "midpoint", "rk4"]


def evolve(field: nn.Module, start: Tensor, solver: Solver = "rk4", steps: int = 4, adjoint: bool = False) -> Tensor:
    """T(1) from T(0) = start under dT/dt = field(t, T), by a solver of fixed steps.

    An adaptive solver is not offered: it would choose its steps by the whole batch, so that a batch's size changed a
    result. adjoint: gradients by solving backwards in time (Chen et al.), which saves memory but is not the gradient of
    what was computed; False goes back through the solver's own steps (discretise, then optimise).
    """
    from torchdiffeq import odeint, odeint_adjoint

    times = torch.linspace(0, 1, steps + 1, device=start.device, dtype=torch.float32)
    integrate = odeint_adjoint if adjoint else odeint
    return integrate(field, start, times, method=solver)[-1]


class ODEField(ConfiguredModel):
    """F_E: the change of a flow T (B, 2, h, w) px, backward, at time t, by 3x3 convolutions of growing dilation.

    Flows are seen and given in twentieths of a picture, about how far things move, so that one network serves all
    sizes. The last layer sees T itself too, so that to stretch or to smooth a flow is easily learned, and starts at
    zero: at first T(1) = T(0). solver, steps, adjoint: as in `evolve`; they belong to the weights.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 64,
        dilations: tuple[int, ...] = (1, 2, 4),
        solver: Solver = "rk4",
        steps: int = 4,
        adjoint: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, dilation in enumerate(dilations):
            layers += [
                nn.Conv2d(width if i else 3, width, 3, padding=dilation, dilation=dilation, padding_mode="replicate"),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(width + 3, 2, 3, padding=1, padding_mode="replicate")
        for values in self.head.parameters():
            nn.init.zeros_(values)

    def forward(self, t: Tensor, flow: Tensor) -> Tensor:
        """dT/dt (B, 2, h, w) px of flow (B, 2, h, w) px at time t, a scalar tensor."""
        unit = flow.new_tensor([(flow.shape[3] - 1) / 20, (flow.shape[2] - 1) / 20]).view(1, 2, 1, 1)
        time = t.to(flow).reshape(1, 1, 1, 1).expand(len(flow), 1, *flow.shape[2:])
        seen = torch.cat([flow / unit, time], 1)
        return self.head(torch.cat([self.body(seen), seen], 1)).float() * unit

    def refine(self, coarse: Tensor) -> Tensor:
        """T(0) -> T(1), each (B, 2, h, w) px."""
        return evolve(self, coarse.float(), self.config.solver, self.config.steps, self.config.adjoint)
