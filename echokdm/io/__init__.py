"""Files to clips and back. Reads by content, masks the sector, writes without patient data."""

from echokdm.io.checks import require_motion
from echokdm.io.frame import ModelClip, to_model_frame
from echokdm.io.read import read_clip
from echokdm.io.sector import Sector, find_sector

__all__ = ["ModelClip", "Sector", "find_sector", "read_clip", "require_motion", "to_model_frame"]
