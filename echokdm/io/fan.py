"""The geometry of a sector: two straight edges that meet at the apex, a far arc, a near face.

All coordinates are (x, y) in a picture of square pixels.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fan:
    """apex (x, y). left, right: angles of the edges from straight down, radians, positive to the right. near, far:
    distances of the near face and the far arc from the apex, on the fan's axis. bend: how much deeper (per pixel, times
    the squared distance from the axis) the near face lies beside the axis: -1 / (2 near) is an arc around the apex, 0
    is flat, positive bulges towards the probe. sink: how far along the axis the far arc's centre lies beyond the apex;
    0 where pixels are square and the scan lines start at the apex."""

    apex: tuple[float, float]
    left: float
    right: float
    near: float
    far: float
    bend: float
    sink: float = 0.0

    @property
    def axis(self) -> float:
        """The angle of the fan's middle line."""
        return (self.left + self.right) / 2

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points lie in the fan."""
        dx, dy = x - self.apex[0], y - self.apex[1]
        angle = np.arctan2(dx, dy)
        along, across = self.along_across(x, y)
        # The face ends at the edges; its curve is not followed beyond them.
        beyond_face = along >= self.near + self.bend * np.minimum(np.abs(across), self.face_half_width) ** 2
        before_arc = np.hypot(along - self.sink, across) <= self.far - self.sink
        return (angle >= self.left) & (angle <= self.right) & beyond_face & before_arc

    @property
    def face_half_width(self) -> float:
        """Distance from the axis where the near face meets the edges: w = tan(half angle) (near + bend w^2)."""
        slope = float(np.tan((self.right - self.left) / 2))
        return 2 * slope * self.near / (1 + float(np.sqrt(max(1 - 4 * slope**2 * self.bend * self.near, 0.0))))

    def along_across(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances from the apex along the axis, and from the axis (positive to the right)."""
        dx, dy = x - self.apex[0], y - self.apex[1]
        s, c = np.sin(self.axis), np.cos(self.axis)
        return dx * s + dy * c, dx * c - dy * s

    def point(self, along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `along_across`."""
        s, c = np.sin(self.axis), np.cos(self.axis)
        return self.apex[0] + along * s + across * c, self.apex[1] + along * c - across * s

    def arc_radius(self, angle: np.ndarray) -> np.ndarray:
        """Distance of the far arc from the apex in a direction."""
        turn = angle - self.axis
        return self.sink * np.cos(turn) + np.sqrt((self.far - self.sink) ** 2 - (self.sink * np.sin(turn)) ** 2)

    def outline(self, count: int = 64) -> np.ndarray:
        """(M, 2) points (x, y) around the fan: the far arc from left to right, then the near face back."""
        angles = np.linspace(self.left, self.right, count)
        radius = self.arc_radius(angles)
        far = np.stack([self.apex[0] + radius * np.sin(angles), self.apex[1] + radius * np.cos(angles)], 1)
        across = np.linspace(self.face_half_width, -self.face_half_width, count)
        near = np.stack(self.point(self.near + self.bend * across**2, across), 1)
        return np.concatenate([far, near])
