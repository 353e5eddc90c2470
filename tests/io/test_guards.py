"""What no reader opens, believes or unpacks; and that whatever else a parser throws is one sentence."""

import gzip
import io
import os
import re
import socket
import struct
import subprocess
import sys
import time
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

import echokdm
from echokdm.core.errors import ClipError, EchoKDMError, GeometryError
from echokdm.core.files import check_plain
from echokdm.core.schemas import IBUG_68
from echokdm.data.adapters.build import read_json
from echokdm.data.adapters.faces import read_pts
from echokdm.data.adapters.folder import open_root
from echokdm.data.keypoint_files import read_keypoints
from echokdm.io import read_clip
from echokdm.io.dicom_video import VIDEO
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


@pytest.fixture(scope="module")
def frames():
    """(6, 32, 48) uint8."""
    return np.random.default_rng(0).integers(0, 255, (6, 32, 48)).astype(np.uint8)


def echo(frames, syntax=ExplicitVRLittleEndian, **tags):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID, ds.file_meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.3.1"
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3", "US"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape[:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = frames.tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    ds["PixelData"].VR = "OB"
    return ds


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


def write_video(file, frames, codec, container, pixels="yuv420p"):
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            out.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(np.repeat(frame[..., None], 3, -1)), format="rgb24")
                )
            )
        out.mux(stream.encode())


def test_a_name_that_reads_as_a_protocol_is_a_name(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.avi|b.avi", "subfile,,start,0,end,9,,:a.avi", "pipe:0"):
        write_video(str(tmp_path / "plain.avi"), frames, "mjpeg", "avi", "yuvj420p")
        (tmp_path / "plain.avi").rename(name)
        assert len(read_clip(Path(name))) == 6


def test_a_container_that_is_no_clips_is_not_opened(tmp_path, frames, monkeypatch):
    write_video(str(tmp_path / "a.ts"), frames, "libx264", "mpegts")
    monkeypatch.setattr("echokdm.io.read.sniff", lambda path: "video")
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path / "a.ts")


def test_a_video_without_a_decoder_is_told(tmp_path, frames):
    write_video(str(tmp_path / "a.avi"), frames, "mjpeg", "avi", "yuvj420p")
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


def test_a_deflated_dicom_that_unpacks_to_gigabytes_is_refused(tmp_path, frames):
    import zlib

    ds = echo(frames, DeflatedExplicitVRLittleEndian)
    ds.save_as(tmp_path / "sound.dcm", enforce_file_format=True)
    assert len(read_clip(tmp_path / "sound.dcm")) == 6
    data = (tmp_path / "sound.dcm").read_bytes()
    start = 132 + 12 + struct.unpack("<I", data[140:144])[0]
    packer = zlib.compressobj(9, wbits=-15)
    zeros = packer.compress(bytes(2**23)) + packer.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "bomb.dcm").write_bytes(data[:start] + zeros * 200 + packer.flush())
    with pytest.raises(ClipError, match="unpacks to more"):
        read_clip(tmp_path / "bomb.dcm")


def jpeg_dicom(folder, frames, form, syntax):
    """Frames compressed by Pillow, in fragments of a DICOM file."""
    files = []
    for frame in frames:
        files.append(io.BytesIO())
        Image.fromarray(frame).save(files[-1], form)
    ds = echo(frames, syntax)
    ds.PixelData = encapsulate([file.getvalue() for file in files])
    ds.save_as(folder / "sound.dcm", enforce_file_format=True)
    return (folder / "sound.dcm").read_bytes()


@pytest.mark.parametrize(
    ("form", "syntax", "marker", "offset", "bomb"),
    [
        ("JPEG", JPEGBaseline8Bit, b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000)),
        ("JPEG2000", JPEG2000, b"\xff\x4f\xff\x51", 8, struct.pack(">LL", 60_000, 60_000)),
        ("JPEG2000", JPEG2000, b"\xff\x4f\xff\x51", 40, struct.pack(">H", 16_384)),
    ],
)  # components
def test_a_compressed_frame_that_declares_more_than_its_header_is_not_decoded(
    tmp_path, frames, monkeypatch, form, syntax, marker, offset, bomb
):
    data = jpeg_dicom(tmp_path, frames, form, syntax)
    assert len(read_clip(tmp_path / "sound.dcm")) == 6
    monkeypatch.setattr("pydicom.pixels.iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))
    at = data.rindex(marker) + offset  # the last frame's
    (tmp_path / "bomb.dcm").write_bytes(data[:at] + bomb + data[at + len(bomb) :])
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path / "bomb.dcm")


PEAK = """
import resource, sys
from echokdm.io import read_clip
read_clip(sys.argv[1])  # what is imported on the way
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames = len(read_clip(sys.argv[2]))
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(frames, more / (2**20 if sys.platform == "darwin" else 2**10))
"""


