"""Two processes train as one with twice the batch does: the same weights, whatever way a stage calls its networks; one
writes."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = '''
import sys
from pathlib import Path
import torch
from torch import nn
from echokdm.engine.loop import LoopSettings, train_stage
from echokdm.engine.processes import is_main, main_first, wait
from echokdm.engine.stage import Stage

class Items(torch.utils.data.Dataset):
    def __getitem__(self, key):
        x = torch.randn(3, generator=torch.Generator().manual_seed(100 * key[0] + key[1]))
        return {"x": x, "y": x.flip(0)}

class Parts(Stage):
    """A network called by parts and twice in a step, a second one with its own turn, a codebook set by a step's own data."""

    name = "parts"
    ema_of = ("net",)

    def __init__(self, batch_size, codebook):
        torch.manual_seed(5)
        self.net = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 3), "unused": nn.Linear(2, 2)})
        self.net.register_buffer("seen", torch.zeros(3))
        self.judge = nn.Linear(3, 1)
        self.codes = nn.Embedding(2, 3)
        self.modules, self.frozen = {"net": self.net, "judge": self.judge, "codes": self.codes}, {}
        parameters = [*self.net.parameters(), *self.codes.parameters()]
        self.optimizers = {"net": torch.optim.Adam(parameters, 0.05), "judge": torch.optim.Adam(self.judge.parameters(), 0.05)}
        self.dataset, self.batch_size, self.codebook = Items(), batch_size, codebook

    def step(self, batch, run):
        net = self.net
        if self.codebook and run.step == 2:
            with torch.no_grad():
                self.codes.weight.copy_(batch["x"][:2])
        net.seen.copy_(batch["x"].mean(0) if self.codebook else torch.ones(3))
        made = net["b"](net["a"](batch["x"]).tanh()) + 0.1 * net["b"](net["a"](batch["y"])) + self.codes.weight.mean(0)
        loss = (made - batch["y"]).square().mean() + self.judge(made).mean()
        self.optimizers["net"].zero_grad()
        run.backward(loss)
        self.optimizers["net"].step()
        judged = (self.judge(batch["y"]) - 1).square().mean() + self.judge(made.detach()).square().mean()
        self.optimizers["judge"].zero_grad()
        run.backward(judged)
        self.optimizers["judge"].step()
        return {"loss": loss}

folder, batch, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for codebook in (False, True):
    stage = Parts(batch, codebook)
    train_stage(stage, folder / f"run{codebook}", steps=6, settings=LoopSettings("no", log_every=1, device="cpu", max_minutes=60))
    torch.save({n: m.state_dict() for n, m in stage.modules.items()}, folder / f"{name}-{codebook}.pt")
with main_first():
    with open(folder / "order.txt", "a") as file:
        file.write("main " if is_main() else "other ")
wait()
'''


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `one`, of a process with batch 4, and `two`, of two processes with batch 2 each."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "script.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in (0, 1):
        # What `accelerate launch --cpu` sets.
        told = {
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
        }
        (folder / "two").mkdir(exist_ok=True)
        command = [sys.executable, str(folder / "script.py"), str(folder / "two"), "2", f"rank{rank}"]
        running.append(subprocess.Popen(command, env=os.environ | told))
    (folder / "one").mkdir()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["script", str(folder / "one"), "4", "rank0"])
            runpy.run_path(str(folder / "script.py"))
        assert [process.wait(100) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return folder


def weights(path: Path) -> dict:
    import torch

    state = torch.load(path, weights_only=True)
    return {f"{module}.{name}": value for module, values in state.items() for name, value in values.items()}


def test_two_processes_train_as_one_with_twice_the_batch(trained: Path) -> None:
    one, two = (weights(trained / name / "rank0-False.pt") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert (value - two[name]).abs().max() < 1e-5, name
    assert (one["net.a.weight"] - weights(trained / "two" / "rank0-True.pt")["net.a.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("codebook", [False, True])
def test_all_processes_end_with_the_same_weights(codebook: bool, trained: Path) -> None:
    first, second = (weights(trained / "two" / f"rank{rank}-{codebook}.pt") for rank in (0, 1))
    assert all((first[name] == second[name]).all() for name in first)


def test_one_process_writes_and_goes_first(trained: Path) -> None:
    run = trained / "two" / "runFalse"
    assert len(list(run.glob("events.*"))) == 1
    assert len((run / "log.txt").read_text().splitlines()) == 6
    assert (trained / "two" / "order.txt").read_text() == "main other "
