"""What no reader opens, believes or unpacks; and that whatever else a parser throws is one sentence."""

import gzip
import io
import os
import re
import socket
import time
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from videos import write_video

import echokdm
from echokdm.core.errors import ClipError, EchoKDMError, GeometryError
from echokdm.core.files import check_plain
from echokdm.core.schemas import IBUG_68
from echokdm.data.adapters.build import read_json
from echokdm.data.adapters.faces import read_pts
from echokdm.data.adapters.folder import open_root
from echokdm.data.keypoint_files import read_keypoints
from echokdm.io import read_clip
from echokdm.io.flow_files import read_flo, read_kitti_png
from echokdm.io.images import open_picture
from echokdm.io.tracings import read_labels, read_tracings

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n%%EOF\n"
READERS = {
    "clip": read_clip,
    "tracings": read_tracings,
    "labels": read_labels,
    "json": read_json,
    "pts": read_pts,
    "flo": read_flo,
    "kitti": read_kitti_png,
    "keypoints": lambda path: read_keypoints(path, IBUG_68),
    "root": lambda path: open_root(path, "x"),
}


# -- what is opened at all


@pytest.mark.parametrize("reader", READERS)
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path, reader, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.json")
        for path in (tmp_path / "pipe.json", tmp_path / "socket.json", Path("/dev/zero")):
            began = time.perf_counter()
            with pytest.raises(EchoKDMError, match="pipe, a socket or a device"):
                READERS[reader](path)
            assert time.perf_counter() - began < 5


@pytest.mark.parametrize("reader", READERS)
def test_a_nul_in_a_path_is_told(reader):
    with pytest.raises(EchoKDMError, match="no file's name"):
        READERS[reader](Path("a\0b.json"))


def test_what_is_not_there_is_left_to_the_reader(tmp_path):
    for path in (tmp_path, tmp_path / "missing", __file__):
        assert check_plain(path) == Path(path)


def test_pictures_are_opened_by_a_list_of_formats(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
    for number in range(3):
        (tmp_path / f"frame{number}.png").write_bytes(EPS)
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path)
    for form in ("BMP", "TIFF", "PPM", "GIF"):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, form)
        file.seek(0)
        with pytest.raises(OSError):
            open_picture(file)


def test_nothing_opens_pictures_or_videos_otherwise():
    package = Path(echokdm.__file__).parent
    found = {
        (file.relative_to(package).as_posix(), call)
        for file in package.rglob("*.py")
        for call in re.findall(r"Image\.open\(|av\.open\(|np\.load\(path|nib(?:abel)?\.load\(", file.read_text())
    }
    assert found - {("deid/review.py", "np.load(path")} == {
        ("io/images.py", "Image.open("),
        ("io/video.py", "av.open("),
        ("io/write.py", "av.open("),
    }


def test_a_name_that_reads_as_a_protocol_is_a_name(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.avi|b.avi", "subfile,,start,0,end,9,,:a.avi", "pipe:0"):
        write_video(str(tmp_path / "plain.avi"), frames, "mjpeg", "yuvj420p", container="avi")
        (tmp_path / "plain.avi").rename(name)
        assert len(read_clip(Path(name))) == 6


def test_a_container_that_is_no_clips_is_not_opened(tmp_path, frames, monkeypatch):
    write_video(str(tmp_path / "a.ts"), frames, "libx264", container="mpegts")
    monkeypatch.setattr("echokdm.io.read.sniff", lambda path: "video")
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path / "a.ts")


def test_a_video_without_a_decoder_is_told(tmp_path, frames):
    write_video(str(tmp_path / "a.avi"), frames, "mjpeg", "yuvj420p", container="avi")
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(data.replace(b"MJPG", b"XQZW"))
    with pytest.raises(ClipError, match="no decoder"):
        read_clip(tmp_path / "a.avi")


# -- bombs


def packed_zeros(mebibytes):
    """As a gzip file: its members may be put one behind another."""
    return gzip.compress(bytes(2**20)) * mebibytes


