"""Charts as SVG: curves over time, and M-modes beside the picture that they were taken from. Matplotlib takes a second
only to load."""

import io
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from echokdm.report.pages import data_uri

SVG = "image/svg+xml"

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; in px of the chart, as all else here."""


class Chart(str):
    """An SVG picture, shown as one by notebooks."""

    def _repr_svg_(self) -> str:
        return str(self)


_INK, _FAINT, _GRID = "#1d2733", "#9aa5b1", "#e4e8ec"
_DASHES = {"-": "", "--": "7 4", ":": "2 3"}
_BESIDE = 60.0  # px left of a plot, for its numbers and its label
_BELOW = 42.0
_LINE = 18.0  # px a line of the legend


def volume_chart(
    times: np.ndarray,
    curves: Sequence[tuple[str, np.ndarray, str, str]],
    unit: str,
    beats: Sequence[tuple[int, int]] = (),
) -> Chart:
    """Volume over time. curves: (name, (T,), colour, style "-", "--", ":", "." or ".-"). beats: (ED, ES) frames,
    marked."""
    width, height = 790.0, 374.0
    box = _BESIDE, 14.0, width - 12, height - _BELOW
    highest = max([float(np.nanmax(values)) for _, values, _, _ in curves if np.isfinite(values).any()], default=1.0)
    x, y = _Axis(0.0, float(times[-1]) or 1.0, box[0], box[2]), _Axis(0.0, 1.05 * highest or 1.0, box[3], box[1])
    parts = [
        *_ticks(x, "x", box),
        *_ticks(y, "y", box),
        *_labels(box, "time (s)", f"left ventricle ({unit.replace('^3', chr(0xB3))})"),
    ]
    for ed, es in beats:
        for frame, name in ((ed, "ED"), (es, "ES")):
            at = x.place(float(times[frame]))
            parts.append(f'<path d="M{at:.1f} {box[1]:.1f}V{box[3]:.1f}" stroke="{_FAINT}" stroke-dasharray="1 3"/>')
            parts.append(_text(name, at + 3, box[1] + 11, size=11))
    for _, values, colour, style in curves:
        known = [(x.place(float(t)), y.place(float(v))) for t, v in zip(times, values, strict=False) if np.isfinite(v)]
        parts += _curve(known, colour, style)
    for i, (name, _, colour, style) in enumerate(curves):
        left, middle = box[2] - 230, box[3] - _LINE * (len(curves) - i) + 2
        parts += _curve([(left, middle), (left + 24, middle)], colour, style)
        parts.append(_text(name, left + 32, middle + 4, size=12))
    return _svg(width, height, parts)


def m_mode_chart(
    rows: Sequence[tuple[str, np.ndarray]], fps: float, length_mm: float | None, where: Image.Image
) -> Chart:
    """M-modes below one another, each (name, (L, T) in [0, 1]), on one scale of time, beside the picture with their
    line.

    length_mm: of the line; None where it is known in pixels alone.
    """
    width, row, gap = 1140.0, 230.0, 22.0
    shown = 360.0, 360.0 * where.height / where.width
    height = max(len(rows) * (row + gap) + _BELOW - gap + 10, shown[1] + 10)
    parts = [_picture(where, (0.0, (height - shown[1]) / 2, shown[0], (height + shown[1]) / 2), smooth=True)]
    white = max(float(np.quantile(picture, 0.998)) for _, picture in rows)  # a dim clip's line shows little else
    for k, (name, picture) in enumerate(rows):
        length = picture.shape[0] if length_mm is None else length_mm
        top = 5 + k * (row + gap)
        box = shown[0] + _BESIDE, top, width - 8, top + row
        gray = np.rint((picture / max(white, 0.1)).clip(0, 1) * 255).astype(np.uint8)
        x, y = _Axis(0.0, picture.shape[1] / fps, box[0], box[2]), _Axis(0.0, length, box[1], box[3])
        parts += [
            _picture(Image.fromarray(gray), box),
            *_ticks(x, "x", box, lines=False),
            *_ticks(y, "y", box, lines=False),
        ]
        parts += _labels(
            box, "time (s)" if k == len(rows) - 1 else "", f"{name} ({'px' if length_mm is None else 'mm'})"
        )
    return _svg(width, height, parts)


class _Axis:
    """Values from `low` to `high` lie from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """At most so many multiples of 1, 2 or 5 times a power of ten."""
        least = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(least))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
        return [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def _ticks(axis: _Axis, along: str, box: Box, lines: bool = True) -> list[str]:
    """Numbers beside a plot and, with lines, a grid."""
    parts = []
    for value in axis.ticks():
        at, number = axis.place(value), f"{value:.6g}"
        if along == "x":
            mark, text = (
                f"M{at:.1f} {box[3]:.1f}V{box[1] if lines else box[3] + 4:.1f}",
                _text(number, at, box[3] + 16, "middle", 11),
            )
        else:
            mark, text = (
                f"M{box[0]:.1f} {at:.1f}H{box[2] if lines else box[0] - 4:.1f}",
                _text(number, box[0] - 7, at + 4, "end", 11),
            )
        parts += [f'<path d="{mark}" stroke="{_GRID if lines else _FAINT}"/>', text]
    return parts


def _labels(box: Box, below: str, beside: str) -> list[str]:
    """The lines of the axes, and what they are."""
    lines = f'<path d="M{box[0]:.1f} {box[1]:.1f}V{box[3]:.1f}H{box[2]:.1f}" fill="none" stroke="{_FAINT}"/>'
    middle = (box[1] + box[3]) / 2
    turned = f' transform="rotate(-90 {box[0] - 44:.1f} {middle:.1f})"'
    return [
        lines,
        _text(below, (box[0] + box[2]) / 2, box[3] + 34, "middle"),
        _text(beside, box[0] - 44, middle, "middle", more=turned),
    ]


def _curve(points: Sequence[tuple[float, float]], colour: str, style: str) -> list[str]:
    parts = []
    if style != ".":
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = _DASHES.get(style, "")
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"'
            + (f' stroke-dasharray="{dashes}"/>' if dashes else "/>")
        )
    if "." in style:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points]
    return parts


def _text(words: str, x: float, y: float, anchor: str = "start", size: int = 13, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}"{more}>{escape(words)}</text>'


def _picture(image: Image.Image, box: Box, smooth: bool = False) -> str:
    """An image stretched into the box; pixels stay pixels unless it is to be smooth."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return (
        f'<image x="{box[0]:.1f}" y="{box[1]:.1f}" width="{box[2] - box[0]:.1f}" height="{box[3] - box[1]:.1f}" '
        f'preserveAspectRatio="none" image-rendering="{"auto" if smooth else "pixelated"}" href="{data_uri(buffer.getvalue())}"/>'
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> Chart:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        'font-family="sans-serif">'
    )
    return Chart(
        "\n".join([head, f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>', *parts, "</svg>", ""])
    )
