"""Walls, contrast and haze of frames whose truth is known, tilted or not."""

import math

import numpy as np
import pytest

from echokdm.core.labels import Label
from echokdm.phantom.wall_statistics import RATIOS, frame_walls, heart_walls

LENGTH, RADIUS, SEPTUM, LATERAL, APEX = 80.0, 22.0, 12.0, 9.0, 10.0  # mm


def heart(mm: float, tilt: float = 0.0, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Picture and label (size, size) of half an ellipse, walls of 160 (septum), 80 (lateral) and 120 (apex) on 40,
    black elsewhere."""
    y, x = (np.indices((size, size)) - size / 2) * mm
    cos, sin = math.cos(tilt), math.sin(tilt)
    across, along = x * cos - y * sin, x * sin + y * cos + LENGTH / 2  # the apex at along = 0

    def inside(left: float, right: float, tip: float) -> np.ndarray:
        half = np.where(across < 0, RADIUS + left, RADIUS + right)
        return ((across / half) ** 2 + ((along - LENGTH) / (LENGTH + tip)) ** 2 < 1) & (along < LENGTH)

    label = np.where(inside(0, 0, 0), Label.LV, np.where(inside(SEPTUM, LATERAL, APEX), Label.MYOCARDIUM, 0))
    gray = np.where(along < 0.15 * LENGTH, 120, np.where(across < 0, 160, 80))
    return np.where(label == Label.LV, 40, gray * (label > 0)) / 255, label


@pytest.mark.parametrize(("mm", "tilt"), [(0.5, 0.0), (0.8, 0.0), (0.5, 0.25), (0.5, -0.2)])
def test_sizes_and_grays_come_out_as_drawn(mm: float, tilt: float) -> None:
    picture, label = heart(mm, tilt)
    row = frame_walls(picture, label, np.ones_like(label), mm)
    assert row["cavity gray"] == pytest.approx(40)
    assert row["septum over cavity"] == pytest.approx(4, rel=0.05)
    assert row["lateral over cavity"] == pytest.approx(2, rel=0.05)
    assert row["apex over cavity"] == pytest.approx(3, rel=0.05)
    amid = math.sqrt(0.75)  # of an ellipse's width, half way along its half axis
    assert row["length mm"] == pytest.approx(LENGTH, abs=2)
    assert row["width amid mm"] == pytest.approx(2 * RADIUS * amid, abs=1.5)
    assert row["apical wall mm"] == pytest.approx(APEX, abs=1.5)
    assert row["septum amid mm"] > row["lateral wall amid mm"] + 1.5
    assert row["septum amid mm"] == pytest.approx(SEPTUM * amid + 1.5, abs=2)


def test_only_gray_inside_the_sector_counts_but_labels_count_everywhere() -> None:
    picture, label = heart(0.5)
    sector = np.ones_like(label)
    sector[:, 160:] = 0  # the lateral wall lies outside
    row, whole = frame_walls(picture, label, sector, 0.5), frame_walls(picture, label, np.ones_like(label), 0.5)
    assert math.isnan(row["lateral over cavity"]) and row["septum over cavity"] == whole["septum over cavity"]
    assert all(row[name] == value for name, value in whole.items() if "mm" in name)


def test_a_heart_that_shrinks_is_told_by_its_length_and_area() -> None:
    (picture, label) = heart(0.5)
    every = np.ones_like(label)
    row = heart_walls(frame_walls(picture, label, every, 0.5), frame_walls(picture, label, every, 0.4))
    assert row["ES over ED length"] == pytest.approx(0.8) and row["ES over ED area"] == pytest.approx(0.64)
    assert all(row[f"{name}, ED"] == row[f"{name}, ES"] for name in RATIOS)
