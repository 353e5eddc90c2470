"""Trained weights for hearts: what a pipeline of them offers, and one from its name, its folder or as it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from echokdm.core import defaults
from echokdm.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from echokdm.core.frames import Frames
    from echokdm.methods.kdm.drawing import Drawing
    from echokdm.methods.kdm.pipeline import KDMOutput, Ventricle

Progress = Callable[[str], None]
Share = Callable[[float], None]


def quiet(_: object) -> None:
    """The progress callback of those who want none."""


class Mover(Protocol):
    """What moves frames by their key-points, as `KDMPipeline.__call__` says."""

    def __call__(
        self,
        source: "Tensor",
        source_keypoints: "Tensor",
        target_keypoints: "Tensor",
        *,
        sector: "Tensor",
        drawing: "Drawing" = ...,
        valve_opening: "Tensor | None" = None,
        chunk: int = ...,
    ) -> "KDMOutput": ...


class HeartPipeline(Mover, Protocol):
    """What is asked of trained networks for hearts; `KDMPipeline` has it.

    bundle_name: by which `run.json` names the weights. licence: of the weights. size: px a side of the frames that it
    draws. components: name -> network.
    """

    bundle_name: str
    licence: str
    size: int

    @property
    def components(self) -> Mapping[str, Any]: ...

    def segment(
        self, frames: "Frames", sector: "Tensor", fps: float, made: bool = False, any_view: bool = False
    ) -> "Ventricle": ...

    def right_heart(self, frames: "Tensor", sector: "Tensor") -> "Tensor": ...


Bundle = str | Path | HeartPipeline
"""Trained weights: the name of a shipped bundle, a bundle's folder, or a loaded pipeline."""


def load_pipeline(bundle: Bundle, device: str = defaults.DEVICE, progress: Progress = quiet) -> HeartPipeline:
    """A KDMPipeline from a bundle's name or folder, on a device; a loaded one stays as and where it is.

    Raises BundleError or ConfigError (unknown device).
    """
    if not isinstance(bundle, str | Path):
        return bundle
    import torch

    from echokdm.methods.kdm.pipeline import KDMPipeline

    progress("Loading the bundle")
    pipeline = KDMPipeline.from_pretrained(bundle)
    try:
        return pipeline.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device {device!r} is not to be had on this machine; use --device cpu, or see `echokdm doctor`."
        ) from error


def weights_hash(pipeline: HeartPipeline) -> str:
    """SHA-256 over every weight of a pipeline's components, by name, so it depends on nothing but the weights."""
    import hashlib

    import torch

    digest = hashlib.sha256()
    for name, module in sorted(pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for key, value in sorted(module.state_dict().items()):
                digest.update(f"{name}.{key}{tuple(value.shape)}{value.dtype}".encode())
                digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
