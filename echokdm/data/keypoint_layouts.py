"""Orders of key-points that files come in besides the schemas', and the way from one order to another, by names."""

from typing import NamedTuple

import numpy as np

from echokdm.core.errors import GeometryError
from echokdm.core.types import KeypointSchema


class Order(NamedTuple):
    """Key-points as a file has them: how that is called, and each one's name in the words of the schemas."""

    name: str
    names: tuple[str, ...]


def _order(name: str, joints: str) -> Order:
    return Order(name, tuple(joints.split()))


# COCO's key-points of people (Lin et al., ECCV 2014).
COCO_17 = _order(
    "COCO",
    """
    nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist
    left_hip right_hip left_knee right_knee left_ankle right_ankle""",
)
# MediaPipe's pose landmarks (BlazePose, Bazarevsky et al., 2020).
MEDIAPIPE_33 = _order(
    "MediaPipe",
    """
    nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear mouth_left mouth_right
    left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky right_pinky left_index right_index
    left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel
    left_big_toe right_big_toe""",
)
MEDIAPIPE_MESHES = (468, 478)  # points of its face mesh, without and with the irises
# The vertices of MediaPipe's face mesh nearest to 300-W's 68 points, in their order: jaw, brows, nose, eyes, outer and
# inner lips.
MEDIAPIPE_TO_IBUG = (
    162,
    234,
    93,
    58,
    172,
    136,
    149,
    148,
    152,
    377,
    378,
    365,
    397,
    288,
    323,
    454,
    389,
    70,
    63,
    105,
    66,
    107,
    336,
    296,
    334,
    293,
    300,
    168,
    197,
    5,
    4,
    98,
    97,
    2,
    326,
    327,
    33,
    160,
    158,
    133,
    153,
    144,
    362,
    385,
    387,
    263,
    373,
    380,
    61,
    39,
    37,
    0,
    267,
    269,
    291,
    405,
    314,
    17,
    84,
    181,
    78,
    82,
    13,
    312,
    308,
    317,
    14,
    87,
)
# What stands in for a joint that an order lacks, the first that it has: the mean of these.
_INSTEAD = {"neck": (("upper_neck",), ("left_shoulder", "right_shoulder")), "mid_hip": (("left_hip", "right_hip"),)}


def joints_of(points: np.ndarray, order: Order, schema: KeypointSchema) -> np.ndarray:
    """Points (T, N, 2) in an order of theirs -> in the schema's, (T, len(schema), 2), nan where not seen.

    A neck or the middle of the hips, where the order lacks it, is the mean of the joints beside it. Raises
    GeometryError where the order lacks another joint of the schema's.
    """
    if order.names == schema.names:
        return points
    columns = []
    for name in schema.names:
        parts = next((parts for parts in ((name,), *_INSTEAD.get(name, ())) if set(parts) <= set(order.names)), None)
        if parts is None:
            raise GeometryError(f"The files of key-points hold {order.name} joints, the bundle needs {schema.name}.")
        columns.append(points[:, [order.names.index(part) for part in parts]].mean(1))
    return np.stack(columns, 1)
