"""Import diffusers and MONAI without what they bring along and nothing here uses: half of the time until a first frame.

diffusers marks functions for torch's compiler, and torch then loads all of it; its samplers load SciPy's distributions
and integrals, its packages every transformer there is, and it asks every installed package which modules it holds.
MONAI loads all of itself, and looks for matplotlib, pandas, nibabel and OpenCV, for notebooks, profiles and files. For
the time of their import both are told that there is none of it, as their own fallbacks provide for, or get a stand-in
that does nothing; of their packages only the modules asked for are loaded. Import this before either of them. Whoever
compiles, plots or reads later gets the real modules; what was imported before stays as it is.
"""

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from echokdm.core import torchvision_compat  # noqa: F401  (diffusers imports torchvision)
from echokdm.core.deferred import deferred

COMPILER = "torch._dynamo"
OF_SAMPLERS = ("scipy.stats", "scipy.integrate")
PARTLY_USED = (
    "diffusers.models.autoencoders",
    "diffusers.models.transformers",
    "diffusers.models.unets",
    "monai",
    "monai.apps",
    "monai.data",
    "monai.networks",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.networks.nets",
    "monai.transforms",
    "monai.utils",
)
UNUSED = ("matplotlib", "matplotlib.pyplot", "pandas", "nibabel", "cv2")


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """In place of a compiler's mark, as `@mark` or `@mark(...)`: the function as it is."""
    return _unmarked if function is None else function


class _Compiled:
    """In place of the class of compiled modules: nothing is one."""


def _no_compiler() -> dict[str, ModuleType | None]:
    """What diffusers and torchvision ask of it."""
    stub, utilities = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    vars(stub).update(
        disable=_unmarked,
        allow_in_graph=_unmarked,
        utils=utilities,
        eval_frame=SimpleNamespace(OptimizedModule=_Compiled),
    )
    vars(utilities).update(is_compile_supported=lambda device: False)
    return {module.__name__: module for module in (stub, utilities)}


@contextmanager
def withheld(*unused: str) -> Iterator[None]:
    """Within it an import of the compiler gets marks that do nothing, of `OF_SAMPLERS` an empty module, one of `unused`
    an ImportError.

    Who asks which modules the installed packages hold is told of none: diffusers then takes a package to be called like
    its module.

    What was imported before is left alone. For all threads: keep it short.
    """
    compiler = {} if COMPILER in sys.modules else _no_compiler()
    put = compiler | {name: None for name in unused if name not in sys.modules}
    put |= {name: ModuleType(name) for name in OF_SAMPLERS if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type]
    whose = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = dict
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = whose
        for name, stand_in in put.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        if compiler:
            torch.__dict__.pop("_dynamo", None)


with withheld(*UNUSED), deferred(*PARTLY_USED):
    import diffusers.models.autoencoders.vq_model
    import diffusers.models.unets.unet_2d
    import diffusers.pipelines.pipeline_utils
    import diffusers.schedulers.scheduling_dpmsolver_multistep  # noqa: F401
    import monai.networks.nets.basic_unet
    import monai.networks.nets.unet  # noqa: F401
