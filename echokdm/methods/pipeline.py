"""What the pipelines of all methods share: a diffusers pipeline folder read back whole."""

from pathlib import Path
from typing import Any, ClassVar, Self

from echokdm.core.lean_imports import withheld  # isort: skip  (before diffusers)

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from echokdm.core.errors import BundleError, one_sentence
from echokdm.core.small_json import read_json
from echokdm.core.weights import load_network
from echokdm.methods.bundle import bundle_licence, component_folders, find_bundle, pipeline_settings


class MethodPipeline(DiffusionPipeline):
    """Trained components under their names. A subclass names their classes and registers them in its `__init__`.

    COMPONENTS: name -> class, in the order of the bundle's folders; those in `_optional_components` may be missing.
    """

    COMPONENTS: ClassVar[dict[str, type]]
    bundle_name: str = ""  # of the folder that it was loaded from
    licence: str = "MIT"  # of the weights, see `methods.bundle.bundle_licence`

    def register_modules(self, **modules: Any) -> None:
        """As diffusers does, and every network is put in evaluation mode."""
        super().register_modules(**modules)
        for module in modules.values():
            if isinstance(module, torch.nn.Module):
                module.eval()

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, torch_dtype: torch.dtype = torch.float32) -> Self:
        """A bundle by its shipped name or its folder. Raises BundleError where there is none or it is damaged."""
        folder = find_bundle(name_or_folder)
        with (
            one_sentence(f"The bundle '{folder.name}' is damaged; install or train it again.", BundleError),
            withheld(),
        ):
            where = component_folders(folder)
            parts: dict[str, Any] = {
                name: load_network(kind, where[name], torch_dtype)
                for name, kind in cls.COMPONENTS.items()
                if name in where
            }
            if "scheduler" in where:
                parts["scheduler"] = DDIMScheduler.from_config(read_json(where["scheduler"] / "scheduler_config.json"))
            config = pipeline_settings(folder)
            settings = {
                k: v for k, v in config.items() if not k.startswith("_") and k not in parts and not isinstance(v, list)
            }
            pipeline = cls(**parts, **settings)
            pipeline.bundle_name, pipeline.licence = folder.name, bundle_licence(folder)
            return pipeline
