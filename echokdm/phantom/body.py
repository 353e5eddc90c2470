"""A clothed body of rigid parts in depth order, posed by joint angles: limbs hide torso, backdrop and one another.

Each part is a tapered capsule (the head an ellipse) with a frame of its own in scene units: the origin at the joint it
hangs from, y along the part, x across it. A part moves by a rotation and a shift, so flow and visibility are exact.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from echokdm.core.schemas import OPENPOSE_COCO_18
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.posed import Motion, PosedPhantom, Surface
from echokdm.phantom.texture import Atlas, backdrop, cloth, fractal, skin_tone, tile_grid

# Layers from the back to the front; "left" is the subject's own, on the picture's right.
PARTS = (
    "backdrop",
    "left_upper_arm",
    "left_forearm",
    "left_thigh",
    "left_shin",
    "right_thigh",
    "right_shin",
    "neck",
    "torso",
    "head",
    "right_upper_arm",
    "right_forearm",
)
_LAYER = {name: i for i, name in enumerate(PARTS)}
_TILE = 80
_EXTENT = {
    "backdrop": ((-1.0, -1.0), (1.0, 1.0)),
    "torso": ((-0.3, -0.2), (0.3, 0.65)),
    "head": ((-0.2, -0.45), (0.2, 0.1)),
}
_LIMB_EXTENT = ((-0.15, -0.15), (0.15, 0.6))
# scene units
_LENGTHS = {"torso": 0.48, "neck": 0.12, "head": 0.3, "upper_arm": 0.29, "forearm": 0.27, "thigh": 0.4, "shin": 0.4}
# Parts of the length between which a capsule's axis runs: where its round ends would reach too far, and where a hand or
# foot goes on.
_AXIS = {"torso": (0.22, 0.82), "forearm": (0.0, 1.25), "shin": (0.0, 1.08)}


class BodyPhantom(PosedPhantom):
    """Bodies drawn from their seeds; key-points `openpose-18`.

    Pose: shift x and y in scene units (half a picture), scale as a natural logarithm, then angles in radians: the
    body's lean, the head's tilt, and for either arm and leg two joints, each against the part it hangs from; 0 hangs
    straight down, and positive angles swing towards the picture's left.
    """

    schema = OPENPOSE_COCO_18
    pose_names = (
        "x",
        "y",
        "scale",
        "lean",
        "head",
        "left_shoulder",
        "left_elbow",
        "left_hip",
        "left_knee",
        "right_shoulder",
        "right_elbow",
        "right_hip",
        "right_knee",
    )

    def __init__(self, seeds: Sequence[int], size: int = 64, device: torch.device | str = "cpu") -> None:
        super().__init__(seeds, size, device)
        draws = PatientDraws(seeds, 21, device)
        build, plump = draws.uniform(0.93, 1.07), draws.uniform(0.85, 1.2)
        self._motion = Motion(PatientDraws(seeds, 22, device), len(self.pose_names))
        self._lengths = {name: length * build * draws.uniform(0.95, 1.05) for name, length in _LENGTHS.items()}
        self._shoulder, self._hip = 0.15 * build * draws.uniform(0.95, 1.15), 0.085 * build * draws.uniform(0.95, 1.15)
        # Radii at a part's two ends, of a head across and along.
        self._radii = {
            name: (a * plump, b * plump)
            for name, (a, b) in {
                "upper_arm": (0.062, 0.05),
                "forearm": (0.05, 0.038),
                "thigh": (0.085, 0.062),
                "shin": (0.062, 0.045),
                "neck": (0.05, 0.05),
            }.items()
        }
        self._radii["torso"] = (self._shoulder + 0.01, self._hip + 0.055 * plump)
        self._radii["head"] = (0.38 * self._lengths["head"], 0.5 * self._lengths["head"])
        self._atlas = self._paint(PatientDraws(seeds, 23, device))
        self._marks, self._owners = self._joints()

    def poses(self, phases: Tensor) -> Tensor:
        """phases (B, T) -> (B, T, 13) in the order of `pose_names`."""
        wave = self._motion(phases)
        middle = wave.new_tensor([0, 0, 0, 0, 0, -1.0, -0.7, -0.18, 0.12, 1.0, 0.7, 0.18, -0.12])
        reach = wave.new_tensor([0.12, 0.05, 0.07, 0.14, 0.25, 1.2, 0.9, 0.4, 0.35, 1.2, 0.9, 0.4, 0.35])
        return middle + reach * wave

    def _frames(self, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each layer's frame in the scene: origin (B, 2, L), turn (B, L) in radians, scale (B, L)."""
        _, _, scale, lean, *angles = pose.unbind(1)
        head, left, right = angles[0], angles[1:5], angles[5:9]
        length, zero = self._lengths, torch.zeros_like(scale)

        def walk(origin: tuple[Tensor, Tensor], turn: Tensor, across: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
            """The place (across, along) in a frame's own axes, seen from its parent."""
            return origin[0] + turn.cos() * across - turn.sin() * along, origin[
                1
            ] + turn.sin() * across + turn.cos() * along

        # the pelvis stays, and the shoulders lean about it
        neck = walk((zero, zero + 0.02), lean, zero, -length["torso"])
        frames = {"backdrop": ((zero, zero), zero), "torso": (neck, lean), "neck": (neck, lean + torch.pi + head / 2)}
        top = walk(neck, lean + torch.pi + head / 2, zero, length["neck"])
        frames["head"] = (top, lean + head)
        for side, sign, (shoulder, elbow, hip, knee) in (("left", 1, left), ("right", -1, right)):
            arm, leg = lean + shoulder, hip
            start = walk(neck, lean, sign * self._shoulder, zero + 0.03)
            frames[f"{side}_upper_arm"] = (start, arm)
            frames[f"{side}_forearm"] = (walk(start, arm, zero, length["upper_arm"]), arm + elbow)
            start = walk(neck, lean, sign * self._hip, length["torso"])
            frames[f"{side}_thigh"] = (start, leg)
            frames[f"{side}_shin"] = (walk(start, leg, zero, length["thigh"]), leg + knee)
        moves = pose.new_tensor([name != "backdrop" for name in PARTS])
        unit = (scale[:, None] * moves).exp()
        starts = torch.stack([torch.stack([frames[name][0][i] for name in PARTS], 1) for i in range(2)], 1)
        origin = starts * unit[:, None] + pose[:, :2, None] * moves
        turn = torch.stack([frames[name][1] for name in PARTS], 1)
        return origin, turn, unit

    def _covers(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """Points x, y (B, M) in a part's frame -> (B, M) bool."""
        kind = name.removeprefix("left_").removeprefix("right_")
        first, last = (radius[:, None] for radius in self._radii[kind])
        length = self._lengths[kind][:, None]
        if kind == "head":
            return (x / first).square() + ((y + 0.5 * length) / last).square() < 1
        along = (y / length).clamp(*_AXIS.get(kind, (0, 1)))
        return x.square() + (y - along * length).square() < (first + (last - first) * along).square()

    def _surface(self, pose: Tensor, points: Tensor) -> Surface:
        origin, turn, unit = self._frames(pose)
        cos, sin = turn.cos() / unit, turn.sin() / unit
        layer, u, v = torch.zeros_like(points[:, 0], dtype=torch.long), points[:, 0], points[:, 1]
        for i, name in enumerate(PARTS[1:], 1):
            dx, dy = points[:, 0] - origin[:, 0, i, None], points[:, 1] - origin[:, 1, i, None]
            x, y = cos[:, i, None] * dx + sin[:, i, None] * dy, cos[:, i, None] * dy - sin[:, i, None] * dx
            covers = self._covers(name, x, y)
            layer, u, v = torch.where(covers, i, layer), torch.where(covers, x, u), torch.where(covers, y, v)
        return Surface(layer, torch.stack([u, v], 1))

    def _project(self, pose: Tensor, surface: Surface) -> Tensor:
        origin, turn, unit = self._frames(pose)
        cos, sin = ((f * unit).gather(1, surface.layer) for f in (turn.cos(), turn.sin()))
        x, y = surface.material.unbind(1)
        return torch.stack(
            [
                cos * x - sin * y + origin[:, 0].gather(1, surface.layer),
                sin * x + cos * y + origin[:, 1].gather(1, surface.layer),
            ],
            1,
        )

    def _joints(self) -> tuple[Surface, Tensor]:
        """The 18 joints as material points, and (18, L) bool: the parts that show a joint when they are seen at its
        place."""
        zero, head, torso = torch.zeros_like(self._shoulder), self._lengths["head"], self._lengths["torso"]
        places = {"nose": ("head", zero, -0.42 * head), "neck": ("torso", zero, zero)}
        owners = {"nose": ("head",), "neck": ("torso", "neck")}
        for side, sign in (("left", 1), ("right", -1)):
            places |= {
                f"{side}_eye": ("head", sign * 0.13 * head, -0.54 * head),
                f"{side}_ear": ("head", sign * 0.35 * head, -0.48 * head),
                f"{side}_shoulder": (f"{side}_upper_arm", zero, zero),
                f"{side}_elbow": (f"{side}_forearm", zero, zero),
                f"{side}_wrist": (f"{side}_forearm", zero, self._lengths["forearm"]),
                f"{side}_hip": (f"{side}_thigh", zero, zero),
                f"{side}_knee": (f"{side}_shin", zero, zero),
                f"{side}_ankle": (f"{side}_shin", zero, self._lengths["shin"]),
            }
            owners |= {
                f"{side}_eye": ("head",),
                f"{side}_ear": ("head",),
                f"{side}_shoulder": (f"{side}_upper_arm", "torso"),
                f"{side}_elbow": (f"{side}_upper_arm", f"{side}_forearm"),
                f"{side}_wrist": (f"{side}_forearm",),
                f"{side}_hip": (f"{side}_thigh", "torso"),
                f"{side}_knee": (f"{side}_thigh", f"{side}_shin"),
                f"{side}_ankle": (f"{side}_shin",),
            }
        names = self.schema.names
        layer = torch.tensor([_LAYER[places[name][0]] for name in names], device=torso.device).expand(len(torso), -1)
        x, y = (torch.stack(of_all, 1) for of_all in zip(*(places[name][1:] for name in names), strict=True))
        points = torch.stack([x, y], 1)
        owned = torch.tensor([[part in owners[name] for part in PARTS] for name in names], device=torso.device)
        return Surface(layer, points), owned

    def keypoints_visible(self, moments: Tensor) -> Tensor:
        """(B, T, 18) bool: within the picture, and what is seen at the joint's place is a part that meets there."""
        out = []
        for pose in self._sequence(moments).unbind(1):
            points = self._project(pose, self._marks)
            seen = self._surface(pose, points).layer
            out.append(self._owners.expand(len(seen), -1, -1).gather(2, seen[..., None])[..., 0] & self._inside(points))
        return torch.stack(out, 1)

    def _paint(self, draws: PatientDraws) -> Atlas:
        """One tile a part: shirt, trousers and skin, each rounded by shade towards its sides; a face on the head."""
        tone, length = skin_tone(draws), self._lengths
        shirt, trousers, room = cloth(draws, _TILE), cloth(draws, _TILE), backdrop(draws, _TILE)
        hair, sleeve = draws.uniform(0.03, 0.6, 1, 1, 1) * draws.uniform(0.7, 1, 3, 1, 1), draws.uniform(0, 1, 1, 1, 1)
        shoe, light = draws.uniform(0.05, 0.5, 3, 1, 1), draws.uniform(-0.6, 0.6, 1, 1, 1)
        tiles = []
        for name in PARTS:
            kind = name.removeprefix("left_").removeprefix("right_")
            if kind == "backdrop":
                tiles.append(room)
                continue
            x, y = tile_grid(_TILE, _EXTENT.get(kind, _LIMB_EXTENT), self.device)
            first, last = (radius[:, None, None, None] for radius in self._radii[kind])
            along = y / length[kind][:, None, None, None]
            skin = tone * (1 + 0.06 * fractal(draws, 1, _TILE, 6))
            if kind == "torso":
                image = shirt
            elif kind == "thigh":
                image = trousers
            elif kind == "shin":
                image = torch.where(along > 0.92, shoe * (1 + 0.1 * fractal(draws, 1, _TILE)), trousers)
            elif kind == "upper_arm":
                image = torch.where(along < 0.6 + 0.8 * sleeve, shirt, skin)
            elif kind == "forearm":
                image = torch.where(along < 1.9 * (sleeve - 0.5), shirt, skin)
            elif kind == "head":
                image = _face(
                    skin, hair * (1 + 0.2 * fractal(draws, 1, _TILE, 12)), x / length[kind][:, None, None, None], along
                )
            else:
                image = skin * 0.8
            width = first if kind == "head" else first + (last - first) * along.clamp(0, 1)
            across = (x / width).clamp(-1, 1)
            round_off = 0.6 + 0.45 * ((1 - across.square()).clamp_min(0.04).sqrt() + light * across).clamp(0, 1)
            tiles.append((image * round_off).clamp(0, 1))
        return Atlas(tiles, [_EXTENT.get(name, _LIMB_EXTENT) for name in PARTS])


def _face(skin: Tensor, hair: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A small face in units of the head's height: y from 0 at the chin to -1 at the crown."""
    image = torch.where((y < -0.74 + 0.3 * x.square()) | ((x.abs() > 0.31) & (y < -0.5)), hair, skin)
    eye = ((x.abs() - 0.13) / 0.055).square() + ((y + 0.54) / 0.03).square() < 1
    brow = ((x.abs() - 0.13) / 0.075).square() + ((y + 0.62) / 0.018).square() < 1
    nose = (x / 0.035).square() + ((y + 0.42) / 0.06).square() < 1
    mouth = (x / 0.12).square() + ((y + 0.24) / 0.028).square() < 1
    image = torch.where(eye, torch.full_like(image, 0.06), torch.where(brow, 0.5 * hair, image))
    return torch.where(
        nose, 0.75 * image, torch.where(mouth, image * image.new_tensor([0.75, 0.4, 0.4]).view(3, 1, 1), image)
    )
