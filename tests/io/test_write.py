"""Writers: what is written reads back, and the same frames give the same bytes."""

from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from echokdm.core.errors import OutputError
from echokdm.core.frames import LongFrames
from echokdm.core.seeding import generator
from echokdm.io.write import (
    gif_durations,
    strip,
    to_uint8,
    write_avi,
    write_gif,
    write_mp4,
    write_nifti,
    write_png_strip,
)


def moving_blob(frames: int = 6, height: int = 112, width: int = 112, channels: int = 1) -> torch.Tensor:
    """A smooth bright spot that walks to the right; every frame and pixel is told apart."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clip = torch.stack([torch.exp(-((x - 20 - 10 * t) ** 2 + (y - 40) ** 2) / 400) for t in range(frames)])[:, None]
    tint = torch.linspace(1, 0.4, channels).view(1, channels, 1, 1)
    return (clip * tint).float()


def decode(path: Path) -> tuple[np.ndarray, float, str]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), float(stream.average_rate), stream.codec_context.name


@pytest.mark.parametrize("channels", [1, 3])
def test_mp4_reads_back(tmp_path: Path, channels: int) -> None:
    clip = moving_blob(channels=channels)
    write_mp4(tmp_path / "a.mp4", clip, fps=29.97)
    frames, fps, codec = decode(tmp_path / "a.mp4")
    truth = to_uint8(clip) if channels == 3 else to_uint8(clip)[..., None].repeat(3, -1)
    assert codec == "h264" and fps == pytest.approx(29.97, abs=1e-3) and frames.shape == truth.shape
    assert np.abs(frames.astype(int) - truth).mean() < 2


def test_mp4_pads_odd_sizes_and_enlarges_by_whole_pixels(tmp_path: Path) -> None:
    clip = moving_blob(2, 31, 45)
    write_mp4(tmp_path / "odd.mp4", clip, 25)
    assert decode(tmp_path / "odd.mp4")[0].shape == (2, 32, 46, 3)
    write_mp4(tmp_path / "big.mp4", clip, 25, scale=4, crf=1)
    frames, _, _ = decode(tmp_path / "big.mp4")
    assert frames.shape == (2, 124, 180, 3)
    assert np.abs(frames[:, 1::4, 1::4, 0].astype(int) - to_uint8(clip)).max() <= 4


def test_mp4_index_comes_first(tmp_path: Path) -> None:
    """So that a browser starts before the whole file is there."""
    write_mp4(tmp_path / "a.mp4", moving_blob(), 30)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_avi_is_motion_jpeg_with_equal_channels(tmp_path: Path) -> None:
    clip = moving_blob()
    write_avi(tmp_path / "a.avi", clip, 50)
    frames, fps, codec = decode(tmp_path / "a.avi")
    assert codec == "mjpeg" and fps == 50 and frames.shape == (6, 112, 112, 3)
    assert (frames == frames[..., :1]).all()
    assert np.abs(frames[..., 0].astype(int) - to_uint8(clip)).max() <= 4
    assert b"MJPG" in (tmp_path / "a.avi").read_bytes()[:512]


def test_avi_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="112 x 112"):
        write_avi(tmp_path / "a.avi", moving_blob(2, 64, 80), 50)
    assert not list(tmp_path.iterdir())
    write_avi(tmp_path / "a.avi", moving_blob(2, 64, 80), 50, size=None)
    assert decode(tmp_path / "a.avi")[0].shape == (2, 64, 80, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_reads_back_and_lasts_as_long(tmp_path: Path, channels: int) -> None:
    clip = moving_blob(channels=channels)
    write_gif(tmp_path / "a.gif", clip, fps=30, scale=2)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 6 and picture.size == (224, 224) and picture.info["loop"] == 0
        shown, lasted = [], 0
        for i in range(6):
            picture.seek(i)
            lasted += picture.info["duration"]
            shown.append(np.asarray(picture.convert("RGB")))
    truth = to_uint8(clip) if channels == 3 else to_uint8(clip)[..., None].repeat(3, -1)
    assert lasted == 200
    assert np.abs(np.stack(shown)[:, ::2, ::2].astype(int) - truth).mean() < (2 if channels == 3 else 1e-9)


def test_gif_durations_spread_the_rounding() -> None:
    assert gif_durations(3, 30) == [30, 40, 30] and sum(gif_durations(300, 30)) == 10_000
    assert gif_durations(2, 80) == [20, 20]  # browsers slow down below 20 ms


def test_strip_takes_evenly_spread_frames(tmp_path: Path) -> None:
    clip = torch.linspace(0, 1, 11).view(11, 1, 1, 1).expand(11, 1, 4, 6)
    picture = strip(clip, 1 - clip, count=3, scale=2, gap=1)
    assert picture.shape == (2 * 8 + 1, 3 * 12 + 2)
    assert [picture[0, x] for x in (0, 13, 26)] == [0, 128, 255] and [picture[9, x] for x in (0, 13, 26)] == [
        255,
        128,
        0,
    ]
    assert picture[8, 0] == 255 and picture[0, 12] == 255
    write_png_strip(tmp_path / "s.png", clip, clip.expand(11, 3, 4, 6), count=20)
    with Image.open(tmp_path / "s.png") as image:
        assert image.mode == "RGB" and image.size == (11 * 8 - 2, 2 * 6 - 2)
    with pytest.raises(OutputError, match="one size"):
        strip(clip, clip[:, :, :3])


def test_strip_of_a_long_gray_clip_beside_a_coloured_one() -> None:
    clip = torch.linspace(0, 1, 11).view(11, 1, 1, 1).expand(11, 1, 4, 6)
    coloured = clip.expand(11, 3, 4, 6)
    long = LongFrames(11, lambda rows: clip[torch.as_tensor(rows)])
    assert (strip(long, coloured, count=3) == strip(clip, coloured, count=3)).all()


def test_nifti_keeps_axes_spacing_and_time(tmp_path: Path) -> None:
    masks = np.zeros((3, 5, 7), bool)
    masks[2, 1, 6] = True
    write_nifti(tmp_path / "m.nii.gz", masks, spacing_mm=(0.4, 0.3), fps=50)
    image = nib.load(tmp_path / "m.nii.gz")
    data = np.asarray(image.dataobj)
    assert data.dtype == np.uint8 and data.shape == (7, 5, 1, 3) and data[6, 1, 0, 2] == 1 and data.sum() == 1
    assert image.header.get_zooms() == pytest.approx((0.3, 0.4, 1, 0.02)) and image.header.get_xyzt_units() == (
        "mm",
        "sec",
    )
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    write_nifti(tmp_path / "f.nii", np.full((2, 4, 4), 0.25))
    image = nib.load(tmp_path / "f.nii")
    assert image.get_data_dtype() == np.float32 and image.header.get_xyzt_units() == ("unknown", "unknown")
    with pytest.raises(OutputError, match="0 to 255"):
        write_nifti(tmp_path / "m.nii", np.full((1, 2, 2), 256))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.mp4", lambda path, clip: write_mp4(path, clip, 30)),
        ("a.avi", lambda path, clip: write_avi(path, clip, 30)),
        ("a.gif", lambda path, clip: write_gif(path, clip, 30)),
        ("a.png", lambda path, clip: write_png_strip(path, clip)),
        ("a.nii.gz", lambda path, clip: write_nifti(path, clip[:, 0], (1, 1), 30)),
    ],
)
def test_same_frames_same_bytes(tmp_path: Path, name: str, write) -> None:
    clip = moving_blob()
    write(tmp_path / "1" / name, clip)
    write(tmp_path / "2" / name, clip)
    first, second = ((tmp_path / folder / name).read_bytes() for folder in "12")
    assert first == second and len(first) > 100


def test_large_films_are_the_same_bytes_too(tmp_path: Path) -> None:
    """As the page's, source beside result: what x264 sums over them must not depend on what was in memory before."""
    film = F.interpolate(torch.rand(12, 1, 151, 402, generator=generator(0)), (600, 1608), mode="bilinear").numpy()
    for number in range(6):
        used = [np.random.default_rng(number).random(10**5 * (number + i)) for i in range(1, 6)]
        write_mp4(tmp_path / f"{number}.mp4", film, 25.0)
    assert used and len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    ("shape", "value"), [((0, 1, 8, 8), 0), ((2, 2, 8, 8), 0), ((2, 8, 8), 0), ((1, 1, 8, 8), torch.nan)]
)
def test_frames_that_are_none_are_refused(tmp_path: Path, shape: tuple[int, ...], value: float) -> None:
    with pytest.raises(OutputError):
        write_mp4(tmp_path / "a.mp4", torch.full(shape, float(value)), 30)
    assert not list(tmp_path.iterdir())


def test_rounding_and_clamping() -> None:
    values = torch.tensor([-0.1, 0.0, 0.5 / 255, 0.51 / 255, 1.0, 1.7]).view(1, 1, 1, 6)
    assert to_uint8(values)[0, 0].tolist() == [0, 0, 0, 1, 255, 255]
