"""Floor 3: the one training loop, the one sampling loop. Knows no method."""

from echokdm.core import lean_imports  # noqa: F401  (before anything here imports diffusers)
