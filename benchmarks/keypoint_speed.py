"""Key-points from masks: frames a second on one core (bar: 1,000 at 112 px), and how far they lie from the truth.

Run: python benchmarks/keypoint_speed.py
"""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from echokdm.ops.ventricle import (
    keypoints_from_mask,
    keypoints_from_polygon,
    keypoints_to_mask,
    polygon_to_mask,
    simpson_volume,
)

FRAMES, SIZE = 400, 112


def bullet(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truncated ellipse in a random place: its outline (M, 2), apex and base."""
    a, ratio, cut, tilt = rng.uniform(30, 42), rng.uniform(0.42, 0.65), rng.uniform(0.1, 0.7), rng.uniform(-0.6, 0.6)
    u = np.array([np.sin(tilt), np.cos(tilt)])
    centre = rng.uniform(-4, 4, 2) + [56, 50]
    angle = np.linspace(np.arccos(cut), 2 * np.pi - np.arccos(cut), 600)
    along, across = a * np.cos(angle), ratio * a * np.sin(angle)
    return centre + along[:, None] * u + across[:, None] * np.array([-u[1], u[0]]), centre - a * u, centre + cut * a * u


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = [bullet(rng) for _ in range(FRAMES)]
    masks = [polygon_to_mask(outline, SIZE, SIZE) for outline, _, _ in shapes]
    keypoints_from_mask(masks[0])
    start = time.process_time()  # of this process alone: other work on the machine does not count
    found = [keypoints_from_mask(mask) for mask in masks]
    rate = FRAMES / (time.process_time() - start)
    truth = np.stack([keypoints_from_polygon(*shape) for shape in shapes])
    again = np.stack([keypoints_from_mask(keypoints_to_mask(points, SIZE, SIZE)) for points in found])
    error = np.hypot(*np.moveaxis(np.stack(found) - truth, -1, 0))
    back = np.hypot(*np.moveaxis(again - np.stack(found), -1, 0))
    volume = 100 * (simpson_volume(np.stack(found)) / simpson_volume(truth) - 1)
    print(f"key-points from {SIZE}-px masks: {rate:.0f} frames a second of one core's time")
    print(
        f"against the analytic outline: mean {error.mean():.2f} px, 99 % of points within {np.quantile(error, 0.99):.2f} px"
    )
    print(
        f"key-points -> mask -> key-points: mean {back.mean():.2f} px, 99 % of points within {np.quantile(back, 0.99):.2f} px"
    )
    print(f"volume: mean error {volume.mean():+.2f} %, standard deviation {volume.std():.2f} %")


if __name__ == "__main__":
    main()
