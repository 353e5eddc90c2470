"""The methods, each a list of stages to train and a way to generate."""

from echokdm.core import torchvision_compat  # noqa: F401  (before anything here imports diffusers)
