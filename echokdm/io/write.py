"""Frames to files: MP4, GIF, EchoNet-style AVI, a PNG strip, NIfTI. The same frames give the same bytes.

Frames are (T, C, H, W) float in [0, 1], C = 1 or 3, as a torch tensor, an array or `core.frames.LongFrames`, which are
written as they are read; every file appears whole or not at all.
"""

import io
import os
import zlib
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import torch

from echokdm.core.errors import OutputError
from echokdm.core.frames import LongFrames, each, parts
from echokdm.io.atomic import atomic_file

Frames = torch.Tensor | np.ndarray | LongFrames
Images = np.ndarray | LongFrames
PathLike = str | os.PathLike[str]


def to_uint8(frames: Frames) -> Images:
    """(T, C, H, W) float in [0, 1] -> (T, H, W) uint8 for C = 1, (T, H, W, 3) for C = 3; rounded, clamped.

    Raises OutputError where the shape is another, there is no frame, or a value isn't finite: of long frames when they
    are read.
    """
    if len(frames.shape) != 4 or frames.shape[1] not in (1, 3) or 0 in frames.shape:
        raise OutputError(f"Frames to write need the shape (T, C, H, W) with C 1 or 3, not {tuple(frames.shape)}.")
    return each(frames, _levels)


def _levels(frames: torch.Tensor | np.ndarray) -> np.ndarray:
    array = (
        frames.detach().cpu().float().numpy() if isinstance(frames, torch.Tensor) else np.asarray(frames, np.float32)
    )
    out = np.empty((len(array), *array.shape[2:], *array.shape[1:2][array.shape[1] == 1 :]), np.uint8)
    for levels, frame in zip(out, array, strict=True):  # one at a time: a clip at its own size is large
        if not np.isfinite(frame).all():
            raise OutputError("Frames to write hold values that are not finite.")
        rounded = np.rint(np.clip(frame, 0, 1) * 255)
        levels[:] = rounded[0] if len(frame) == 1 else rounded.transpose(1, 2, 0)
    return out


def _enlarge(images: Images, scale: int) -> Images:
    """(T, H, W[, 3]) enlarged by a whole factor, nearest neighbour, so that pixels stay what they are."""
    return images if scale == 1 else each(images, lambda some: some.repeat(scale, 1).repeat(scale, 2))


def _encode(
    path: PathLike,
    images: Images,
    fps: float,
    container: str,
    codec: str,
    pixel_format: str,
    options: dict[str, str],
    container_options: dict[str, str],
) -> None:
    import av

    if not fps > 0:
        raise OutputError(f"A video needs a positive frame rate, not {fps}.")
    source_format = "gray" if images.ndim == 3 else "rgb24"
    with atomic_file(path) as temporary:
        # bitexact keeps the encoder's version and the date out of the file.
        with av.open(
            str(temporary), "w", format=container, options={"fflags": "+bitexact", **container_options}
        ) as output:
            stream: Any = output.add_stream(
                codec, rate=Fraction(fps).limit_denominator(1000), options={"flags": "+bitexact", **options}
            )
            stream.height, stream.width = images.shape[1:3]
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = 1  # x264's bytes depend on the number of threads
            for image in images:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=source_format)))
            output.mux(stream.encode())


def write_mp4(path: PathLike, frames: Frames, fps: float, scale: int = 1, crf: int = 14) -> None:
    """An H.264 MP4 that every browser plays: yuv420p, index first. crf: x264's quality, lower is better.

    scale: whole enlargement, nearest neighbour. Odd sizes gain a repeated last row or column, since yuv420p needs even
    ones.
    """
    images = _enlarge(to_uint8(frames), scale)
    _, height, width = images.shape[:3]
    missing = [(0, 0), (0, height % 2), (0, width % 2)] + [(0, 0)] * (images.ndim - 3)
    images = each(images, lambda some: np.pad(some, missing, mode="edge"))
    _encode(
        path,
        images,
        fps,
        "mp4",
        "libx264",
        "yuv420p",
        # x264's macroblock tree gives other bytes from run to run on processors with AVX-512; without it files are 5 % larger
        {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"},
        {"movflags": "+faststart"},
    )


def write_avi(path: PathLike, frames: Frames, fps: float, size: int | None = 112) -> None:
    """An EchoNet-Dynamic style AVI: Motion JPEG, gray kept as three equal channels, 112 x 112.

    size: the side that the frames must have; None takes any. Raises OutputError where it differs.
    """
    images = to_uint8(frames)
    if size is not None and images.shape[1:3] != (size, size):
        raise OutputError(f"An EchoNet AVI holds {size} x {size} frames, not {images.shape[2]} x {images.shape[1]}.")
    # Full-range YCbCr with neutral chroma: every decoder gives three equal channels back.
    _encode(path, images, fps, "avi", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "1"}, {})


_GIF_FRAMES = 16  # of a long clip, that Pillow is given at a time, since it keeps them all until it writes


