"""The only training loop: Accelerate for devices and precision, resume to the same numbers, EMA, logging."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from echokdm.core.precision import has_bfloat16
from echokdm.core.progress import progress_bar
from echokdm.core.seeding import derive_seed
from echokdm.engine.checkpoint import load_state, save_state
from echokdm.engine.processes import any_of, average_gradients, share_state
from echokdm.engine.stage import Run, Stage


class _StepSampler(Sampler):
    """Yields, for every step from `start`, the item keys (step, i) of this process's share of the batch."""

    def __init__(self, start: int, stop: int, batch_size: int, rank: int, world: int) -> None:
        self.start, self.stop, self.batch_size, self.rank, self.world = start, stop, batch_size, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.stop):
            yield [(step, self.rank * self.batch_size + i) for i in range(self.batch_size)]

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class LoopSettings:
    """How a training runs; no number of it depends on more than the precision.

    precision: "no", "bf16" (float32 where the device has none) or "fp16". save_every, log_every: steps. workers: loader
    processes. device: None for the best there is. max_minutes: stop early there, with a checkpoint, schedules kept.
    """

    precision: str = "bf16"
    save_every: int = 500
    log_every: int = 50
    workers: int = 0
    device: str | None = None
    max_minutes: float | None = None


def train_stage(
    stage: Stage, folder: Path, *, steps: int, seed: int = 0, settings: LoopSettings = LoopSettings()
) -> dict[str, float]:
    """Train `stage` for `steps` steps, or go on from the checkpoint in `folder`; returns the last logged scalars.

    folder: receives `checkpoint.safetensors` and TensorBoard events.
    A run killed at any time and started again gives the numbers of an undisturbed run, since item i of step s and the
    noise of step s depend on (seed, s, i) alone. Of several processes each takes its own items, `stage.batch_size` of
    them; the main one alone writes.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from diffusers.training_utils import EMAModel
    from torch.utils.tensorboard import SummaryWriter

    folder.mkdir(parents=True, exist_ok=True)
    AcceleratorState._reset_state()  # one training after another in a program may ask for other precisions
    accelerator = Accelerator(mixed_precision=settings.precision, cpu=settings.device == "cpu")
    # emulated, it takes ten times as long as float32
    if settings.precision == "bf16" and not has_bfloat16(accelerator.device):
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision="no", cpu=settings.device == "cpu")
    checkpoint = folder / "checkpoint.safetensors"
    for name, module in stage.modules.items():
        # without DDP, see engine.processes
        stage.modules[name] = accelerator.prepare_model(module.train(), evaluation_mode=True)
    for name, optimizer in stage.optimizers.items():
        stage.optimizers[name] = accelerator.prepare(optimizer)
    for module in stage.frozen.values():
        module.to(accelerator.device).eval().requires_grad_(False)
    bare = {n: accelerator.unwrap_model(m, keep_fp32_wrapper=False) for n, m in stage.modules.items()}
    averages = {
        n: EMAModel(bare[n].parameters(), decay=stage.ema_decay, use_ema_warmup=True, power=0.75) for n in stage.ema_of
    }

    start = 0
    if checkpoint.exists():
        state = load_state(checkpoint)
        start = state["step"]
        for n, m in bare.items():
            m.load_state_dict(state["modules"][n])
        for n, o in stage.optimizers.items():
            o.load_state_dict(state["optimizers"][n])
        for n, average in averages.items():
            average.shadow_params = [p.to(accelerator.device) for p in state["ema"][n]]
            average.optimization_step = state["ema_step"]

    def backward(loss: Tensor) -> None:
        accelerator.backward(loss)
        average_gradients(bare.values())

    def save(step: int) -> None:
        if accelerator.is_main_process:
            save_state(
                checkpoint,
                {
                    "step": step,
                    "modules": {n: m.state_dict() for n, m in bare.items()},
                    "optimizers": {n: o.state_dict() for n, o in stage.optimizers.items()},
                    "ema": {n: a.shadow_params for n, a in averages.items()},
                    "ema_step": step,
                },
            )
        accelerator.wait_for_everyone()

    loader = DataLoader(
        stage.dataset,
        num_workers=settings.workers,
        persistent_workers=False,
        batch_sampler=_StepSampler(
            start, steps, stage.batch_size, accelerator.process_index, accelerator.num_processes
        ),
    )
    scalars: dict[str, float] = {}
    began, done = time.monotonic(), start
    main = accelerator.is_main_process
    shown = progress_bar(figures=True, transient=False, disable=not main)
    with SummaryWriter(str(folder)) if main else nullcontext() as writer, shown as progress:
        bar = progress.add_task(stage.name, total=steps, completed=start, figures="")
        for step, batch in enumerate(loader, start):
            torch.manual_seed(derive_seed(seed, step, accelerator.process_index))
            batch = {k: v.to(accelerator.device) for k, v in batch.items()}
            logged = stage.step(batch, Run(step, steps, accelerator.device, backward, accelerator.autocast))
            share_state(bare.values())
            for n, average in averages.items():
                average.step(bare[n].parameters())
            done = step + 1
            if done % settings.log_every == 0 or done == steps:
                scalars = {k: float(v.detach() if isinstance(v, Tensor) else v) for k, v in logged.items()}
                text = " ".join(f"{k} {v:.4g}" for k, v in scalars.items())
                progress.update(bar, figures=text)
                if writer is not None:
                    for k, v in scalars.items():
                        writer.add_scalar(f"{stage.name}/{k}", v, done)
                    with open(folder / "log.txt", "a") as log:
                        log.write(f"step {done} {time.monotonic() - began:.0f} s {text}\n")
            progress.update(bar, completed=done)
            late = settings.max_minutes is not None and any_of(time.monotonic() - began > 60 * settings.max_minutes)
            if done % settings.save_every == 0 or done == steps or late:
                save(done)
            if late:
                break
    for n, average in averages.items():
        average.copy_to(bare[n].parameters())
    stage.modules.update({n: m.eval() for n, m in bare.items()})
    with torch.no_grad():
        stage.finish()
        scalars |= stage.validate()
    return scalars
