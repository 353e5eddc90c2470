"""echokdm: echocardiography video that does what its key-points ask.

The names below are loaded when first used, so `import echokdm` and `echokdm --help` stay instant.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echokdm.derive import Derived, derive_keypoints
    from echokdm.io import read_clip
    from echokdm.methods.kdm.pipeline import KDMPipeline
    from echokdm.report import write_keypoints, write_synthesis
    from echokdm.synth import Synthesis, synthesize

_HOME = {
    "Derived": "echokdm.derive",
    "KDMPipeline": "echokdm.methods.kdm.pipeline",
    "Synthesis": "echokdm.synth",
    "derive_keypoints": "echokdm.derive",
    "read_clip": "echokdm.io",
    "synthesize": "echokdm.synth",
    "write_keypoints": "echokdm.report",
    "write_synthesis": "echokdm.report",
}

__all__ = ["Derived", "KDMPipeline", "Synthesis", "__version__", "derive_keypoints", "read_clip", "synthesize", "write_keypoints",
           "write_synthesis"]


def __getattr__(name: str) -> Any:
    """PEP 562: a public name or `__version__`, imported on first use and kept."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("echokdm")
    elif name in _HOME:
        from importlib import import_module

        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'echokdm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
