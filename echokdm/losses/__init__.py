"""Floor 2: training objectives."""

from echokdm.core import lean_imports  # noqa: F401  (before anything here imports diffusers)
