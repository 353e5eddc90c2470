"""What a clip must be before the heart in it can be moved."""

from echokdm.core.errors import ClipError
from echokdm.core.types import Clip


def require_motion(clip: Clip, frames: int = 2) -> None:
    """Raise ClipError where the clip has fewer than `frames` frames, or where they all show the same."""
    if len(clip) < frames:
        raise ClipError(
            f"Motion needs a clip of at least {frames} frames, and this one has {len(clip)}: give a cine loop, not a still."
        )
    first = clip.frames[0]
    if all(float((frame - first).abs().max()) < 2 / 255 for frame in clip.frames):
        raise ClipError(
            "Nothing moves in this clip: all its frames show the same; give a cine loop of a beating heart."
        )
