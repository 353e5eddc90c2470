"""A face moved by expression and pose: the skin of its 68 landmarks, teeth and eyes that lips and lids hide, neck and
backdrop.

Three nested frames, in units of about half a face's width, x right and y down, the origin between nose and eyes:

- canonical: the skin at rest with mouth and eyes shut. Landmarks, outline and textures live here.
- head: mouth and lids opened, each a slit whose two sides part vertically (`_part`, inverted in closed form). Teeth, tongue and
  eyeballs lie here, behind the skin, and are seen where a slit gapes.
- image: smile, brows and jaw (a sum of Gaussians, closed form from image to head), then turn and nod on a cylinder, tilt, scale, shift.

From image to canonical all is closed form; the way back inverts the sum of Gaussians by a contraction, to float32's
rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from echokdm.core.schemas import IBUG_68
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.face_paint import paint
from echokdm.phantom.face_shape import Shape, draw_shape, in_head, landmarks
from echokdm.phantom.posed import Motion, PosedPhantom, Surface

BACKGROUND, TORSO, SKIN, INNER = range(4)
_UNIT = 0.5  # scene units a face unit, at scale 1
_RADIUS_X, _RADIUS_Y = 1.4, 2.4  # of the cylinders on which the head turns and nods
_PIVOT = 0.7  # how much of a turn's shift the head's axis takes back, so that features move more than the outline


def _roll(x: Tensor, angle: Tensor, radius: float) -> Tensor:
    """Turn a point of a cylinder's front, seen at x, by an angle: R sin(asin(x / R) + angle), shifted back by the
    pivot."""
    return x * angle.cos() + (radius**2 - x**2).clamp_min(0).sqrt() * angle.sin() - _PIVOT * radius * angle.sin()


def _unroll(x: Tensor, angle: Tensor, radius: float) -> Tensor:
    """The inverse of `_roll`."""
    x = x + _PIVOT * radius * angle.sin()
    return x * angle.cos() - (radius**2 - x**2).clamp_min(0).sqrt() * angle.sin()


def _part(distance: Tensor, gap: Tensor, reach: Tensor) -> Tensor:
    """Skin at `distance` >= 0 from a slit's line moves off by gap (1 - distance / reach)^2; nothing moves beyond the
    reach."""
    return distance + gap * (1 - distance / reach).clamp_min(0).square()


def _shut(distance: Tensor, gap: Tensor, reach: Tensor) -> Tensor:
    """The inverse of `_part`, by the stable root of its quadratic; negative within the gap."""
    rest = (reach - distance).clamp_min(0)
    left = 2 * rest / (reach + (reach**2 - 4 * gap * rest).clamp_min(0).sqrt())
    return torch.where(distance < reach, reach * (1 - left), distance)


class FacePhantom(PosedPhantom):
    """Faces drawn from their seeds; key-points `ibug-68`.

    Pose: mouth, brow, blink in [0, 1], smile in [-1, 1], turn, nod, tilt in radians, x and y in scene units (half a
    picture), scale as a natural logarithm.
    """

    schema = IBUG_68
    pose_names = ("mouth", "smile", "brow", "blink", "turn", "nod", "tilt", "x", "y", "scale")

    def __init__(self, seeds: Sequence[int], size: int = 64, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds, size, device)
        self._shape: Shape = draw_shape(PatientDraws(seeds, 11, device))
        self._motion = Motion(PatientDraws(seeds, 12, device), len(self.pose_names))
        self._atlas = paint(self._shape, PatientDraws(seeds, 13, device), device)
        points = landmarks(self._shape)
        self._marks = Surface(torch.full(points.shape[::2], SKIN, device=device), points)

    def poses(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, 10) in the order of `pose_names`."""
        wave = self._motion(phases).unbind(-1)
        blink = torch.exp(14 * (wave[3] - 1))  # lids close seldom and fast
        return torch.stack(
            [
                0.5 + 0.5 * wave[0],
                0.9 * wave[1],
                0.5 + 0.5 * wave[2],
                blink,
                0.4 * wave[4],
                0.15 * wave[5],
                0.15 * wave[6],
                0.1 * wave[7],
                0.06 * wave[8],
                0.08 * wave[9],
            ],
            -1,
        )

    def _gaussians(self, pose: Tensor, points: Tensor) -> Tensor:
        """Shift (B, 2, M) of the skin at image points of the upright head, from smile, brows, jaw and the nose's
        parallax."""
        s = self._shape
        mouth, smile, brow, _, turn = (p[:, None] for p in pose.unbind(1)[:5])
        x, y = points[:, 0], points[:, 1]
        side = torch.tanh(4 * x)  # the left and right half of a mirrored pair, joined smoothly
        corner = smile * torch.exp(-((x.abs() - s.mouth_width) / 0.3).square() - ((y - s.mouth_y) / 0.3).square())
        lift = brow * torch.exp(-((x.abs() - s.eye_x) / 0.4).square() - ((y - s.brow_y) / 0.22).square())
        drop = mouth * (1 + torch.tanh((y - s.mouth_y - 0.1) / 0.35)) * torch.exp(-(x / 0.9).square().square())
        nose = turn.sin() * torch.exp(-(x / 0.3).square() - ((y - s.nose_y + 0.1) / 0.35).square())
        return torch.stack([0.11 * corner * side + 0.2 * nose, -0.1 * corner - 0.13 * lift + 0.12 * drop], 1)

    def _place(self, pose: Tensor, points: Tensor) -> Tensor:
        """Upright head's image -> scene: turn, nod, tilt, scale, shift."""
        turn, nod, tilt, dx, dy, scale = (p[:, None] for p in pose.unbind(1)[4:])
        x, y = _roll(points[:, 0], turn, _RADIUS_X), _roll(points[:, 1], nod, _RADIUS_Y)
        unit = _UNIT * scale.exp()
        return torch.stack(
            [unit * (tilt.cos() * x - tilt.sin() * y) + dx, unit * (tilt.sin() * x + tilt.cos() * y) + dy], 1
        )

    def _unplace(self, pose: Tensor, points: Tensor) -> Tensor:
        """The inverse of `_place`."""
        turn, nod, tilt, dx, dy, scale = (p[:, None] for p in pose.unbind(1)[4:])
        unit = _UNIT * scale.exp()
        x, y = (points[:, 0] - dx) / unit, (points[:, 1] - dy) / unit
        x, y = tilt.cos() * x + tilt.sin() * y, tilt.cos() * y - tilt.sin() * x
        return torch.stack([_unroll(x, turn, _RADIUS_X), _unroll(y, nod, _RADIUS_Y)], 1)

    def _slits(self, pose: Tensor, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """For the eyes and the mouth at x (B, M): the slit's y, the gaps above and below, the reaches above and
        below."""
        s = self._shape
        mouth, _, _, blink = (p[:, None] for p in pose.unbind(1)[:4])
        eye = (1 - ((x.abs() - s.eye_x) / s.eye_width).square()).clamp_min(0) * (1 - 0.96 * blink)
        lips = (1 - (x / s.mouth_width).square()).clamp_min(0) * (0.04 + 0.96 * mouth)
        return [
            (s.eye_y, s.eye_height * eye, 0.5 * s.eye_height * eye, s.reach_lid, s.reach_lid),
            (s.mouth_y, 0.05 * lips, 0.24 * lips, s.reach_lip, s.reach_chin),
        ]

    def _open(self, pose: Tensor, points: Tensor) -> Tensor:
        """Canonical skin -> head frame, (B, 2, M) each."""
        x, y = points[:, 0], points[:, 1]
        shift = torch.zeros_like(y)
        for line, above, below, up, down in self._slits(pose, x):
            distance = (y - line).abs()
            shift = shift + torch.where(
                y < line, distance - _part(distance, above, up), _part(distance, below, down) - distance
            )
        return torch.stack([x, y + shift], 1)

    def _close(self, pose: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Head frame (B, 2, M) -> canonical skin (B, 2, M), and (B, M) bool: in a gap, where there is no skin.

        Eyes and mouth reach apart, so that one slit's shift never falls within another's.
        """
        x, y = points[:, 0], points[:, 1]
        rest, gaping = y, torch.zeros_like(y, dtype=torch.bool)
        for line, above, below, up, down in self._slits(pose, x):
            distance = (y - line).abs()
            shut = torch.where(y < line, -_shut(distance, above, up), _shut(distance, below, down))
            gaping = gaping | (distance < torch.where(y < line, above, below))
            rest = torch.where(distance < torch.where(y < line, up, down), line + shut, rest)
        return torch.stack([x, rest], 1), gaping

    def _torso(self, pose: Tensor, points: Tensor) -> Tensor:
        """Scene -> torso frame: it follows shift and scale alone."""
        return (points - pose[:, 7:9, None]) / (_UNIT * pose[:, 9, None, None].exp())

    def _surface(self, pose: Tensor, points: Tensor) -> Surface:
        upright = self._unplace(pose, points)
        head = upright - self._gaussians(pose, upright)
        skin, gaping = self._close(pose, head)
        torso = self._torso(pose, points)
        # half its width, widening to the shoulders
        neck = 0.5 + 2.2 * torch.sigmoid((torso[:, 1] - self._shape.shoulder_y) / 0.12)
        in_torso = (torso[:, 0].abs() < neck) & (torso[:, 1] > 0.3)
        layer = torch.where(
            in_head(self._shape, skin), torch.where(gaping, INNER, SKIN), torch.where(in_torso, TORSO, BACKGROUND)
        )
        material = points
        for index, frame in ((TORSO, torso), (SKIN, skin), (INNER, head)):
            material = torch.where((layer == index)[:, None], frame, material)
        return Surface(layer, material)

    def _project(self, pose: Tensor, surface: Surface) -> Tensor:
        layer, material = surface.layer[:, None], surface.material
        head = torch.where(layer == SKIN, self._open(pose, material), material)
        upright = head
        for _ in range(16):  # the shift changes by some half of the point's own change, so the error falls below 1e-4
            upright = head + self._gaussians(pose, upright)
        placed = self._place(pose, upright)
        torso = material * (_UNIT * pose[:, 9, None, None].exp()) + pose[:, 7:9, None]
        return torch.where(layer >= SKIN, placed, torch.where(layer == TORSO, torso, material))
