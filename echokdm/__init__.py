"""echokdm: echocardiography video that does what its key-points ask.

The names below are loaded when first used, so `import echokdm` and `echokdm --help` stay instant.
"""

from typing import TYPE_CHECKING, Any

from echokdm.core.threads import arrange as _arrange_threads

if TYPE_CHECKING:
    from echokdm.cohort.audit import audit_cohort
    from echokdm.cohort.make import Making, augment_cohort
    from echokdm.cohort.plan import plan_cohort, read_sources
    from echokdm.cohort.validate import validate_folder
    from echokdm.echo.derive import Derived, derive_keypoints
    from echokdm.echo.synthesis import Synthesis, synthesize
    from echokdm.echo.wish import Sampling, Wish
    from echokdm.io import read_clip
    from echokdm.methods.kdm.adapt import adapt_bundle
    from echokdm.methods.kdm.drawing import Drawing
    from echokdm.methods.kdm.pipeline import KDMPipeline
    from echokdm.report.synthesis import write_keypoints, write_synthesis

_arrange_threads()  # torch reads it when it is loaded, which is after this line

_HOME = {
    "Derived": "echokdm.echo.derive",
    "Drawing": "echokdm.methods.kdm.drawing",
    "KDMPipeline": "echokdm.methods.kdm.pipeline",
    "Making": "echokdm.cohort.make",
    "Sampling": "echokdm.echo.wish",
    "Synthesis": "echokdm.echo.synthesis",
    "Wish": "echokdm.echo.wish",
    "adapt_bundle": "echokdm.methods.kdm.adapt",
    "audit_cohort": "echokdm.cohort.audit",
    "augment_cohort": "echokdm.cohort.make",
    "derive_keypoints": "echokdm.echo.derive",
    "plan_cohort": "echokdm.cohort.plan",
    "read_clip": "echokdm.io",
    "read_sources": "echokdm.cohort.plan",
    "synthesize": "echokdm.echo.synthesis",
    "validate_folder": "echokdm.cohort.validate",
    "write_keypoints": "echokdm.report.synthesis",
    "write_synthesis": "echokdm.report.synthesis",
}

__all__ = [
    "Derived",
    "Drawing",
    "KDMPipeline",
    "Making",
    "Sampling",
    "Synthesis",
    "Wish",
    "__version__",
    "adapt_bundle",
    "audit_cohort",
    "augment_cohort",
    "derive_keypoints",
    "plan_cohort",
    "read_clip",
    "read_sources",
    "synthesize",
    "validate_folder",
    "write_keypoints",
    "write_synthesis",
]


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
