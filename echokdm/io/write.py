"""Frames to files: MP4, GIF, EchoNet-style AVI, a PNG strip, NIfTI. The same frames give the same bytes.

Frames are (T, C, H, W) float in [0, 1], C = 1 or 3, as a torch tensor or an array; every file appears whole or not at all.
"""

import gzip
import os
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from echokdm.core.errors import OutputError
from echokdm.io.atomic import atomic_file

Frames = torch.Tensor | np.ndarray
PathLike = str | os.PathLike[str]


def to_uint8(frames: Frames) -> np.ndarray:
    """(T, C, H, W) float in [0, 1] -> (T, H, W) uint8 for C = 1, (T, H, W, 3) for C = 3; rounded, clamped.

    Raises OutputError where the shape is another, there is no frame, or a value isn't finite.
    """
    array = frames.detach().cpu().float().numpy() if isinstance(frames, torch.Tensor) else np.asarray(frames, np.float32)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        raise OutputError(f"Frames to write need the shape (T, C, H, W) with C 1 or 3, not {tuple(array.shape)}.")
    out = np.empty((len(array), *array.shape[2:], *array.shape[1:2][array.shape[1] == 1:]), np.uint8)
    for levels, frame in zip(out, array, strict=True):  # one at a time: a clip at its own size is large
        if not np.isfinite(frame).all():
            raise OutputError("Frames to write hold values that are not finite.")
        rounded = np.rint(np.clip(frame, 0, 1) * 255)
        levels[:] = rounded[0] if len(frame) == 1 else rounded.transpose(1, 2, 0)
    return out


def _enlarge(images: np.ndarray, scale: int) -> np.ndarray:
    """(T, H, W[, 3]) enlarged by a whole factor, nearest neighbour, so that pixels stay what they are."""
    return images if scale == 1 else images.repeat(scale, 1).repeat(scale, 2)


def _encode(path: PathLike, images: np.ndarray, fps: float, container: str, codec: str, pixel_format: str,
            options: dict[str, str], container_options: dict[str, str]) -> None:
    import av

    if not fps > 0:
        raise OutputError(f"A video needs a positive frame rate, not {fps}.")
    source_format = "gray" if images.ndim == 3 else "rgb24"
    with atomic_file(path) as temporary:
        # bitexact keeps the encoder's version and the date out of the file.
        with av.open(str(temporary), "w", format=container, options={"fflags": "+bitexact", **container_options}) as output:
            stream: Any = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options={"flags": "+bitexact", **options})
            stream.height, stream.width = images.shape[1:3]
            stream.pix_fmt = pixel_format
            stream.codec_context.thread_count = 1  # x264's bytes depend on the number of threads
            for image in images:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=source_format)))
            output.mux(stream.encode())


def write_mp4(path: PathLike, frames: Frames, fps: float, scale: int = 1, crf: int = 14) -> None:
    """An H.264 MP4 that every browser plays: yuv420p, index first. crf: x264's quality, lower is better.

    scale: whole enlargement, nearest neighbour. Odd sizes gain a repeated last row or column, since yuv420p needs even ones.
    """
    images = _enlarge(to_uint8(frames), scale)
    _, height, width = images.shape[:3]
    images = np.pad(images, [(0, 0), (0, height % 2), (0, width % 2)] + [(0, 0)] * (images.ndim - 3), mode="edge")
    _encode(path, images, fps, "mp4", "libx264", "yuv420p", {"crf": str(crf), "preset": "veryfast"}, {"movflags": "+faststart"})


def write_avi(path: PathLike, frames: Frames, fps: float, size: int | None = 112) -> None:
    """An EchoNet-Dynamic style AVI: Motion JPEG, gray kept as three equal channels, 112 x 112.

    size: the side that the frames must have; None takes any. Raises OutputError where it differs.
    """
    images = to_uint8(frames)
    if size is not None and images.shape[1:3] != (size, size):
        raise OutputError(f"An EchoNet AVI holds {size} x {size} frames, not {images.shape[2]} x {images.shape[1]}.")
    # Full-range YCbCr with neutral chroma: every decoder gives three equal channels back.
    _encode(path, images, fps, "avi", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "1"}, {})


