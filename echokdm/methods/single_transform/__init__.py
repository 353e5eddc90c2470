"""Pose transfer by one flow field: matched poses, an affine task beside the reconstruction, and a refinement
network."""

from echokdm.methods.single_transform.method import METHOD

__all__ = ["METHOD"]
