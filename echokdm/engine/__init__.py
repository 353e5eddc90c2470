"""The one training loop, the one sampling loop. Knows no method."""

from echokdm.core import torchvision_compat  # noqa: F401  (before anything here imports diffusers)
