"""How far two clips show the same frames: aligned in space and in time, then compared where they move.

Frames are compared as `texture`: speckle and walls of standardised contrast at half the model's size, so that gain,
gamma, noise and compression matter little. One clip may be mirrored, shifted, enlarged, started at another phase,
played faster or slower, or lack frames.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

FINE, COARSE = 0.6, 3.0  # px of the halved frame; texture lies between the two
FLOOR = 0.05  # of local contrast: what is darker is noise, and stays small
REACH = 6  # px of the halved frame by which a clip may be shifted
ZOOMS = (-8, -6, -4, -2, 0, 2, 4, 6, 8)  # px by which the halved frame may be wider
SPEEDS = 0.5, 2.0  # how much slower or faster a clip may play: the slope limits of Sakoe and Chiba, 1978


@dataclass(frozen=True)
class Placement:
    """How a picture is laid onto another: mirrored left to right, then made `zoom` px wider, then moved by (dy, dx)
    px."""

    mirrored: bool
    zoom: int
    dy: float
    dx: float

    def apply(self, pictures: Tensor) -> Tensor:
        """Pictures (B, h, w) laid so, in the same frame; black comes in."""
        formed = _formed(pictures, self.mirrored, self.zoom)
        return _shifted(formed, self.dy, self.dx, [length + 2 * REACH for length in pictures.shape[1:]])

    def at(self, scale: int) -> "Placement":
        """The same on pictures with `scale` times as many pixels along a side."""
        return replace(self, zoom=self.zoom * scale, dy=self.dy * scale, dx=self.dx * scale)


@dataclass(frozen=True)
class Match:
    """What a query and a clip share, each number 1 for a copy.

    appearance: mean correlation of matched frames. motion: correlation of what changes from one matched frame to
    another. frames: the clip's frame to which each of the query's was matched. placement: of the query, in pixels of
    its texture.
    """

    appearance: float
    motion: float
    frames: tuple[int, ...]
    placement: Placement


def texture(frames: Tensor, sector: Tensor) -> Tensor:
    """Frames (T, 1, H, W) in [0, 1] and their sector (H, W) bool -> (T, H / 2, W / 2) of zero mean, unit local spread;
    0 outside."""
    weight = F.avg_pool2d(sector.to(frames.dtype)[None, None], 2)
    picture = F.avg_pool2d(frames * sector, 2)
    inside = weight > 0.99
    around = blur(weight, COARSE).clamp(min=0.05)
    detail = (blur(picture, FINE) / blur(weight, FINE).clamp(min=0.05) - blur(picture, COARSE) / around) * inside
    spread = (blur(detail.square(), COARSE) / around).sqrt()
    return (detail / (spread + FLOOR))[:, 0]


def blur(pictures: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, 1, H, W), black beyond the border."""
    reach = math.ceil(3 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    across = F.conv2d(pictures, kernel.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(across, kernel.view(1, 1, -1, 1), padding=(reach, 0))


def pick_frames(count: int, most: int) -> list[int]:
    """Frames that stand for a clip of `count`: evenly spread, both ends included, `most` at most and two apart where
    there are enough."""
    chosen = max(min(most, (count + 1) // 2), min(count, 2))
    return [round(i * (count - 1) / max(chosen - 1, 1)) for i in range(chosen)]


def compare_clips(query: Tensor, times: Tensor, clip: Tensor, fps: float) -> Match:
    """Find a few frames again in a clip.

    query: (S, h, w) texture of frames at `times` (S,) in seconds. clip: (T, h, w) texture of every frame, at `fps`.
    Both h x w alike.
    """
    placement = register(query.mean(0), clip.mean(0))
    # The last picture says where there is any: it is moved with the frames.
    moved = placement.apply(torch.cat([query, (query.abs().sum(0, keepdim=True) > 0).to(query.dtype)]))
    both = (moved[-1] > 0.9) & (clip.abs().sum(0) > 0)
    if not both.any():
        return Match(0.0, 0.0, (0,) * len(query), placement)
    x, y = (v[:, both] - v[:, both].mean(1, keepdim=True) for v in (moved[:-1], clip))
    frames = follow(F.normalize(x, dim=1) @ F.normalize(y, dim=1).T, times.diff() * fps)
    y = y[frames]
    appearance = F.cosine_similarity(x, y, dim=1).mean()
    # What stands still is alike in all clips made from one of its frames; what changes is alike in a copy alone.
    motion = F.cosine_similarity((x - x.mean(0)).flatten(), (y - y.mean(0)).flatten(), dim=0)
    return Match(float(appearance), float(motion), tuple(frames.tolist()), placement)


def register(picture: Tensor, onto: Tensor) -> Placement:
    """The placement in which one mean texture (h, w) correlates best with another, by cross-correlation over all
    shifts."""
    room = [length + 2 * REACH for length in onto.shape]
    forms = [(mirrored, zoom) for mirrored in (False, True) for zoom in ZOOMS]
    pictures = torch.cat([_formed(picture[None], *form) for form in forms])
    overlap = torch.fft.irfft2(torch.fft.rfft2(onto, room) * torch.fft.rfft2(pictures, room).conj(), room)
    overlap = overlap.roll((REACH, REACH), (1, 2))[:, : 2 * REACH + 1, : 2 * REACH + 1]
    overlap = overlap / pictures.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
    width = 2 * REACH + 1
    best, place = divmod(int(overlap.argmax()), width**2)
    row, column = divmod(place, width)
    surface = overlap[best]
    return Placement(*forms[best], _peak(surface[:, column], row) - REACH, _peak(surface[row], column) - REACH)


def follow(similarity: Tensor, gaps: Tensor) -> Tensor:
    """The path (S,) through a clip's frames that sums the highest similarity (S, T); the clip is gone round where it
    ends.

    gaps: (S - 1,) frames from one to the next at the same speed; a step goes on by `SPEEDS` times as many, and by one
    at least.
    """
    total = similarity.shape[1]
    score, origins = similarity[0], []
    everywhere = torch.arange(total, device=similarity.device)
    for row, gap in zip(similarity[1:], gaps.tolist(), strict=True):
        low = max(1, math.floor(SPEEDS[0] * gap))
        high = min(max(low, math.ceil(SPEEDS[1] * gap)), low + total - 1)
        before = (everywhere[:, None] - torch.arange(low, high + 1, device=similarity.device)) % total
        best, which = score[before].max(1)
        origins.append(before.gather(1, which[:, None])[:, 0])
        score = row + best
    path = [score.argmax()]
    for origin in reversed(origins):
        path.append(origin[path[-1]])
    return torch.stack(path[::-1])


def _formed(pictures: Tensor, mirrored: bool, zoom: int) -> Tensor:
    """Pictures (B, h, w) mirrored and enlarged by `zoom` pixels about their middle, in the same frame."""
    pictures = pictures.flip(-1) if mirrored else pictures
    if not zoom:
        return pictures
    size = [length + zoom for length in pictures.shape[1:]]
    resized = F.interpolate(pictures[:, None], size, mode="bilinear", align_corners=False, antialias=True)[:, 0]
    return F.pad(resized, [-(zoom // 2)] * 4)


def _peak(line: Tensor, k: int) -> float:
    """Where a parabola through the highest value at k and its neighbours has its top."""
    if not 0 < k < len(line) - 1:
        return float(k)
    before, top, after = (float(v) for v in line[k - 1 : k + 2])
    bend = before - 2 * top + after
    return k + (0.0 if bend >= 0 else min(max(0.5 * (before - after) / bend, -0.5), 0.5))


def _shifted(pictures: Tensor, dy: float, dx: float, room: list[int]) -> Tensor:
    """Pictures (B, h, w) moved by parts of a pixel, by the shift theorem; black comes in."""
    rows = torch.fft.fftfreq(room[0], device=pictures.device)[:, None]
    columns = torch.fft.rfftfreq(room[1], device=pictures.device)[None]
    turned = torch.fft.rfft2(pictures, room) * torch.exp(-2j * math.pi * (rows * dy + columns * dx))
    return torch.fft.irfft2(turned, room)[:, : pictures.shape[1], : pictures.shape[2]]
