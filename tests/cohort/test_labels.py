"""Written tracings are what a reader draws from them: laid anew on their own outline, chords stay where they are."""

import numpy as np
import torch

from echokdm.cohort.folder import labels_of
from echokdm.cohort.validate import tracing_faults
from echokdm.ops.ventricle import (
    axis_from_keypoints,
    keypoints_from_mask,
    keypoints_from_tracing,
    outline_of_tracing,
    simpson_volume,
)
from echokdm.phantom.a4c import A4CPhantom


def bent_and_turned(keypoints: np.ndarray, degrees: float, bend: float) -> np.ndarray:
    """Key-points (T, 40, 2) turned about their middle after a bend, bend / px sideways by the square of the height."""
    middle = keypoints[0].mean(0)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    moved = keypoints - middle
    moved[..., 0] += bend * moved[..., 1] ** 2
    return moved @ np.array([[c, s], [-s, c]]) + middle


def check(keypoints: np.ndarray, ed: int, es: int) -> tuple[float, float]:
    """Worst px between what is written and what is read; points of EF between the label and the drawn key-points."""
    labels = labels_of(keypoints, ed, es, None)
    written = np.stack([outline_of_tracing(rows) for rows in (labels.ed_rows, labels.es_rows)])
    read = np.stack([keypoints_from_tracing(rows) for rows in (labels.ed_rows, labels.es_rows)])
    assert [labels.edv, labels.esv] == list(simpson_volume(written))
    assert not [fault for rows in (labels.ed_rows, labels.es_rows) for fault in tracing_faults(rows, 1e3, 1e3)]
    drawn = simpson_volume(keypoints[[ed, es]])
    return float(np.linalg.norm(read - written, axis=-1).max()), abs(100 * (1 - drawn[1] / drawn[0]) - labels.ef)


def test_tracings_of_bent_and_turned_ventricles_read_back() -> None:
    phantoms = A4CPhantom(range(900, 925))
    both = torch.stack([torch.zeros(25), torch.as_tensor(phantoms.end_systole)], 1)
    rng = np.random.default_rng(0)
    found = [
        check(bent_and_turned(points, rng.uniform(-40, 40), rng.uniform(-0.006, 0.006)), 0, 1)
        for points in phantoms.keypoints(both).double().numpy()
    ]
    assert max(px for px, _ in found) < 0.01
    assert max(ef for _, ef in found) < 0.5  # the outline is the drawn one


def test_tracings_of_ventricles_smoothed_in_time_read_back() -> None:
    """As `segment_keypoints` finds them: from masks, each frame's axis its own, then a mean over frames."""
    phantom = A4CPhantom([905, 911])
    phases = torch.linspace(0, 1, 12)[None].expand(2, -1)
    for masks in phantom.masks(phases).numpy().reshape(2, 12, 112, 112):
        points, axis = [], None
        for mask in masks:
            points.append(keypoints_from_mask(mask, previous_axis=axis))
            axis = np.stack(axis_from_keypoints(points[-1]))
        mean = np.stack([np.mean(points[t : t + 5], axis=0) for t in range(8)])
        px, ef = check(mean, 0, int(simpson_volume(mean).argmin()))
        assert px < 0.01 and ef < 0.3
