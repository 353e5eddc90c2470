"""The perceptual distance that comes with the package: not a paper's method, but what the methods here learn by."""

from echokdm.methods.perceptual.method import METHOD
from echokdm.methods.perceptual.pipeline import PerceptualPipeline

__all__ = ["METHOD", "PerceptualPipeline"]
