"""The key-point schemas of faces and bodies, and a look-up by name. "Left" and "right" are the subject's own."""

import colorsys
import difflib
import re

from echokdm.core.errors import ConfigError
from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema

Colour = tuple[float, float, float]
Edge = tuple[int, int]


def _hues(count: int) -> tuple[Colour, ...]:
    """`count` bright colours around the wheel; value alternates, so that neighbours stay apart."""
    return tuple(colorsys.hsv_to_rgb(i / count, 1.0, 1.0 if i % 2 == 0 else 0.8) for i in range(count))


def _swaps(names: tuple[str, ...]) -> tuple[Edge, ...]:
    """(left, right) index pairs of the names that differ in their side alone."""
    return tuple(
        (i, names.index(name.replace("left", "right", 1))) for i, name in enumerate(names) if name.startswith("left")
    )


_FACE_LINES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("jaw", tuple(range(17))),
    ("right_brow", tuple(range(17, 22))),
    ("left_brow", tuple(range(22, 27))),
    ("nose_bridge", tuple(range(27, 31))),
    ("nose_base", tuple(range(31, 36))),
    ("right_eye", (36, 37, 38, 39, 40, 41, 36)),
    ("left_eye", (42, 43, 44, 45, 46, 47, 42)),
    ("outer_lip_upper", tuple(range(48, 55))),
    ("outer_lip_lower", (54, 55, 56, 57, 58, 59, 48)),
    ("inner_lip_upper", tuple(range(60, 65))),
    ("inner_lip_lower", (64, 65, 66, 67, 60)),
)


def _ibug_68() -> KeypointSchema:
    """300-W's 68 points (Sagonas et al., ICCV-W 2013) joined by KDM's 11 coloured lines (section 4, face data)."""
    parts = [line for line, points in _FACE_LINES for _ in points[1:]]
    edges = [edge for _, points in _FACE_LINES for edge in zip(points, points[1:], strict=False)]
    colour = dict(zip((line for line, _ in _FACE_LINES), _hues(len(_FACE_LINES)), strict=True))
    names = {
        i: f"{line}_{at}"
        for line, points in reversed(_FACE_LINES)
        for at, i in enumerate(points)
        if at == 0 or i != points[0]
    }
    pairs = [(16 - i, i) for i in range(8)] + [(26 - i, 17 + i) for i in range(5)] + [(35, 31), (34, 32)]
    pairs += [(45, 36), (44, 37), (43, 38), (42, 39), (47, 40), (46, 41)]
    pairs += [(54, 48), (53, 49), (52, 50), (55, 59), (56, 58), (64, 60), (63, 61), (65, 67)]
    return KeypointSchema(
        "ibug-68",
        tuple(names[i] for i in range(68)),
        tuple(edges),
        tuple(colour[part] for part in parts),
        tuple(pairs),
        openings=(
            ((36, 37, 38, 39), (39, 40, 41, 36)),
            ((42, 43, 44, 45), (45, 46, 47, 42)),
            ((60, 61, 62, 63, 64), (64, 65, 66, 67, 60)),
        ),
        carrier=(0, 16, 36, 45),
    )


def _openpose(name: str, joints: str, edges: tuple[Edge, ...]) -> KeypointSchema:
    names = tuple(joints.split())
    return KeypointSchema(name, names, edges, _hues(len(edges)), _swaps(names))


IBUG_68 = _ibug_68()

# Joint orders and limbs: OpenPose (Cao et al., TPAMI 2021), its documentation of output formats.
OPENPOSE_COCO_18 = _openpose(
    "openpose-18",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee right_ankle "
    "left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
    (
        (1, 2),
        (1, 5),
        (2, 3),
        (3, 4),
        (5, 6),
        (6, 7),
        (1, 8),
        (8, 9),
        (9, 10),
        (1, 11),
        (11, 12),
        (12, 13),
        (1, 0),
        (0, 14),
        (14, 16),
        (0, 15),
        (15, 17),
    ),
)

OPENPOSE_BODY_25 = _openpose(
    "openpose-body25",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee right_ankle "
    "left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe left_small_toe left_heel "
    "right_big_toe right_small_toe right_heel",
    (
        (1, 8),
        (1, 2),
        (1, 5),
        (2, 3),
        (3, 4),
        (5, 6),
        (6, 7),
        (8, 9),
        (9, 10),
        (10, 11),
        (8, 12),
        (12, 13),
        (13, 14),
        (1, 0),
        (0, 15),
        (15, 17),
        (0, 16),
        (16, 18),
        (14, 19),
        (19, 20),
        (14, 21),
        (11, 22),
        (22, 23),
        (11, 24),
    ),
)

OPENPOSE_BODY_25B = _openpose(
    "openpose-body25b",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle upper_neck head_top left_big_toe left_small_toe left_heel "
    "right_big_toe right_small_toe right_heel",
    (
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (17, 18),
        (17, 5),
        (17, 6),
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (5, 11),
        (6, 12),
        (11, 12),
        (11, 13),
        (13, 15),
        (12, 14),
        (14, 16),
        (15, 19),
        (19, 20),
        (15, 21),
        (16, 22),
        (22, 23),
        (16, 24),
    ),
)

_FIXED = {s.name: s for s in (A4C_BLOODPOOL_40, IBUG_68, OPENPOSE_BODY_25, OPENPOSE_BODY_25B, OPENPOSE_COCO_18)}


_MOST_LEARNED = 1000  # papers have 10 to 50; a hostile number would fill the memory with names


def learned(k: int) -> KeypointSchema:
    """k unsupervised key-points, `learned-k`: no limbs, so each is a dot of its own colour (an edge from a point to
    itself).

    Raises ConfigError when k is not positive, or beyond what any picture shows.
    """
    if not 1 <= k <= _MOST_LEARNED:
        raise ConfigError(f"A schema of learned key-points needs 1 to {_MOST_LEARNED} points, not {k}.")
    return KeypointSchema(
        f"learned-{k}", tuple(f"point_{i}" for i in range(k)), tuple((i, i) for i in range(k)), _hues(k)
    )


def schema(name: str) -> KeypointSchema:
    """The schema of that name, such as "ibug-68" or "learned-10". Raises ConfigError, naming the nearest, where there
    is none."""
    if name in _FIXED:
        return _FIXED[name]
    if count := re.fullmatch(r"learned-(\d{1,9})", name):
        return learned(int(count[1]))
    near = difflib.get_close_matches(name, [*_FIXED, "learned-<K>"], 1, 0.0)[0]
    raise ConfigError(
        f"There is no key-point schema {name!r}; the nearest is {near!r}. Known: {', '.join(_FIXED)}, learned-<K>."
    )
