"""Self-appearance-aided differential evolution for motion transfer (Liu et al., CVPR 2022)."""

from echokdm.methods.evolution.method import METHOD
from echokdm.methods.evolution.pipeline import EvolutionOutput, EvolutionPipeline

__all__ = ["METHOD", "EvolutionOutput", "EvolutionPipeline"]
