"""Pictures of a synthesis, by Pillow: outlines on frames, flow in colour with its wheel, strips."""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from echokdm.core.frames import Frames, LongFrames
from echokdm.core.types import A4C_BLOODPOOL_40, KeypointSchema
from echokdm.core.types import Sequence as DataSequence
from echokdm.ops.flow import flow_to_color
from echokdm.ops.m_mode import Line

INK, PAPER, ACCENT = "#1d2733", "#ffffff", "#c2410c"
MARGIN = 4  # px around the sector that pictures show
OVERSAMPLE = 2  # lines are drawn this much finer and averaged down, since Pillow draws them without anti-aliasing


def to_image(frame: Tensor | np.ndarray, scale: float = 1.0) -> Image.Image:
    """A frame (1, H, W), (3, H, W) or (H, W) in [0, 1] as an RGB picture, enlarged smoothly by `scale`."""
    array = np.asarray(frame, np.float32)
    array = array[None] if array.ndim == 2 else array
    pixels = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, 2))
    if scale == 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def overlay(
    frame: Tensor | np.ndarray,
    keypoints: np.ndarray,
    scale: float = 4.0,
    schema: KeypointSchema = A4C_BLOODPOOL_40,
    dots: bool = True,
    extra: Sequence[tuple[np.ndarray, str]] = (),
    every: int = 0,
    title: str = "",
) -> Image.Image:
    """Key-points (N, 2) over a frame, in the schema's colours. extra: further outlines (M, 2) with a colour each.

    every: so many points apart their numbers stand outside the outline, 0 for none. title: in the upper left corner.
    """
    fine = scale * OVERSAMPLE
    image = to_image(frame, fine)
    draw = ImageDraw.Draw(image)
    points = _place(keypoints, fine)
    for outline, ink in extra:
        along = _place(outline, fine)
        draw.line([*along, along[0]], fill=ink, width=round(1.5 * OVERSAMPLE), joint="curve")
    for (a, b), colour in zip(schema.edges, schema.colours, strict=True):
        draw.line([points[a], points[b]], fill=_rgb(colour), width=round(1.5 * OVERSAMPLE))
    radius = 2.6 * OVERSAMPLE
    # A point has the colour of the first edge that leads from it, or else to it; 40 of a ring each their own.
    coloured = list(zip(schema.edges, schema.colours, strict=True))
    colour_of = {b: _rgb(colour) for (_, b), colour in coloured} | {
        a: _rgb(colour) for (a, _), colour in reversed(coloured)
    }
    for i, (x, y) in enumerate(points if dots else []):
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=colour_of.get(i, INK),
            outline="white",
            width=OVERSAMPLE // 2,
        )
    image = image.resize((image.width // OVERSAMPLE, image.height // OVERSAMPLE), Image.Resampling.BOX)
    draw, size = ImageDraw.Draw(image), max(image.width // 45, 9)
    if every:
        placed = np.array(_place(keypoints, scale))
        outwards = placed - placed.mean(0)
        outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-6)
        for i in range(0, len(placed), every):
            draw.text(
                tuple(placed[i] + 1.2 * size * outwards[i]),
                str(i),
                fill="white",
                font=_font(size),
                anchor="mm",
                stroke_width=1,
                stroke_fill="black",
            )
    if title:
        draw.text(
            (size / 2, size / 2), title, fill="white", font=_font(1.4 * size), stroke_width=1, stroke_fill="black"
        )
    return image


def _place(points: np.ndarray, scale: float) -> list[tuple[float, float]]:
    """Pixel positions (centre of the first pixel = 0) on a picture enlarged by `scale`."""
    return [(float(x), float(y)) for x, y in (np.asarray(points) + 0.5) * scale - 0.5]


def _rgb(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    """A colour in [0, 1], lightened a little so that it shows on black."""
    return tuple(int(round(255 * (0.2 + 0.8 * c))) for c in colour)  # type: ignore[return-value]


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def flow_picture(
    flow: Tensor, reach: float, scale: float = 4.0, sector: Tensor | np.ndarray | None = None
) -> Image.Image:
    """A backward flow (2, H, W) in Baker's colours with the wheel in the corner; `reach` px is fully saturated.

    sector: (H, W) bool; outside it the picture is a light gray, since nothing moves there.
    """
    colour = flow_to_color(flow[None], reach)[0]
    if sector is not None:
        colour = torch.where(
            torch.as_tensor(np.asarray(sector), dtype=torch.bool), colour, torch.full_like(colour, 0.9)
        )
    image = to_image(colour, scale)
    wheel = flow_wheel(max(image.width // 5, 48))
    image.paste(wheel, (image.width - wheel.width - 6, 6), wheel)
    ImageDraw.Draw(image).text(
        (image.width - wheel.width // 2 - 6, wheel.height + 8),
        f"{reach:.1f} px",
        fill=INK,
        font=_font(max(image.width // 32, 10)),
        anchor="ma",
    )
    return image


def flow_wheel(size: int) -> Image.Image:
    """The legend: the colour of a vector that points from the centre to each pixel, on a transparent ground."""
    fine = size * 2
    axis = (torch.arange(fine, dtype=torch.float32) - (fine - 1) / 2) / ((fine - 1) / 2)
    dx, dy = torch.meshgrid(axis, axis, indexing="xy")
    inside = dx.square() + dy.square() <= 1
    colour = flow_to_color(torch.stack([dx, dy])[None] * inside, 1.0)[0]
    alpha = Image.fromarray(np.asarray(inside).astype(np.uint8) * 255)
    image = to_image(colour).convert("RGBA")
    image.putalpha(alpha)
    return image.resize((size, size), Image.Resampling.BOX)


def strip(
    rows: Sequence[tuple[str, Frames]],
    times: Sequence[float],
    count: int = 8,
    scale: float = 1.5,
    outlines: Sequence[np.ndarray | None] | None = None,
) -> Image.Image:
    """Rows of frames, each (name, (T, 1 or 3, H, W) in [0, 1]), at `count` evenly spaced moments with their times in
    seconds.

    outlines: for each row the (T, N, 2) outlines to draw on it, or None.
    """
    total = len(rows[0][1])
    picks = np.unique(np.rint(np.linspace(0, total - 1, count)).astype(int))
    height, width = rows[0][1].shape[2:]
    w, h, label, head = round(width * scale), round(height * scale), 92, 22
    canvas = Image.new("RGB", (label + len(picks) * (w + 4), head + len(rows) * (h + 4)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for k, t in enumerate(picks):
        draw.text((label + k * (w + 4) + w / 2, head / 2), f"{times[t]:.2f} s", fill=INK, font=_font(13), anchor="mm")
    for r, (name, frames) in enumerate(rows):
        y = head + r * (h + 4)
        draw.text(
            (label / 2, y + h / 2), name.replace(" ", "\n"), fill=INK, font=_font(13), anchor="mm", align="center"
        )
        for k, t in enumerate(picks):
            lines = None if outlines is None else outlines[r]
            tile = to_image(frames[t], scale) if lines is None else outlined(frames[t], lines[t], scale)
            canvas.paste(tile, (label + k * (w + 4), y))
    return canvas


def labelled_rows(rows: Sequence[tuple[str, Tensor]], count: int = 8, side: int = 128) -> Image.Image:
    """Rows of pictures, each (name, (T, 1 or 3, H, W) in [0, 1]) of any length and size: up to `count`, spread evenly,
    `side` px high."""
    label, gap = 112, 4
    wide = max(
        min(count, len(pictures)) * (round(side * pictures.shape[3] / pictures.shape[2]) + gap) for _, pictures in rows
    )
    canvas = Image.new("RGB", (label + wide, len(rows) * (side + gap)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for r, (name, pictures) in enumerate(rows):
        y = r * (side + gap)
        draw.text(
            (label / 2, y + side / 2), name.replace(" ", "\n"), fill=INK, font=_font(13), anchor="mm", align="center"
        )
        picks = np.unique(np.rint(np.linspace(0, len(pictures) - 1, count)).astype(int))
        for k, t in enumerate(picks):
            tile = to_image(pictures[t], side / pictures.shape[2])
            canvas.paste(tile, (label + k * (tile.width + gap), y))
    return canvas


def outlined(frame: Tensor, outline: np.ndarray, scale: float, colour: str = "#ffb020") -> Image.Image:
    """One closed outline (N, 2) over a frame."""
    fine = scale * OVERSAMPLE
    image = to_image(frame, fine)
    points = _place(outline, fine)
    ImageDraw.Draw(image).line([*points, points[0]], fill=colour, width=OVERSAMPLE, joint="curve")
    return image.resize((round(image.width / OVERSAMPLE), round(image.height / OVERSAMPLE)), Image.Resampling.BOX)


def contact_sheet(items: Sequence[tuple[str, DataSequence]], side: int = 192, columns: int = 4) -> Image.Image:
    """One frame of each (name, sequence of a data set), fitted into a square of `side` px: the one where most
    key-points are visible.

    Limbs whose both ends are visible are drawn in the schema's colours, visible points as dots.
    """
    rows, head = -(-len(items) // columns), 18
    canvas = Image.new("RGB", (min(columns, len(items)) * (side + 4), rows * (side + head + 4)), PAPER)
    for i, (name, item) in enumerate(items):
        tile = _tile(item, side)
        x, y = (i % columns) * (side + 4), (i // columns) * (side + head + 4)
        canvas.paste(tile, (x + (side - tile.width) // 2, y + head))
        ImageDraw.Draw(canvas).text(
            (x + side / 2, y + head / 2),
            name if len(name) <= 28 else f"...{name[-25:]}",
            fill=INK,
            font=_font(11),
            anchor="mm",
        )
    return canvas


def _tile(item: DataSequence, side: int) -> Image.Image:
    """The frame of most visible key-points within `side` px, cropped where they are but a small part of it."""
    frame = len(item) // 2 if item.visible is None else int(item.visible.sum(1).argmax())
    height, width = item.size
    left, top, right, bottom = 0, 0, width, height
    seen = np.zeros(0, bool) if item.visible is None else item.visible[frame].numpy()
    if seen.any():
        assert item.keypoints is not None  # they are seen
        points = item.keypoints[frame].numpy()
        low, high = points[seen].min(0), points[seen].max(0)
        (x, y), reach = (low + high) / 2, float((high - low).max())
        if 0 < 3 * reach < max(item.size):
            left, top = max(int(x - reach), 0), max(int(y - reach), 0)
            right, bottom = min(int(x + reach) + 1, width), min(int(y + reach) + 1, height)
    scale = side / max(right - left, bottom - top)
    tile = to_image(item.frames[frame, :, top:bottom, left:right], scale)
    if seen.any():
        assert item.schema is not None  # key-points have one
        draw, placed = ImageDraw.Draw(tile), _place(points - (left, top), scale)
        for (a, b), colour in zip(item.schema.edges, item.schema.colours, strict=True):
            if seen[a] and seen[b]:
                draw.line([placed[a], placed[b]], fill=_rgb(colour), width=2)
        for x, y in (point for point, shown in zip(placed, seen, strict=True) if shown):
            draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="white")
    return tile


def sector_box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around the sector (H, W), so that no picture is mostly black."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    down, right = (slice(max(int(at[0]) - MARGIN, 0), int(at[-1]) + 1 + MARGIN) for at in (rows, columns))
    return down, right


def with_line(frame: Tensor, line: Line, box: tuple[slice, slice]) -> Image.Image:
    """The part of a frame (C, H, W) within `box` (rows, columns), with the line that an M-mode was taken along."""
    image = to_image(frame[:, box[0], box[1]])
    ends = [(x - box[1].start, y - box[0].start) for x, y in line]
    ImageDraw.Draw(image).line(ends, fill="#ffb020", width=max(image.width // 250, 1))
    return image


def png(image: Image.Image) -> bytes:
    """A picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def side_by_side(*frames: Frames, gap: int = 4) -> Frames:
    """Clips (T, C, H, W) next to one another with a black gap -> (T, C, H, W'). Long where one of them is."""
    if any(isinstance(clip, LongFrames) for clip in frames):
        return LongFrames(len(frames[0]), lambda rows: side_by_side(*(clip[rows] for clip in frames), gap=gap))
    t, c, h, _ = frames[0].shape
    bar = torch.zeros(t, c, h, gap)
    parts = [part for clip in frames for part in (clip[:], bar)][:-1]
    return torch.cat(parts, 3)


def smaller(frames: Tensor, side: int) -> Tensor:
    """Frames (T, C, H, W), made smaller without aliasing where they are larger than `side` px, in proportion."""
    factor = side / max(frames.shape[2:])
    if factor >= 1:
        return frames
    size = [round(length * factor) for length in frames.shape[2:]]
    return torch.cat([F.interpolate(frame, size, mode="bilinear", antialias=True) for frame in frames.split(1)]).clamp(
        0, 1
    )


def gif(frames: Frames, fps: float) -> bytes:
    """Frames (T, C, H, W) in [0, 1] as an endless animated GIF."""
    from echokdm.io.write import write_gif

    return _file_bytes("clip.gif", write_gif, frames, fps)


def mp4(frames: Frames, fps: float) -> bytes:
    """Frames (T, C, H, W) in [0, 1] as an MP4 that browsers play."""
    from echokdm.io.write import write_mp4

    return _file_bytes("clip.mp4", write_mp4, frames, fps)


def _file_bytes(name: str, write: Callable[[Path, Frames, float], None], frames: Frames, fps: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, frames, fps)
        return path.read_bytes()
