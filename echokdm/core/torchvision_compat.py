"""Make a torchvision whose compiled operators can't load importable. Import this before torchvision, diffusers or
lpips.

A CUDA build of torchvision beside a CPU build of torch (one of the commonest install faults) fails at import with
`operator torchvision::nms does not exist`, and diffusers and lpips fail with it. Nothing here needs those operators:
declaring their schemas is enough for the import to go through; calling one still raises torchvision's own error.
A healthy install is left alone. The repair is made when this module is imported, the one thing it is for.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_library: torch.library.Library | None = None  # the schemas live as long as this object


def _operators_load(folder: Path) -> bool:
    """Whether torchvision's compiled operators, in its package `folder`, load into this torch."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = folder / f"_C{suffix}"
        if library.is_file():
            try:
                torch.ops.load_library(str(library))
            except (OSError, ImportError):
                return False
            return True
    return False


def ensure_torchvision() -> str:
    """Declare the missing schemas where needed. Returns "healthy", "absent" or "declared"; may be called again.

    "healthy": torchvision is imported already, or its operators load. "absent": torchvision isn't installed.
    "declared": the operators can't load, their schemas are declared, and `import torchvision` now works.
    """
    global _library
    if _library is not None:
        return "declared"
    if "torchvision" in sys.modules:
        return "healthy"
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return "absent"
    if _operators_load(Path(spec.submodule_search_locations[0])) or hasattr(torch.ops.torchvision, "nms"):
        return "healthy"
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        _library.define(schema)
    return "declared"


ensure_torchvision()
