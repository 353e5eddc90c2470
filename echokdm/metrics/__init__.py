"""Scores, each inside a mask and with its interval, and the record of how it was measured."""

from echokdm.core import torchvision_compat  # noqa: F401  (before anything here imports diffusers or torchmetrics)