def gif_durations(count: int, fps: float) -> list[int]:
    """Milliseconds a frame in GIF's steps of 10 ms, spread so that the whole lasts count / fps. Browsers slow down
    below 20 ms."""
    if 100 / fps < 2:
        return [20] * count
    ends = [round((i + 1) * 100 / fps) for i in range(count)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(path: PathLike, frames: Frames, fps: float, scale: int = 1) -> None:
    """A looping GIF; colours share one palette, so that nothing flickers. Identical neighbours become one longer
    frame."""
    from PIL import Image

    images = _enlarge(to_uint8(frames), scale)
    if not fps > 0:
        raise OutputError(f"A GIF needs a positive frame rate, not {fps}.")
    palette = None
    if images.ndim == 4:
        few = images[:: max(1, len(images) // 16)]
        palette = Image.fromarray(few.reshape(-1, *images.shape[2:])).quantize(256)
    durations, written = gif_durations(len(images), fps), 0
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for some in images.split(_GIF_FRAMES) if isinstance(images, LongFrames) else [images]:
            pictures = [Image.fromarray(image) for image in some]
            if palette is not None:
                pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
            one = io.BytesIO()
            pictures[0].save(
                one,
                format="GIF",
                save_all=True,
                append_images=pictures[1:],
                loop=0,
                disposal=1,
                duration=durations[written : written + len(pictures)],
                optimize=False,
            )
            data = one.getvalue()
            file.write(data[_gif_start(data) if written else 0 : -1])
            written += len(pictures)
        file.write(data[-1:])


def _gif_start(data: bytes) -> int:
    """Where a GIF's frames begin: behind its header, its palette and what is said of looping (GIF89a, sections 18, 19
    and 26)."""
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    while data[start : start + 2] == b"\x21\xff":
        start += 2
        while length := data[start]:
            start += 1 + length
        start += 1
    return start


def strip(*rows: Frames, count: int = 8, scale: int = 1, gap: int = 2) -> np.ndarray:
    """A picture (h, w) or (h, w, 3) uint8: `count` frames evenly spread over each clip, one row a clip, white gaps.

    All clips need one size; a gray clip beside a colour one is shown in colour.
    """
    clips = [to_uint8(row) for row in rows]
    if len({clip.shape[1:3] for clip in clips}) != 1:
        raise OutputError("The clips of one strip need frames of one size.")
    colours = (3,) if any(clip.ndim == 4 for clip in clips) else ()
    height, width = (side * scale for side in clips[0].shape[1:3])
    columns = min(count, max(len(clip) for clip in clips))
    canvas = np.full((len(clips) * (height + gap) - gap, columns * (width + gap) - gap, *colours), 255, np.uint8)
    for r, clip in enumerate(clips):
        chosen = clip[np.rint(np.linspace(0, len(clip) - 1, columns)).astype(int)]
        if colours and chosen.ndim == 3:
            chosen = chosen[..., None].repeat(3, -1)
        for c, image in enumerate(_enlarge(chosen, scale)):
            y, x = r * (height + gap), c * (width + gap)
            canvas[y : y + height, x : x + width] = image
    return canvas


def write_png(path: PathLike, image: np.ndarray) -> None:
    """One picture, (H, W) or (H, W, 3) uint8, as PNG."""
    from PIL import Image

    with atomic_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=9)


def write_png_strip(path: PathLike, *rows: Frames, count: int = 8, scale: int = 1, gap: int = 2) -> None:
    """`strip` as a PNG."""
    write_png(path, strip(*rows, count=count, scale=scale, gap=gap))


def write_nifti(
    path: PathLike, volume: Frames, spacing_mm: tuple[float, float] | None = None, fps: float | None = None
) -> None:
    """Masks (bool or integer, stored as uint8) or images (float, stored as float32), (T, H, W), as NIfTI-1 (.nii or
    .nii.gz).

    Stored as (x, y, 1, T) with x to the right and y down, so that `data[:, :, 0, t].T` is the picture; the affine says
    the same in RAS+ (as ITK does for a picture). spacing_mm: (row, column). Units are marked unknown where spacing is
    None.
    """
    import nibabel as nib

    if len(volume.shape) != 3 or 0 in volume.shape:
        raise OutputError(f"A NIfTI file here needs the shape (T, H, W), not {tuple(volume.shape)}.")
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    first = _stored(volume[:1])
    image = nib.Nifti1Image(first.transpose(2, 1, 0)[:, :, None], np.diag([-column_mm, -row_mm, 1.0, 1.0]))
    image.header.set_xyzt_units("mm" if spacing_mm else "unknown", "sec" if fps else "unknown")
    if fps:
        image.header["pixdim"][4] = 1 / fps
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(image.to_bytes()))
    header.set_data_shape((*first.shape[:0:-1], 1, len(volume)))
    # zlib's own gzip header holds no name and no date.
    packer = zlib.compressobj(6, wbits=31) if str(path).endswith(".gz") else None
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        # Behind the header is the flag of its extensions, none, and then x runs fastest and time slowest (NIfTI-1).
        for data in chain([header.binaryblock, bytes(4)], (_stored(part).tobytes() for part in parts(volume))):
            file.write(data if packer is None else packer.compress(data))
        if packer is not None:
            file.write(packer.flush())


def _stored(volume: torch.Tensor | np.ndarray) -> np.ndarray:
    """As NIfTI has it, float32 or uint8. Raises OutputError for labels that uint8 has not."""
    array = volume.detach().cpu().numpy() if isinstance(volume, torch.Tensor) else np.asarray(volume)
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    if array.min() < 0 or array.max() > 255:
        raise OutputError("Masks to write need labels from 0 to 255.")
    return array.astype(np.uint8)
