"""Training objectives."""

from echokdm.core import torchvision_compat  # noqa: F401  (first: diffusers imports torchvision)
