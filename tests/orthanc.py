"""A real archive: Orthanc, started on free ports of the loopback interface with a folder of its own; and clips of
patients for it."""

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from echokdm.phantom.a4c import A4CPhantom

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PLANTED = ("KOWALSKI", "KLARA", "PID-77031", "19411207", "20190314", "1.2.826.0.1.77", "ACC-5512", "St. Hedwig")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Orthanc:
    """web, dimse: its doors' URLs. port: where it sends what C-MOVE orders to ECHOKDM."""

    rest: str
    web: str
    dimse: str
    port: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.rest}/{path}") as reply:
            return bytes(reply.read())

    def files(self) -> list[bytes]:
        """All that it holds."""
        return [self.get(f"instances/{one}/file") for one in json.loads(self.get("instances"))]

    def objects(self) -> list[pydicom.Dataset]:
        """The same, read."""
        return [pydicom.dcmread(io.BytesIO(file)) for file in self.files()]

    def clear(self) -> None:
        for one in json.loads(self.get("patients")):
            urllib.request.urlopen(urllib.request.Request(f"{self.rest}/patients/{one}", method="DELETE")).close()


WANTING = (
    ""
    if PROGRAM and PLUGIN.exists()
    else "needs the archive Orthanc with its DICOMweb plugin, Debian's orthanc and orthanc-dicomweb"
)


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Orthanc, for as long as the block lasts. folder: empty."""
    web, dicom, ours = free_port(), free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "files"),
        "IndexDirectory": str(folder / "files"),
        "HttpPort": web,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomModalities": {"ours": ["ECHOKDM", "127.0.0.1", ours]},
        "DicomCheckCalledAet": True,
        "OverwriteInstances": False,
        "DicomAssociationCloseDelay": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROGRAM, str(folder / "settings.json")], stdout=log, stderr=log)
    made = Orthanc(
        f"http://127.0.0.1:{web}", f"http://127.0.0.1:{web}/dicom-web", f"dimse://ORTHANC@127.0.0.1:{dicom}", ours
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                made.get("system")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def planted(folder: Path, count: int, first: int = 8_200_000) -> list[Path]:
    """DICOM clips of simulated hearts, each of a patient whose name, ID, dates and UIDs are PLANTED; files named so
    too."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for n, clip in enumerate(A4CPhantom(range(first, first + count)).clip(20.0)):
        pixels = np.rint(clip.frames[:10, 0].numpy() * 255).astype(np.uint8)
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.826.0.1.77.{n // 2}.1.{n}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.826.0.1.77.{n // 2}", f"1.2.826.0.1.77.{n // 2}.1"
        ds.Modality, ds.InstitutionName, ds.AccessionNumber = "US", "St. Hedwig", "ACC-5512"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "KOWALSKI^KLARA", f"PID-77031-{n // 2}", "19411207"
        ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20190314"
        ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.FrameTime, ds.FrameIncrementPointer, ds.PixelData = "50", 0x00181063, pixels.tobytes()
        ds["PixelData"].VR = "OB"
        made.append(folder / f"KOWALSKI_{n}.dcm")
        ds.save_as(made[-1], enforce_file_format=True)
    return made
