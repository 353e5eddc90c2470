"""echokdm: echocardiography video that does what its key-points ask.

The names below are loaded when first used, so `import echokdm` and `echokdm --help` stay instant.
"""

from typing import TYPE_CHECKING, Any

from echokdm.core.threads import arrange as _arrange_threads

if TYPE_CHECKING:
    from echokdm.audit import audit_cohort
    from echokdm.cohort import augment_cohort
    from echokdm.cohort_plan import plan_cohort, read_sources
    from echokdm.derive import Derived, derive_keypoints
    from echokdm.io import read_clip
    from echokdm.methods.kdm.adapt import adapt_bundle
    from echokdm.methods.kdm.pipeline import KDMPipeline
    from echokdm.report import write_keypoints, write_synthesis
    from echokdm.synth import Synthesis, synthesize
    from echokdm.validate import validate_folder

_arrange_threads()  # torch reads it when it is loaded, which is after this line

_HOME = {
    "Derived": "echokdm.derive",
    "KDMPipeline": "echokdm.methods.kdm.pipeline",
    "Synthesis": "echokdm.synth",
    "adapt_bundle": "echokdm.methods.kdm.adapt",
    "audit_cohort": "echokdm.audit",
    "augment_cohort": "echokdm.cohort",
    "derive_keypoints": "echokdm.derive",
    "plan_cohort": "echokdm.cohort_plan",
    "read_clip": "echokdm.io",
    "read_sources": "echokdm.cohort_plan",
    "synthesize": "echokdm.synth",
    "validate_folder": "echokdm.validate",
    "write_keypoints": "echokdm.report",
    "write_synthesis": "echokdm.report",
}

__all__ = ["Derived", "KDMPipeline", "Synthesis", "__version__", "adapt_bundle", "audit_cohort", "augment_cohort", "derive_keypoints",
           "plan_cohort", "read_clip", "read_sources", "synthesize", "validate_folder", "write_keypoints", "write_synthesis"]


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
