"""The training loop by a stage of one number."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from echokdm.engine.loop import LoopSettings, train_stage
from echokdm.engine.stage import Stage


class Ones(Dataset):
    """Items without end."""

    def __getitem__(self, key):
        return {"x": torch.ones(3)}


class Line(Stage):
    """Learns to give zero."""

    name = "line"
    ema_of = ()

    def __init__(self) -> None:
        self.net = nn.Linear(3, 1)
        self.modules, self.frozen = {"net": self.net}, {}
        self.optimizers = {"net": torch.optim.SGD(self.net.parameters(), 0.01)}
        self.dataset, self.batch_size = Ones(), 2

    def step(self, batch, run):
        loss = self.net(batch["x"]).float().square().mean()
        self.optimizers["net"].zero_grad()
        run.backward(loss)
        self.optimizers["net"].step()
        return {"loss": loss}


def test_trainings_of_one_program_may_differ_in_precision(tmp_path: Path) -> None:
    for number, precision in enumerate(("no", "bf16", "no")):
        figures = train_stage(Line(), tmp_path / str(number), steps=3, settings=LoopSettings(precision, device="cpu"))
        assert figures["loss"] >= 0
