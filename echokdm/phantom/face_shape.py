"""The anatomy of the face phantom at rest: measures drawn from the seed, the head's outline, the 68 landmarks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from echokdm.phantom.draws import PatientDraws

_INSET = 0.985  # landmarks of the jaw lie this far out, so that they are on the skin and not beside it
_LID = 0.004  # landmarks on a slit lie this far from its line, on their own side


@dataclass(frozen=True)
class Shape:
    """Measures in face units, (B, 1) each; y grows downwards. Half-widths and half-heights throughout."""

    width: Tensor
    chin: Tensor  # from the centre down
    skull: Tensor  # from the centre up
    square: Tensor  # exponent of the outline: 2 an ellipse, more a squarer jaw
    hair: Tensor  # thickness
    hair_end: Tensor  # y down to which the hair hangs at the sides
    hairline: Tensor  # y at the middle of the forehead
    eye_x: Tensor
    eye_y: Tensor
    eye_width: Tensor
    eye_height: Tensor
    brow_y: Tensor
    brow_arch: Tensor
    nose_y: Tensor
    nose_width: Tensor
    mouth_y: Tensor
    mouth_width: Tensor
    lip_upper: Tensor
    lip_lower: Tensor
    reach_lid: Tensor
    reach_lip: Tensor
    reach_chin: Tensor
    shoulder_y: Tensor


def draw_shape(draws: PatientDraws) -> Shape:
    """B faces' measures."""

    def near(value: float, spread: float) -> Tensor:
        return draws.uniform(value - spread, value + spread, 1)

    eye_height, mouth_y = near(0.095, 0.02), near(0.72, 0.05)
    chin = near(1.38, 0.08)
    return Shape(
        width=near(0.95, 0.06),
        chin=chin,
        skull=near(1.2, 0.08),
        square=near(2.3, 0.25),
        hair=near(0.14, 0.06),
        hair_end=near(0.4, 0.8),
        hairline=near(-0.85, 0.12),
        eye_x=near(0.42, 0.03),
        eye_y=near(-0.12, 0.04),
        eye_width=near(0.2, 0.02),
        eye_height=eye_height,
        brow_y=near(-0.44, 0.04),
        brow_arch=near(0.08, 0.04),
        nose_y=near(0.36, 0.04),
        nose_width=near(0.18, 0.03),
        mouth_y=mouth_y,
        mouth_width=near(0.38, 0.05),
        lip_upper=near(0.085, 0.025),
        lip_lower=near(0.11, 0.03),
        reach_lid=2.2 * eye_height,
        reach_lip=near(0.22, 0.0),
        reach_chin=chin - mouth_y - 0.12,
        shoulder_y=near(1.55, 0.1),
    )


def outline_level(shape: Shape, x: Tensor, y: Tensor, grow: Tensor | float = 0.0) -> Tensor:
    """Below 1 within the bare head, superellipses above and below the centre; x, y (B, M)."""
    height = torch.where(y > 0, shape.chin, shape.skull + grow)
    return (x.abs() / (shape.width + grow)) ** shape.square + (y.abs() / height) ** shape.square


def in_head(shape: Shape, points: Tensor) -> Tensor:
    """Canonical points (B, 2, M) -> (B, M) bool: face, ears or hair."""
    x, y = points[:, 0], points[:, 1]
    ear = ((x.abs() - shape.width) / 0.12).square() + ((y - 0.1) / 0.26).square() < 1
    hair = (outline_level(shape, x, y, shape.hair) < 1) & (y < shape.hair_end)
    return (outline_level(shape, x, y) < 1) | ear | hair


def brow_line(shape: Shape, x: Tensor) -> Tensor:
    """The y of the brows' middle line at x."""
    return shape.brow_y - shape.brow_arch * (1 - ((x.abs() - shape.eye_x - 0.03) / 0.3).square())


def lip_edge(shape: Shape, x: Tensor, upper: bool) -> Tensor:
    """The distance of the outer edge of a lip from the mouth's line at x; the upper has its bow, and both end in the
    corners."""
    part = (1 - (x / (1.08 * shape.mouth_width)).square()).clamp_min(0)
    if upper:
        return shape.lip_upper * part * (1 - 0.3 * torch.exp(-(x / 0.07).square()))
    return shape.lip_lower * part.sqrt() * part.sqrt()


def landmarks(shape: Shape) -> Tensor:
    """(B, 2, 68) canonical points in the order of `IBUG_68`; the picture's left, the subject's right, comes first."""
    s = shape

    def row(*values: float) -> Tensor:
        return s.width.new_tensor([values])

    angle = torch.linspace(0, torch.pi, 17, device=s.width.device)[None]
    cos, sin = angle.cos(), angle.sin().clamp_min(0)
    jaw = (-_INSET * s.width * cos.sign() * cos.abs() ** (2 / s.square), _INSET * s.chin * sin ** (2 / s.square))
    brow_x = s.eye_x + 0.03 + row(-1, -0.5, 0, 0.5, 1) * 0.27
    right_brow, left_brow = -brow_x.flip(1), brow_x
    bridge = (0 * s.nose_y + row(0, 0, 0, 0), s.eye_y + row(0, 1 / 3, 2 / 3, 1) * (s.nose_y - 0.08 - s.eye_y))
    base = (s.nose_width * row(-1, -0.5, 0, 0.5, 1), s.nose_y + row(0.04, 0.07, 0.09, 0.07, 0.04))
    eye = s.eye_width * row(-0.98, -0.4, 0.4, 0.98, 0.4, -0.4)
    lids = s.eye_y + row(-1, -1, -1, -1, 1, 1) * _LID
    upper = s.mouth_width * row(-1.06, -0.65, -0.2, 0, 0.2, 0.65, 1.06)
    lower = s.mouth_width * row(0.65, 0.25, 0, -0.25, -0.65)
    inner = s.mouth_width * row(-0.9, -0.4, 0, 0.4, 0.9, 0.4, 0, -0.4)
    gap = s.mouth_y + row(-1, -1, -1, -1, -1, 1, 1, 1) * _LID
    parts = [
        jaw,
        (right_brow, brow_line(s, right_brow)),
        (left_brow, brow_line(s, left_brow)),
        bridge,
        base,
        (eye - s.eye_x, lids),
        (eye + s.eye_x, lids),
        (upper, s.mouth_y - lip_edge(s, upper, True)),
        (lower, s.mouth_y + lip_edge(s, lower, False)),
        (inner, gap),
    ]
    return torch.stack([torch.cat([part[i] for part in parts], 1) for i in range(2)], 1)
