"""Floor 2: modules, with no loss in them."""

from echokdm.core import torchvision_compat  # noqa: F401  (before anything here imports diffusers)