def test_run_lengths_fill_no_more_than_the_header_declares(tmp_path, frames):
    """A frame of 16 MB whose runs would unpack to 1 GB."""
    for name, runs in (("sound", 12), ("bomb", 2**23)):
        ds = echo(frames[:1], RLELossless)
        ds.PixelData = encapsulate([struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * runs])
        ds.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "sound.dcm"), str(tmp_path / "bomb.dcm")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert told[0] == "1" and float(told[1]) < 200


@pytest.mark.parametrize("read", [read_clip, lambda path: read_clip(path, max_frames=1)])
def test_a_frame_of_absurd_size_is_refused_before_it_is_decoded(tmp_path, read):
    Image.new("L", (8192, 8192)).save(tmp_path / "a.png")
    with pytest.raises(ClipError, match="limit"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("spacing", [(1e-300, 1.0), (1.0, 1e300), (0.01, 10.0), (-1.0, 1.0), (float("nan"), 1.0)])
def test_absurd_spacings_aspects_and_rates_are_not_believed(tmp_path, frames, spacing):
    np.savez(tmp_path / "a.npz", frames=frames, spacing_mm=spacing, fps=1e-300)
    clip = read_clip(tmp_path / "a.npz")
    assert clip.spacing_mm is None and clip.fps == 30 and clip.meta["fps_assumed"]
    echo(
        frames,
        PixelSpacing=[f"{max(abs(value), 1e-9) if value == value else 0:.3g}" for value in spacing],
        FrameTime="1e-12",
    ).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    clip = read_clip(tmp_path / "a.dcm")
    assert clip.spacing_mm in (None, (1.0, 1.0)) and clip.fps == 30
    echo(frames, PixelAspectRatio=["1", "100000"]).save_as(tmp_path / "b.dcm", enforce_file_format=True)
    assert "pixel_aspect" not in read_clip(tmp_path / "b.dcm").meta


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


# -- DICOM of other kinds


def test_native_ybr_full_422_is_read(tmp_path):
    """Y Y Cb Cr of pure red and gray, ITU-R BT.601 over the full range."""
    rows = np.array([[76, 76, 85, 255] * 4, [128, 64, 128, 128] * 4], np.uint8)
    ds = echo(
        np.zeros((6, 2, 8), np.uint8),
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        PlanarConfiguration=0,
        PixelData=np.repeat(rows[None], 6, 0).tobytes(),
    )
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    clip = read_clip(tmp_path / "a.dcm")
    assert clip.frames.shape == (6, 3, 2, 8)
    pixels = clip.frames[5].permute(1, 2, 0).numpy() * 255
    assert np.abs(pixels[0] - (254, 0, 0)).max() <= 2
    assert np.abs(pixels[1, 0] - 128).max() <= 1 and np.abs(pixels[1, 1] - 64).max() <= 1


def video_dicom(tmp_path, frames, syntax, stream, **tags):
    ds = echo(frames, syntax, **tags)
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "video.dcm", enforce_file_format=True)
    return tmp_path / "video.dcm"


@pytest.mark.parametrize(
    ("number", "codec", "container"),
    [
        ("100", "mpeg2video", "mpegts"),
        ("101.1", "mpeg2video", "mpeg2video"),
        ("102", "libx264", "mpegts"),
        ("103", "libx264", "mp4"),
        ("106.1", "libx264", "h264"),
        ("107", "libx265", "hevc"),
    ],
)
def test_dicom_in_video_transfer_syntaxes_is_read(tmp_path, number, codec, container):
    y, x = np.mgrid[0:96, 0:128]
    frames = np.stack([128 + 80 * np.sin((x + 8 * t) / 20) * np.cos(y / 15) for t in range(8)]).round().astype(np.uint8)
    file = io.BytesIO()
    write_video(file, frames, codec, container)
    path = video_dicom(tmp_path, frames, f"1.2.840.10008.1.2.4.{number}", file.getvalue(), FrameTime="40")
    clip = read_clip(path)
    assert clip.frames.shape == (8, 1, 96, 128) and clip.fps == 25
    assert np.abs(clip.frames[:, 0].numpy() * 255 - frames).mean() < 6
    assert len(read_clip(path, max_frames=3)) == 3
    path = video_dicom(tmp_path, frames, f"1.2.840.10008.1.2.4.{number}", file.getvalue(), Rows=64)
    with pytest.raises(ClipError, match="damaged"):
        read_clip(path)


def test_a_video_that_has_no_decoder_is_refused_by_name(tmp_path, frames, monkeypatch):
    monkeypatch.setattr("echokdm.io.dicom_video.has_decoder", lambda codec: False)
    for syntax, (_, name) in VIDEO.items():
        with pytest.raises(ClipError, match=f"{re.escape(name)} video, which has no decoder"):
            read_clip(video_dicom(tmp_path, frames, syntax, b"\0\0\1\xb3"))
    assert pydicom.uid.MPEG2MPML in VIDEO and pydicom.uid.HEVCMP51 in VIDEO
