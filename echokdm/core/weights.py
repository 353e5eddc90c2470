"""Read one network of a bundle: safetensors alone, every tensor there and of the shape that the configuration asks
for."""

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from echokdm.core.errors import BundleError, one_sentence
from echokdm.core.files import check_plain
from echokdm.core.quiet import quiet
from echokdm.core.small_json import read_json


class _Saved(Protocol):
    """A network that diffusers has saved."""

    @classmethod
    def from_pretrained(cls, folder: Path, /, **options: Any) -> Any: ...

    def state_dict(self) -> Mapping[str, Any]: ...


Network = TypeVar("Network", bound=_Saved)

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
_DRAWN = 4  # times a network may register its parameters as it is built: some are replaced by others


def load_network(kind: type[Network], folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    """The network in `folder`, of the class `kind`, in evaluation mode. No tensor is left as it was drawn.

    Raises BundleError: no such folder, another class or configuration, and tensors that are missing, too many, of
    another shape or not finite.
    """
    name = folder.name
    with one_sentence(
        f"The network {name} of the bundle is missing or damaged: its tensors are not those of its configuration; install or "
        "train it again.",
        BundleError,
    ):
        _check_config(kind, folder)
        with safe_open(check_plain(folder / WEIGHTS, BundleError), framework="pt") as file:
            sizes = [math.prod(file.get_slice(tensor).get_shape()) for tensor in file.keys()]
        with _no_more_than(_DRAWN * len(sizes), _DRAWN * sum(sizes)), quiet("diffusers"):
            made, told = kind.from_pretrained(
                folder,
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        for what, fault in (
            ("missing_keys", "lack"),
            ("unexpected_keys", "hold, beside what is asked for,"),
            ("mismatched_keys", "have another shape for"),
        ):
            if told[what]:
                raise BundleError(
                    f"The weights of {name} {fault} {len(told[what])} tensors; install or train the bundle again."
                )
        if not all(bool(torch.isfinite(value).all()) for value in made.state_dict().values()):
            raise BundleError(
                f"The weights of {name} hold values that are not numbers; install or train the bundle again."
            )
    return made


def _check_config(kind: type[_Saved], folder: Path) -> None:
    config = read_json(folder / CONFIG)
    if (folder / f"{WEIGHTS}.index.json").exists():  # diffusers would read other files than the one looked at
        raise BundleError(f"The weights of {folder.name} are in several files; save them in one.")
    unknown = {key for key in config if not key.startswith("_")} - set(inspect.signature(kind).parameters)
    if config.get("_class_name") != kind.__name__ or unknown:
        raise BundleError(
            f"The configuration of {folder.name} is not that of a {kind.__name__}; install or train the bundle again."
        )


@contextmanager
def _no_more_than(count: int, numbers: int) -> Iterator[None]:
    """Give up a network that is being built once it has more parameters than its file can fill: before memory is taken
    for them."""
    left = [count, numbers]

    def watch(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        left[0] -= 1
        left[1] -= 0 if parameter is None else parameter.numel()
        if min(left) < 0:
            raise OverflowError

    hook = register_module_parameter_registration_hook(watch)
    try:
        yield
    finally:
        hook.remove()
