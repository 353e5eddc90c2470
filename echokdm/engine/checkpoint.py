"""Training state in one safetensors file, written whole or not at all; no pickle."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from echokdm.core.errors import BundleError


def _flatten(value: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    """Replace each tensor in a nested state by a reference to its place in `tensors`."""
    if isinstance(value, Tensor):
        tensors[prefix] = value.detach().cpu().contiguous().clone()
        return {"__tensor__": prefix}
    if isinstance(value, dict):
        return {"__dict__": [[k, _flatten(v, f"{prefix}.{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_flatten(v, f"{prefix}.{i}", tensors) for i, v in enumerate(value)]
    return value


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict) and "__tensor__" in value:
        return tensors[value["__tensor__"]]
    if isinstance(value, dict):
        return {k: _restore(v, tensors) for k, v in value["__dict__"]}
    if isinstance(value, list):
        return [_restore(v, tensors) for v in value]
    return value


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dictionaries of tensors, numbers and strings to `path`, by a temporary name and a move."""
    tensors: dict[str, Tensor] = {}
    layout = json.dumps(_flatten(state, "s", tensors))
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"layout": layout})
    os.replace(temporary, path)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, on the CPU. Raises BundleError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {k: f.get_tensor(k) for k in f.keys()}
            layout = json.loads(f.metadata()["layout"])
    except Exception as error:
        raise BundleError(f"The checkpoint {path.name} can't be read; delete it to start the stage again.") from error
    return _restore(layout, tensors)
