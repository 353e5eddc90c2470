"""Clips of every kind but DICOM, told apart by content."""

import shutil
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image
from videos import write_video

from echokdm.core.errors import ClipError
from echokdm.io import raw, read_clip, require_motion


@pytest.fixture(scope="module")
def frames(fan):
    """(6, 96, 128) uint8."""
    return np.round(fan(96, 128, (64, 6), -38, 38, 4, 82, frames=6, text=False) * 255).astype(np.uint8)


def error_to(clip, frames):
    return float(np.abs(clip.gray[:, 0].numpy() * 255 - frames).mean())


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "limit"),
    [
        ("avi", "mjpeg", "yuvj420p", 4.0),
        ("mp4", "libx264", "yuv420p", 4.0),
        ("mov", "libx264", "yuv420p", 4.0),
        ("avi", "rawvideo", "bgr24", 0.6),
    ],
)
def test_video_comes_back_gray_at_its_rate(tmp_path, frames, suffix, codec, pixels, limit):
    path = tmp_path / "no suffix tells"
    write_video(path, frames, codec, pixels, 25, suffix, **({"crf": 10} if codec == "libx264" else {}))
    clip = read_clip(path)
    assert clip.frames.shape == (6, 1, 96, 128)
    assert clip.fps == pytest.approx(25) and clip.meta["fps_assumed"] is False and clip.meta["format"] == "video"
    assert error_to(clip, frames) < limit


def test_a_coloured_video_keeps_its_colour(tmp_path, frames):
    coloured = np.repeat(frames[..., None], 3, -1).copy()
    coloured[3:, 30:60, 40:80] = (200, 30, 30)
    write_video(tmp_path / "c.mp4", coloured, "libx264", "yuv420p", crf=10)
    clip = read_clip(tmp_path / "c.mp4")
    assert clip.frames.shape == (6, 3, 96, 128)
    assert np.abs(clip.frames[4, :, 45, 60].numpy() * 255 - (200, 30, 30)).max() < 12


def test_gif_with_its_frame_times(tmp_path, frames):
    images = [Image.fromarray(f) for f in frames]
    images[0].save(tmp_path / "clip.bin", "GIF", save_all=True, append_images=images[1:], duration=50, loop=0)
    clip = read_clip(tmp_path / "clip.bin")
    assert clip.frames.shape == (6, 1, 96, 128) and clip.meta["format"] == "gif"
    assert clip.fps == pytest.approx(20) and error_to(clip, frames) < 1


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float", "channels", "rgb"])
def test_npz_in_every_layout(tmp_path, frames, kind):
    stored = {
        "uint8": frames,
        "uint16": frames.astype(np.uint16) * 16,
        "float": frames / np.float32(255),
        "channels": frames[:, None],
        "rgb": np.repeat(frames[..., None], 3, -1),
    }[kind]
    np.savez_compressed(tmp_path / "a.npz", frames=stored, fps=42.0, spacing_mm=np.array([0.5, 0.25]))
    clip = read_clip(tmp_path / "a.npz")
    assert clip.frames.shape == (6, 1, 96, 128) and clip.fps == 42 and clip.spacing_mm == (0.5, 0.25)
    assert error_to(clip, frames) < 0.3


def test_npz_never_unpickles_and_says_what_is_missing(tmp_path, frames):
    np.savez(tmp_path / "objects.npz", frames=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "other.npz", pixels=frames)
    np.savez(tmp_path / "flat.npz", frames=frames[0, 0])
    for name, words in (("objects", "frames"), ("other", "no array named"), ("flat", "shape")):
        with pytest.raises(ClipError, match=words):
            read_clip(tmp_path / f"{name}.npz")


def test_absurd_sizes_are_refused_before_anything_is_decoded(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "huge.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("frames.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (100000, 4096, 4096)}
        )
    with pytest.raises(ClipError, match="limit"):
        read_clip(tmp_path / "huge.npz")
    with pytest.raises(ClipError, match="limit"):
        raw.check_size(33, 2**12, 2**13)
    raw.check_size(32, 2**12, 2**13)
    with pytest.raises(ClipError, match="limit"):
        raw.check_size(1, 2**13, 2**13)  # one frame, which no file can spare the memory


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "renamed.dat"])
@pytest.mark.parametrize("four", [False, True])
def test_nifti_axes_time_and_spacing(tmp_path, frames, name, four):
    volume = frames.transpose(2, 1, 0)
    image = nibabel.Nifti1Image(volume[:, :, None] if four else volume, np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((0.3, 0.15, 1.0, 0.02) if four else (0.3, 0.15, 1.0))
    nibabel.save(image, tmp_path / ("b.nii.gz" if name == "renamed.dat" else name))
    if name == "renamed.dat":
        shutil.move(tmp_path / "b.nii.gz", tmp_path / name)
    clip = read_clip(tmp_path / name)
    assert clip.frames.shape == (6, 1, 96, 128) and error_to(clip, frames) < 1e-3
    assert clip.spacing_mm == pytest.approx((0.15, 0.3))  # row, column
    assert clip.meta["fps_assumed"] is not four and clip.fps == pytest.approx(50 if four else 30)


def test_nifti_is_turned_apex_up(tmp_path, frames):
    nibabel.save(nibabel.Nifti1Image(frames[:, ::-1].transpose(2, 1, 0), np.eye(4)), tmp_path / "down.nii.gz")
    clip = read_clip(tmp_path / "down.nii.gz")
    assert clip.meta["flipped"] == "vertical" and error_to(clip, frames) < 1e-3


def test_a_nifti_volume_of_several_slices_is_no_clip(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 20, 5, 4), np.uint8), np.eye(4)), tmp_path / "v.nii.gz")
    with pytest.raises(ClipError, match="one plane"):
        read_clip(tmp_path / "v.nii.gz")


