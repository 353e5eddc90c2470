"""MIDM: exemplar-based image translation with interleaved matching and latent diffusion (Seo et al., AAAI 2023)."""

from echokdm.methods.midm.method import METHOD

__all__ = ["METHOD"]