def gif_durations(count: int, fps: float) -> list[int]:
    """Milliseconds a frame in GIF's steps of 10 ms, spread so that the whole lasts count / fps. Browsers slow down below 20 ms."""
    if 100 / fps < 2:
        return [20] * count
    ends = [round((i + 1) * 100 / fps) for i in range(count)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(path: PathLike, frames: Frames, fps: float, scale: int = 1) -> None:
    """A looping GIF; colours share one palette, so that nothing flickers. Identical neighbours become one longer frame."""
    from PIL import Image

    images = _enlarge(to_uint8(frames), scale)
    if not fps > 0:
        raise OutputError(f"A GIF needs a positive frame rate, not {fps}.")
    pictures = [Image.fromarray(image) for image in images]
    if images.ndim == 4:
        palette = Image.fromarray(images[:: max(1, len(images) // 16)].reshape(-1, *images.shape[2:])).quantize(256)
        pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_file(path) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], loop=0, disposal=1,
                         duration=gif_durations(len(pictures), fps), optimize=False)


def strip(*rows: Frames, count: int = 8, scale: int = 1, gap: int = 2) -> np.ndarray:
    """A picture (h, w) or (h, w, 3) uint8: `count` frames evenly spread over each clip, one row a clip, white gaps.

    All clips need one size; a gray clip beside a colour one is shown in colour.
    """
    clips = [to_uint8(row) for row in rows]
    if len({clip.shape[1:3] for clip in clips}) != 1:
        raise OutputError("The clips of one strip need frames of one size.")
    if any(clip.ndim == 4 for clip in clips):
        clips = [clip if clip.ndim == 4 else clip[..., None].repeat(3, -1) for clip in clips]
    height, width = (side * scale for side in clips[0].shape[1:3])
    columns = min(count, max(len(clip) for clip in clips))
    canvas = np.full((len(clips) * (height + gap) - gap, columns * (width + gap) - gap, *clips[0].shape[3:]), 255, np.uint8)
    for r, clip in enumerate(clips):
        chosen = _enlarge(clip[np.rint(np.linspace(0, len(clip) - 1, columns)).astype(int)], scale)
        for c, image in enumerate(chosen):
            y, x = r * (height + gap), c * (width + gap)
            canvas[y:y + height, x:x + width] = image
    return canvas


def write_png(path: PathLike, image: np.ndarray) -> None:
    """One picture, (H, W) or (H, W, 3) uint8, as PNG."""
    from PIL import Image

    with atomic_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=9)


def write_png_strip(path: PathLike, *rows: Frames, count: int = 8, scale: int = 1, gap: int = 2) -> None:
    """`strip` as a PNG."""
    write_png(path, strip(*rows, count=count, scale=scale, gap=gap))


def write_nifti(path: PathLike, volume: np.ndarray | torch.Tensor, spacing_mm: tuple[float, float] | None = None,
                fps: float | None = None) -> None:
    """Masks (bool or integer, stored as uint8) or images (float, stored as float32), (T, H, W), as NIfTI-1 (.nii or .nii.gz).

    Stored as (x, y, 1, T) with x to the right and y down, so that `data[:, :, 0, t].T` is the picture; the affine says the
    same in RAS+ (as ITK does for a picture). spacing_mm: (row, column). Units are marked unknown where spacing is None.
    """
    import nibabel as nib

    array = volume.detach().cpu().numpy() if isinstance(volume, torch.Tensor) else np.asarray(volume)
    if array.ndim != 3 or 0 in array.shape:
        raise OutputError(f"A NIfTI file here needs the shape (T, H, W), not {tuple(array.shape)}.")
    if not np.issubdtype(array.dtype, np.floating) and array.size and (array.min() < 0 or array.max() > 255):
        raise OutputError("Masks to write need labels from 0 to 255.")
    array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.uint8)
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    image = nib.Nifti1Image(array.transpose(2, 1, 0)[:, :, None], np.diag([-column_mm, -row_mm, 1.0, 1.0]))
    image.header.set_xyzt_units("mm" if spacing_mm else "unknown", "sec" if fps else "unknown")
    if fps:
        image.header["pixdim"][4] = 1 / fps
    data = image.to_bytes()
    with atomic_file(path) as temporary:
        # No name and no date in the gzip header.
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if str(path).endswith(".gz") else data)
