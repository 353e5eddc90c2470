"""Pose-guided generation from misaligned sources by residual flow (Lu et al., AAAI 2022)."""

from echokdm.methods.residual_flow.method import METHOD

__all__ = ["METHOD"]
