"""The textures of the face phantom: skin with light on it, hair, brows, lips; eyes, teeth and tongue; clothes; a
backdrop."""

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.face_shape import Shape, brow_line, lip_edge, outline_level
from echokdm.phantom.texture import Atlas, backdrop, cloth, colour, fractal, skin_tone, tile_grid

_TILE = 160
_HEAD = ((-1.3, -1.5), (1.3, 1.55))
_TORSO = ((-2.7, 0.2), (2.7, 3.2))


def _soft(signed: Tensor, width: float = 0.02) -> Tensor:
    """1 where `signed` is well above 0, 0 below, over about `width`."""
    return torch.sigmoid(signed / width)


def _over(image: Tensor, paint: Tensor, cover: Tensor) -> Tensor:
    return image + (paint - image) * cover


def _light(shape: Shape, x: Tensor, y: Tensor, draws: PatientDraws) -> Tensor:
    """(B, 1, R, R) brightness of the relief of skull, nose, brow ridge and lips under a drawn light."""
    s = shape
    height = 0.8 * (1 - (x / 1.3).square() - ((y - 0.05) / 1.75).square()).clamp_min(0.02).sqrt()
    nose = (
        ((y - s.eye_y) / (s.nose_y - s.eye_y)).clamp(0.15, 1)
        * _soft(s.nose_y + 0.06 - y, 0.03)
        * _soft(y - s.eye_y + 0.1, 0.05)
    )
    height = height + 0.2 * nose * torch.exp(-(x / (0.7 * s.nose_width)).square())
    height = height - 0.1 * torch.exp(-((x.abs() - s.eye_x) / 0.22).square() - ((y - s.eye_y + 0.02) / 0.15).square())
    height = height + 0.06 * torch.exp(-((y - s.mouth_y).abs() / 0.14).square() - (x / s.mouth_width).square())
    step = x[0, 0, 0, 1] - x[0, 0, 0, 0]
    padded = F.pad(height, (1, 1, 1, 1), mode="replicate")
    slope_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / (2 * step)
    slope_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / (2 * step)
    lx, ly = draws.uniform(-0.7, 0.7, 1, 1, 1), draws.uniform(-0.7, -0.1, 1, 1, 1)
    facing = (1 - lx * slope_x - ly * slope_y) / ((1 + lx**2 + ly**2) * (1 + slope_x**2 + slope_y**2)).sqrt()
    return 0.45 + 0.65 * facing.clamp_min(0)


def _skin(shape: Shape, tone: Tensor, draws: PatientDraws) -> Tensor:
    s = shape
    x, y = tile_grid(_TILE, _HEAD, tone.device)
    red = tone * tone.new_tensor([1.0, 0.72, 0.7]).view(3, 1, 1)
    freckles = draws.chance(0.4, 1, 1, 1) * _soft(fractal(draws, 1, _TILE, 40, 1) - 1.8, 0.2)
    image = tone * (1 + 0.05 * fractal(draws, 1, _TILE, 4, 6, 0.8)) * (1 - 0.18 * freckles)
    cheeks = torch.exp(-((x.abs() - 0.5) / 0.25).square() - ((y - 0.35) / 0.2).square())
    image = _over(image, red, 0.5 * cheeks)
    beard = (
        draws.chance(0.3, 1, 1, 1)
        * _soft(y - 0.35 - 0.5 * (1 - x.abs()), 0.08)
        * (0.7 + 0.3 * fractal(draws, 1, _TILE, 30, 2))
    )
    # from black over brown to fair
    hair = draws.uniform(0.03, 0.75, 1, 1, 1) * draws.uniform(0.75, 1.0, 3, 1, 1).cumprod(1)
    image = _over(image, hair, 0.55 * beard.clamp(0, 1))
    image = image * _light(s, x, y, draws)
    # Lips, the line between them, nostrils, lids and lashes, brows.
    upper, lower = (
        _soft(lip_edge(s, x, True) - (s.mouth_y - y), 0.012),
        _soft(lip_edge(s, x, False) - (y - s.mouth_y), 0.012),
    )
    lips = torch.where(y < s.mouth_y, upper, lower) * _soft(1.08 * s.mouth_width - x.abs(), 0.02)
    lip = red * draws.uniform(0.7, 1.0, 3, 1, 1) * (1 + 0.08 * fractal(draws, 1, _TILE, 20, 2))
    image = _over(image, lip * (0.8 + 2.0 * (y - s.mouth_y).clamp(-0.1, 0.05)), lips)
    image = image * (
        1 - 0.5 * torch.exp(-((y - s.mouth_y) / 0.018).square()) * _soft(1.05 * s.mouth_width - x.abs(), 0.02)
    )
    nostril = torch.exp(-((x.abs() - 0.5 * s.nose_width) / 0.055).square() - ((y - s.nose_y - 0.06) / 0.03).square())
    image = image * (1 - 0.65 * nostril)
    lid = _soft(s.eye_width * 1.05 - (x.abs() - s.eye_x).abs(), 0.02)
    lash = torch.exp(-((s.eye_y - y) / 0.03).square()) * (y < s.eye_y) + 0.4 * torch.exp(
        -((s.eye_y - y) / 0.02).square()
    ) * (y >= s.eye_y)
    image = image * (1 - 0.75 * lash * lid)
    thick = draws.uniform(0.025, 0.06, 1, 1, 1)
    brow = _soft(thick - (y - brow_line(s, x)).abs(), 0.012) * _soft(0.3 - (x.abs() - s.eye_x - 0.03).abs(), 0.02)
    image = _over(image, hair * 0.7, (brow * (0.85 + 0.25 * fractal(draws, 1, _TILE, 40, 1))).clamp(0, 1))
    # Hair: strands run down, over all that lies above the hairline and beside the face.
    strands = F.interpolate(draws.normal(1, 8, 80), (_TILE, _TILE), mode="bicubic", align_corners=True)
    window = (x.abs() / (s.width * 0.93)).pow(3) + ((y - 0.3).clamp_max(0) / (s.hairline - 0.3)).abs().pow(3) - 1
    outside = torch.maximum(outline_level(s, x, y) - 1, window * (y < 0.2) - (y >= 0.2) * 1.0)
    hairy = _soft(outside + 0.06 * strands, 0.03) * _soft(s.hair_end - y, 0.03)
    ear = ((x.abs() - s.width) / 0.12).square() + ((y - 0.1) / 0.26).square() < 1
    return _over(image, hair * (1 + 0.3 * strands) * (0.8 + 0.25 * fractal(draws, 1, _TILE)), hairy * ~ear).clamp(0, 1)


