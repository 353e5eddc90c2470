"""DICOM that declares too much, unpacks to more than it declares, says what cannot be, or holds a video."""

import io
import re
import struct
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from videos import write_video

from echokdm.core.errors import ClipError
from echokdm.io import read_clip
from echokdm.io.dicom_video import VIDEO


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
        ("JPEG2000", JPEG2000, b"\xff\x4f\xff\x51", 40, struct.pack(">H", 16_384)),  # components
    ],
)
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
    write_video(file, frames, codec, container=container)
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
