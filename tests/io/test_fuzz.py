"""Small sound files of every kind, damaged by Hypothesis: they are read, or refused in one sentence."""

import gzip
import io
import json
from fractions import Fraction

import av
import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from echokdm.core.config import read_values
from echokdm.core.errors import EchoKDMError
from echokdm.core.schemas import IBUG_68, OPENPOSE_COCO_18
from echokdm.data.keypoint_files import read_keypoints
from echokdm.io import read_clip
from echokdm.io.flow_files import read_flo, read_kitti_png
from echokdm.io.tracings import read_labels, read_tracings

FRAMES = np.random.default_rng(0).integers(0, 255, (4, 16, 24)).astype(np.uint8)


def written(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def video(container, codec, pixels):
    def write(file):
        with av.open(file, "w", format=container) as out:
            stream = out.add_stream(codec, rate=Fraction(25))
            stream.height, stream.width, stream.pix_fmt = 16, 24, pixels
            for frame in FRAMES:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, -1), format="rgb24")))
            out.mux(stream.encode())

    return written(write)


def dicom():
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID, ds.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.5.1.4.1.1.3.1",
    )
    ds.SOPClassUID, ds.Modality, ds.PatientName = "1.2.840.10008.5.1.4.1.1.3.1", "US", "DOE^JOHN"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.NumberOfFrames, ds.Rows, ds.Columns = FRAMES.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.FrameTime, ds.PixelSpacing = (
        1,
        "MONOCHROME2",
        "25",
        ["0.5", "0.5"],
    )
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = FRAMES.tobytes()
    ds["PixelData"].VR = "OB"
    return written(lambda file: pydicom.dcmwrite(file, ds, enforce_file_format=True))


def nifti():
    return nibabel.Nifti1Image(FRAMES.transpose(2, 1, 0)[:, :, None], np.eye(4)).to_bytes()


def pts():
    return ("version: 1\nn_points: 68\n{\n" + "\n".join(f"{i}.5 {i + 1}" for i in range(68)) + "\n}\n").encode()


def tracing():
    return b"FileName,X1,Y1,X2,Y2,Frame\n" + b"a.avi,1,2,3,4,0\n" * 3


POSE = json.dumps({"people": [{"pose_keypoints_2d": [1.5] * 54}]}).encode()
CONFIG = b"name: x\nseed: 3\nstages:\n  a: {kind: ingest, from: [1, 2.5, yes]}\n  when: 2024-01-02\n"
KINDS = {
    "npz": (
        lambda: written(lambda file: np.savez_compressed(file, frames=FRAMES, fps=25.0, spacing_mm=(0.3, 0.3))),
        "a.npz",
        read_clip,
    ),
    "nifti": (nifti, "a.nii", read_clip),
    "packed nifti": (lambda: gzip.compress(nifti()), "a.nii.gz", read_clip),
    "dicom": (dicom, "a.dcm", read_clip),
    "avi": (lambda: video("avi", "mjpeg", "yuvj420p"), "a.avi", read_clip),
    "png": (lambda: written(lambda file: Image.fromarray(FRAMES[0]).save(file, "PNG")), "a.png", read_clip),
    "jpeg": (lambda: written(lambda file: Image.fromarray(FRAMES[0]).save(file, "JPEG")), "a.jpg", read_clip),
    "gif": (lambda: written(lambda file: Image.fromarray(FRAMES[0]).save(file, "GIF")), "a.gif", read_clip),
    "masks": (nifti, "a.nii", read_labels),
    "tracings": (tracing, "a.csv", read_tracings),
    "npy": (
        lambda: written(lambda file: np.save(file, np.ones((2, 68, 2)))),
        "a.npy",
        lambda path: read_keypoints(path, IBUG_68),
    ),
    "pts": (pts, "a.pts", lambda path: read_keypoints(path, IBUG_68)),
    "openpose": (lambda: POSE, "a.json", lambda path: read_keypoints(path, OPENPOSE_COCO_18)),
    "flo": (lambda: b"PIEH" + np.array([3, 2], "<i4").tobytes() + bytes(48), "a.flo", read_flo),
    "kitti": (
        lambda: written(lambda file: Image.fromarray(FRAMES[0].astype(np.uint16)).save(file, "PNG")),
        "a.png",
        read_kitti_png,
    ),
    "yaml": (lambda: CONFIG, "a.yaml", read_values),
}
# A place (a share of the file, mostly of its head), and what is put there in place of as many bytes.
WOUND = st.tuples(
    st.floats(0, 1),
    st.booleans(),
    st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from(
            [
                b"\xff" * 4,
                b"\0" * 8,
                b"9" * 40,
                b"[" * 99,
                b"-1",
                b"nan",
                b"1e999",
                b"!!bool x",
                b"2024-99-99",
                b"&a *a",
                b"\x7f\xff\xff\xff",
            ]
        ),
    ),
)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path, kind):
    make, name, read = KINDS[kind]
    sound = make()
    folder = tmp_path / "KOWALSKI"
    folder.mkdir()
    path = folder / name

    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(wounds=st.lists(WOUND, min_size=1, max_size=4), cut=st.one_of(st.just(1.0), st.floats(0, 1)))
    def damage(wounds, cut):
        data = bytearray(sound)
        for share, in_head, what in wounds:
            at = int(share * (min(len(sound), 360) if in_head else len(sound)))
            data[at : at + len(what)] = what
        path.write_bytes(bytes(data[: int(cut * len(data))]))
        try:
            read(path)
        except EchoKDMError as error:
            said = str(error)
            assert "\n" not in said and "KOWALSKI" not in said and "DOE" not in said and len(said) < 400

    damage()
    path.write_bytes(sound)
    if kind not in ("kitti", "yaml"):  # of one channel, and with a date
        read(path)