def _inner(shape: Shape, draws: PatientDraws, device: torch.device | str) -> Tensor:
    """Eyeballs, teeth, tongue and the dark behind them, in the head frame."""
    s = shape
    x, y = tile_grid(_TILE, _HEAD, device)
    image = torch.tensor([0.22, 0.06, 0.06], device=device).view(3, 1, 1) * (1 + 0.2 * fractal(draws, 1, _TILE))
    tongue = 1 - (x / 0.26).square() - ((y - s.mouth_y - 0.24) / 0.13).square()
    flesh = torch.tensor([0.75, 0.35, 0.35], device=device).view(3, 1, 1) * (1 + 0.1 * fractal(draws, 1, _TILE, 12))
    image = _over(image, flesh, _soft(tongue, 0.1))
    enamel = draws.uniform(0.8, 0.97, 3, 1, 1).sort(1, descending=True).values
    between = (torch.remainder(x / 0.085 + 0.5, 1) - 0.5).abs()  # 0 at the middle of a tooth, 0.5 between two
    teeth = _soft(0.045 - (y - s.mouth_y), 0.01) * _soft(0.3 - x.abs(), 0.02)
    image = _over(image, enamel * (1 - 0.5 * _soft(between - 0.45, 0.02)), teeth)
    # The eye: white with a shadow beneath the lid, iris with its dark rim, pupil, a spot of light.
    u, v = x.abs() - s.eye_x, y - s.eye_y + 0.02
    radius = (u.square() + v.square()).sqrt()
    size = draws.uniform(0.078, 0.1, 1, 1, 1)
    white = torch.tensor([0.93, 0.9, 0.88], device=device).view(3, 1, 1) * (0.75 + 0.25 * _soft(v + 0.05, 0.02))
    iris = (
        colour(draws, 0.1, 0.65)
        * (1 + 0.25 * fractal(draws, 1, _TILE, 24, 2))
        * (1 - 0.5 * _soft(radius - 0.85 * size, 0.01))
    )
    eye = _over(white, iris, _soft(size - radius, 0.006))
    eye = _over(eye, torch.full_like(eye, 0.03), _soft(0.42 * size - radius, 0.006))
    side = torch.where(x > 0, u, -u)  # the light falls from one side on both eyes
    eye = _over(eye, torch.ones_like(eye), _soft(0.016 - ((side + 0.03).square() + (v + 0.03).square()).sqrt(), 0.005))
    return torch.where(y < 0.3, eye, image).clamp(0, 1)


def _torso(shape: Shape, tone: Tensor, draws: PatientDraws) -> Tensor:
    """A neck in the shadow of the chin, a collar, cloth."""
    x, y = tile_grid(_TILE, _TORSO, tone.device)
    neck = tone * (0.5 + 0.35 * _soft(y - shape.shoulder_y, 0.15)) * (1 - 0.25 * (x / 0.6).square().clamp_max(1))
    neck = neck * (1 + 0.05 * fractal(draws, 1, _TILE, 8))
    collar = shape.shoulder_y + 0.3 * draws.uniform(0, 1, 1, 1, 1) - 0.3 * (x.abs() / 0.6).square()
    folds = 0.85 + 0.15 * fractal(draws, 1, _TILE, 3, 2)
    return _over(neck, cloth(draws, _TILE) * folds, _soft(y - collar, 0.02)).clamp(0, 1)


def paint(shape: Shape, draws: PatientDraws, device: torch.device | str) -> Atlas:
    """The four layers' textures: backdrop, torso, skin, inner."""
    # (B, 1, 1, 1), against images
    square = Shape(**{name: value[..., None, None] for name, value in vars(shape).items()})
    tone = skin_tone(draws)
    tiles = [
        backdrop(draws, _TILE),
        _torso(square, tone, draws),
        _skin(square, tone, draws),
        _inner(square, draws, device),
    ]
    return Atlas(tiles, [((-1, -1), (1, 1)), _TORSO, _HEAD, _HEAD])
