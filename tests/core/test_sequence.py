"""A sequence refuses frames and key-points that don't belong together."""

import pytest
import torch

from echokdm.core.errors import ClipError, GeometryError
from echokdm.core.types import KeypointSchema, Sequence

SCHEMA = KeypointSchema("pair", ("a", "b"), ((0, 1),), ((1.0, 0.0, 0.0),))
FRAMES, POINTS, SEEN = torch.zeros(3, 1, 4, 6), torch.zeros(3, 2, 2), torch.ones(3, 2, dtype=torch.bool)


def test_what_it_says_of_itself() -> None:
    item = Sequence(FRAMES, POINTS, SEEN, SCHEMA)
    assert len(item) == 3 and item.size == (4, 6) and Sequence(FRAMES).keypoints is None


@pytest.mark.parametrize("frames", [FRAMES[0], FRAMES.double(), FRAMES[:0], FRAMES.expand(3, 2, 4, 6)])
def test_frames(frames: torch.Tensor) -> None:
    with pytest.raises(ClipError, match="float32 frames"):
        Sequence(frames)


@pytest.mark.parametrize(
    ("points", "seen", "schema", "words"),
    [
        (POINTS, None, SCHEMA, "or none of them"),
        (POINTS, SEEN, None, "or none of them"),
        (POINTS[:2], SEEN[:2], SCHEMA, "pair on 3 frames"),
        (torch.zeros(3, 5, 2), torch.ones(3, 5, dtype=torch.bool), SCHEMA, r"not \(3, 5, 2\)"),
        (POINTS, SEEN.float(), SCHEMA, "bool"),
        (POINTS * float("nan"), SEEN, SCHEMA, "not finite"),
    ],
)
def test_key_points(points: torch.Tensor, seen: torch.Tensor, schema: KeypointSchema, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        Sequence(FRAMES, points, seen, schema)