@pytest.mark.parametrize("name", ["a.nii.gz", "a.gz", "a.nii", "a.dat"])
def test_a_packed_nifti_is_unpacked_no_further_than_it_declares(tmp_path, frames, name):
    file = nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.eye(4)).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(file) + packed_zeros(3000))
    import tracemalloc

    tracemalloc.start()
    assert len(read_clip(tmp_path / name)) == 6
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_nifti_that_declares_too_much_is_refused_before_it_is_unpacked(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.complex128)
    header.set_data_shape((8192, 8192, 4))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(ClipError, match="limit"):
        read_clip(tmp_path / "a.nii")
    header.set_data_shape((64, 64, 4))
    header["vox_offset"] = 1e12
    (tmp_path / "b.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path / "b.nii")


@pytest.mark.parametrize("name", ["frames", "fps", "spacing_mm"])
def test_an_npz_whose_header_declares_too_much_is_refused(tmp_path, frames, name):
    sound = {"frames": frames, "fps": 25.0, "spacing_mm": (1, 1)}
    del sound[name]
    np.savez(tmp_path / "a.npz", **sound)
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{name}.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 64, 64)})
    with pytest.raises(ClipError, match="limit" if name == "frames" else f"`{name}`"):
        read_clip(tmp_path / "a.npz")


def test_an_npy_whose_header_declares_too_much_is_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 68, 2)})
    with pytest.raises(GeometryError, match="no array"):
        read_keypoints(tmp_path / "a.npy", IBUG_68)


@pytest.mark.parametrize("read", [read_clip, lambda path: read_clip(path, max_frames=1)])
def test_a_frame_of_absurd_size_is_refused_before_it_is_decoded(tmp_path, read):
    Image.new("L", (8192, 8192)).save(tmp_path / "a.png")
    with pytest.raises(ClipError, match="limit"):
        read(tmp_path / "a.png")


# -- odd contents


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fps": [25.0, 30.0]}, "one number"),
        ({"fps": 3 + 4j}, "one number"),
        ({"fps": "25"}, "one number"),
        ({"spacing_mm": 0.3}, "two numbers"),
        ({"spacing_mm": np.ones((2, 2))}, "two numbers"),
        ({"frames": np.full((6, 8, 8), 1e300)}, "32 bits"),
        ({"frames": np.full((6, 8, 8), np.nan)}, "not numbers"),
    ],
)
def test_odd_arrays_of_an_npz_are_refused_by_name(tmp_path, frames, fields, words):
    np.savez(tmp_path / "a.npz", **({"frames": frames} | fields))
    with pytest.raises(ClipError, match=words):
        read_clip(tmp_path / "a.npz")


def test_an_npz_packed_otherwise_is_refused(tmp_path, frames):
    np.savez(tmp_path / "a.npz", frames=frames)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        data = archive.read("frames.npy")
    for way in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "b.npz", "w", way) as archive:
            archive.writestr("frames.npy", data)
        with pytest.raises(ClipError, match="savez_compressed"):
            read_clip(tmp_path / "b.npz")


@pytest.mark.parametrize("units", [5, 7, 40, 255])
def test_unknown_units_of_a_nifti_are_no_rate(tmp_path, frames, units):
    image = nibabel.Nifti1Image(frames.transpose(2, 1, 0)[:, :, None], np.eye(4))
    image.header["xyzt_units"] = units
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    clip = read_clip(tmp_path / "a.nii")
    assert len(clip) == 6 and clip.meta["fps_assumed"]


def test_the_known_faults_are_one_sentence(test_data):
    expected = {
        "npz_enc.npz": "encrypted",
        "npz_lzma-bad.npz": "savez_compressed",
        "npz_fps2.npz": "one number",
        "npz_fpsc.npz": "one number",
        "npz_sp0.npz": "two numbers",
        "npz_sp22.npz": "two numbers",
        "e300.nii": "32 bits",
    }
    for name, words in expected.items():
        with pytest.raises(ClipError, match=words):
            read_clip(test_data / "faults" / name)
    for name in ("xyzt255.nii", "xyzt5.nii"):
        assert len(read_clip(test_data / "faults" / name)) == 12
