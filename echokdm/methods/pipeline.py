"""What the pipelines of all methods share: a diffusers pipeline folder read back whole."""

from pathlib import Path
from typing import ClassVar, Self

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors import SafetensorError

from echokdm.core.errors import BundleError
from echokdm.methods.bundle import bundle_licence, component_folders, find_bundle


class MethodPipeline(DiffusionPipeline):
    """Trained components under their names. A subclass names their classes and registers them in its `__init__`.

    COMPONENTS: name -> class, in the order of the bundle's folders; those in `_optional_components` may be missing.
    """

    COMPONENTS: ClassVar[dict[str, type]]
    licence: str = "MIT"  # of the weights, see `methods.bundle.bundle_licence`

    def register_modules(self, **modules) -> None:
        """As diffusers does, and every network is put in evaluation mode."""
        super().register_modules(**modules)
        for module in modules.values():
            if isinstance(module, torch.nn.Module):
                module.eval()

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, torch_dtype: torch.dtype = torch.float32) -> Self:
        """A bundle by its shipped name or its folder. Raises BundleError where there is none or it is damaged."""
        folder = find_bundle(name_or_folder)
        try:
            where = component_folders(folder)
            parts = {name: kind.from_pretrained(where[name], torch_dtype=torch_dtype, local_files_only=True, low_cpu_mem_usage=False)
                     for name, kind in cls.COMPONENTS.items() if name in where}
            if "scheduler" in where:
                parts["scheduler"] = DDIMScheduler.from_pretrained(where["scheduler"], local_files_only=True)
            config = cls.load_config(folder)
            settings = {k: v for k, v in config.items() if not k.startswith("_") and k not in parts and not isinstance(v, list)}
            pipeline = cls(**parts, **settings)
            pipeline.licence = bundle_licence(folder)
            return pipeline
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise BundleError(f"The bundle '{folder.name}' is damaged ({type(error).__name__}); install or train it again.") from error
