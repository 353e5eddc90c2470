"""KDM: key-points to flow, flow to image (papers: KDM, sections 3.1-3.4)."""

from echokdm.core import lean_imports  # noqa: F401  (before anything here imports diffusers)
