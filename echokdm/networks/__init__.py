"""Modules, with no loss in them."""

from echokdm.core import lean_imports  # noqa: F401  (before anything here imports diffusers)