def test_frame_folder_in_natural_order(tmp_path, frames):
    for number, frame in zip((1, 2, 3, 10, 11, 100), frames, strict=True):
        Image.fromarray(frame).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    clip = read_clip(tmp_path)
    assert clip.frames.shape == (6, 1, 96, 128) and error_to(clip, frames) < 1e-3
    assert clip.fps == 30 and clip.meta["fps_assumed"] is True
    assert error_to(read_clip(tmp_path, max_frames=4), frames[:4]) < 1e-3
    Image.fromarray(frames[0][:50]).save(tmp_path / "frame4.png")
    with pytest.raises(ClipError, match="differ in size"):
        read_clip(tmp_path)


def test_sixteen_bit_images_keep_their_depth(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "f1.png")
    clip = read_clip(tmp_path / "f1.png")
    assert np.abs(clip.frames[0, 0].numpy() - ramp / 65535).max() < 1e-5


def test_one_image_is_read_but_has_no_motion(tmp_path, frames):
    Image.fromarray(frames[0]).save(tmp_path / "one.jpg", quality=95)
    clip = read_clip(tmp_path / "one.jpg")
    assert clip.frames.shape == (1, 1, 96, 128)
    with pytest.raises(ClipError, match="cine loop"):
        require_motion(clip)


def test_a_still_repeated_has_no_motion(tmp_path, frames):
    np.savez(tmp_path / "still.npz", frames=np.repeat(frames[:1], 5, 0))
    with pytest.raises(ClipError, match="Nothing moves"):
        require_motion(read_clip(tmp_path / "still.npz"))
    np.savez(tmp_path / "moving.npz", frames=frames)
    require_motion(read_clip(tmp_path / "moving.npz"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"just some text, long enough to be looked at" * 20, "not a clip"),
        (b"\x1f\x8bnot really gzip", "not a clip"),
        (b"PK\x03\x04" + b"\0" * 400, "truncated"),
        (b"GIF89a" + b"\0" * 30, "truncated"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 99, "truncated"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_sentence(tmp_path, content, words):
    path = tmp_path / "Doe_John_1950.mp4"
    path.write_bytes(content)
    with pytest.raises(ClipError, match=words) as caught:
        read_clip(path)
    assert "Doe" not in str(caught.value) and caught.value.__cause__ is None


def test_nothing_there_and_empty_folder(tmp_path):
    with pytest.raises(ClipError, match="can't be opened"):
        read_clip(tmp_path / "missing.mp4")
    with pytest.raises(ClipError, match="no PNG or JPEG"):
        read_clip(tmp_path)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_a_video_cut_short_is_refused(tmp_path, fan, suffix):
    frames = np.round(fan(96, 128, (64, 6), -38, 38, 4, 82, frames=20, text=False) * 255).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    write_video(path, frames, "mjpeg" if suffix == "avi" else "libx264", "yuvj420p" if suffix == "avi" else "yuv420p")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClipError, match="truncated"):
        read_clip(path)


def test_max_frames_and_subject(tmp_path, frames):
    np.savez(tmp_path / "a.npz", frames=frames)
    clip, short = read_clip(tmp_path / "a.npz"), read_clip(tmp_path / "a.npz", max_frames=2)
    assert len(short) == 2 and short.subject == clip.subject and len(clip.subject) == 16
    np.savez(tmp_path / "b.npz", frames=frames[1:])
    assert read_clip(tmp_path / "b.npz").subject != clip.subject
    with pytest.raises(ClipError, match="at least one"):
        read_clip(tmp_path / "a.npz", max_frames=0)


def test_real_clip_of_both_kinds(test_data):
    video = read_clip(test_data / "echo/a4c_echotracker.mp4", max_frames=3)
    assert video.frames.shape == (3, 1, 768, 1024) and video.fps == 20
    array = read_clip(test_data / "echo/a4c_echotracker.npz")
    assert array.frames.shape == (45, 1, 192, 256) and array.meta["fps_assumed"]
    small = video.frames[0, 0].reshape(192, 4, 256, 4).mean((1, 3))
    assert float((small - array.frames[0, 0]).abs().mean()) < 0.02
