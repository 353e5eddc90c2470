"""Floor 1: files to clips and back. Reads by content, masks the sector, writes without patient data."""

from echokdm.io.checks import require_motion
from echokdm.io.read import read_clip

__all__ = ["read_clip", "require_motion"]
