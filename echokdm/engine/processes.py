"""What the processes of one training share, where `accelerate launch` started several: who writes, who waits, common
gradients.

Modules are not wrapped: stages call parts of a network, several of them, or one of them twice in a step, which
DistributedDataParallel does not follow. Gradients are averaged after each backward pass instead.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import nn

PATIENCE = timedelta(days=1)  # for the others while the main process fills a cache


def several() -> bool:
    """Whether this training has more processes than this one; joins them at the first call."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    from accelerate import PartialState

    return PartialState(timeout=PATIENCE).num_processes > 1


def is_main() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return not several() or torch.distributed.get_rank() == 0


def wait() -> None:
    """Until every process is here."""
    if several():
        torch.distributed.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through the block alone, then the others, which find its caches filled."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def any_of(flag: bool) -> bool:
    """Whether the flag is true in any process."""
    if not several():
        return flag
    told: list[bool] = [False] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(told, flag)
    return any(told)


@torch.no_grad()
def average_gradients(modules: Iterable[nn.Module]) -> None:
    """Every gradient becomes its mean over the processes, in place; one that is missing counts as zero, unless it is in
    all.

    After several backward passes in one step too: what was averaged before is the same everywhere and stays.
    """
    if not several():
        return
    world = torch.distributed.get_world_size()
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    flat = torch.cat(
        [has, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in parameters)]
    )
    torch.distributed.all_reduce(flat)
    start = len(parameters)
    for i, p in enumerate(parameters):
        if flat[i] > 0:
            mean = (flat[start : start + p.numel()] / world).view_as(p).to(p.dtype)
            if p.grad is None:
                p.grad = mean
            else:
                p.grad.copy_(mean)
        start += p.numel()


@torch.no_grad()
def share_state(modules: Iterable[nn.Module]) -> None:
    """Parameters and buffers become the main process's: a step may set some by its own data, such as a codebook or a
    norm's statistics."""
    if not several():
        return
    values = [value for module in modules for value in module.state_dict().values()]
    for kind in {value.dtype: None for value in values}:  # in one message
        same = [value for value in values if value.dtype == kind]
        flat = torch.cat([value.flatten() for value in same])
        torch.distributed.broadcast(flat, 0)
        for value, given in zip(same, flat.split([value.numel() for value in same]), strict=True):
            value.copy_(given.view_as(value))
