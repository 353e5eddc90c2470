"""DICOM out: conformant attributes (PS3.3 A.7), exact pixels, nothing of the source, the same bytes twice."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from echokdm.core.errors import OutputError
from echokdm.core.types import Clip
from echokdm.io.dicom_out import Origin, write_dicom
from echokdm.io.write import to_uint8

HASH = "ab" * 32

# Type 1: present with a value. Type 2: present, may be empty. By module of the US Multi-frame Image IOD.
TYPE_1 = {
    "General Study C.7.2.1": ["StudyInstanceUID"],
    "General Series C.7.3.1": ["Modality", "SeriesInstanceUID"],
    "Image Pixel C.7.6.3": [
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelData",
    ],
    "Cine C.7.6.5 (1C, pointed at)": ["FrameTime"],
    "Multi-frame C.7.6.6": ["NumberOfFrames", "FrameIncrementPointer"],
    "SOP Common C.12.1": ["SOPClassUID", "SOPInstanceUID"],
}
TYPE_2 = {
    "Patient C.7.1.1": ["PatientName", "PatientID", "PatientBirthDate", "PatientSex"],
    "General Study C.7.2.1": ["StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"],
    "General Series C.7.3.1": ["SeriesNumber"],
    "General Equipment C.7.5.1": ["Manufacturer"],
    "General Image C.7.6.1": ["InstanceNumber", "PatientOrientation"],
    "US Image C.8.5.6": ["ImageType"],
}
REGION_TYPE_1 = [
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
    "PhysicalUnitsXDirection",
    "PhysicalUnitsYDirection",
    "PhysicalDeltaX",
    "PhysicalDeltaY",
    "RegionSpatialFormat",
    "RegionDataType",
    "RegionFlags",
]


def noise(frames: int = 5, channels: int = 1, height: int = 41, width: int = 33) -> torch.Tensor:
    return torch.rand(frames, channels, height, width, generator=torch.Generator().manual_seed(0))


def check_conformance(ds: Dataset) -> None:
    for module, keywords in TYPE_1.items():
        for keyword in keywords:
            assert keyword in ds and ds[keyword].value not in (None, ""), f"{module}: {keyword}"
    for module, keywords in TYPE_2.items():
        for keyword in keywords:
            assert keyword in ds, f"{module}: {keyword}"
    for element in ds.iterall():  # each value is valid for its VR
        for value in element.value if element.VM > 1 and element.VR != "OB" else [element.value]:
            if element.VR in ("CS", "LO", "SH", "DS", "IS", "UI", "PN", "ST"):
                pydicom.valuerep.validate_value(element.VR, str(value), pydicom.config.RAISE)
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    uids = [ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID]
    assert len(set(uids)) == 3 and all(UID(uid).is_valid for uid in uids)
    assert len(ds.PixelData) % 2 == 0 and ds["PixelData"].VR == "OB"
    assert ds.HighBit == ds.BitsStored - 1 and ds.BitsStored <= ds.BitsAllocated


@pytest.mark.parametrize("channels", [1, 3])
def test_conformant_and_exact(tmp_path: Path, channels: int) -> None:
    clip = noise(channels=channels)  # 5 * 41 * 33 bytes is odd: the padding byte is exercised
    uid_of = write_dicom(tmp_path / "a.dcm", Clip(clip, 30, (0.9, 0.8)), Origin(HASH), mask_verified=True)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    check_conformance(ds)
    assert ds.SOPInstanceUID == uid_of["instance"] and ds.SeriesInstanceUID == uid_of["series"]
    assert ds.PhotometricInterpretation == ("RGB" if channels == 3 else "MONOCHROME2")
    assert np.array_equal(ds.pixel_array, to_uint8(clip))
    assert ds[ds.FrameIncrementPointer].keyword == "FrameTime" and float(ds.FrameTime) == pytest.approx(1000 / 30)
    assert ds.CineRate == 30


def test_marked_synthetic_and_de_identified(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", Clip(noise(), 30), Origin(HASH, description="EF 35 %"), mask_verified=True)
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert list(ds.ImageType)[:2] == ["DERIVED", "SECONDARY"] and ds.DerivationDescription
    assert ds.SeriesDescription == "SYNTHETIC EF 35 %" and ds.SyntheticData == "YES"
    assert ds.PatientIdentityRemoved == "YES" and ds.BurnedInAnnotation == "NO"
    codes = [(code.CodeValue, code.CodingSchemeDesignator) for code in ds.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113101", "DCM")]
    equipment = ds.ContributingEquipmentSequence[0]
    assert (
        HASH in equipment.ContributionDescription and equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    )
    assert equipment.Manufacturer
    assert "SequenceOfUltrasoundRegions" not in ds  # no spacing, no calibration
    assert not any(element.value for element in ds.iterall() if element.VR in ("DA", "TM", "DT"))


def test_clean_pixels_are_claimed_only_where_verified(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", Clip(noise(), 30), Origin(HASH))
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    assert ds.BurnedInAnnotation != "NO"
    assert [code.CodeValue for code in ds.DeidentificationMethodCodeSequence] == ["113100"]


def test_region_carries_the_spacing(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", Clip(noise(), 30, (0.9, 0.8), meta={"region": (1, 2, 30, 40)}), Origin(HASH))
    region = pydicom.dcmread(tmp_path / "a.dcm").SequenceOfUltrasoundRegions[0]
    assert all(keyword in region for keyword in REGION_TYPE_1)
    assert (region.RegionSpatialFormat, region.RegionDataType) == (1, 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert (region.PhysicalDeltaX, region.PhysicalDeltaY) == pytest.approx((0.08, 0.09))
    assert (region.RegionLocationMinX0, region.RegionLocationMaxY1) == (1, 40)
    with pytest.raises(OutputError, match="region"):
        write_dicom(tmp_path / "b.dcm", Clip(noise(), 30, (1, 1), meta={"region": (0, 0, 33, 40)}), Origin(HASH))
    assert not (tmp_path / "b.dcm").exists()


def test_same_run_same_bytes_other_run_other_uids(tmp_path: Path) -> None:
    def write(name: str, frames: torch.Tensor, seed: int) -> tuple[bytes, dict[str, str]]:
        uid_of = write_dicom(tmp_path / name, Clip(frames, 30), Origin(HASH, entropy=[f"seed {seed}"]))
        return (tmp_path / name).read_bytes(), uid_of

    first, uids = write("a.dcm", noise(), 0)
    again, same = write("b.dcm", noise(), 0)
    assert first == again and uids == same
    for other in (write("c.dcm", noise(), 1), write("d.dcm", 1 - noise(), 0)):
        assert not set(other[1].values()) & set(uids.values())


def test_long_and_odd_rates(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", Clip(noise(1), 1001 / 37.123456789), Origin(HASH, description="x" * 200))
    ds = pydicom.dcmread(tmp_path / "a.dcm")
    check_conformance(ds)
    assert ds.NumberOfFrames == 1 and len(ds.SeriesDescription) <= 64
    for fps in (10_001, float("inf")):
        with pytest.raises(OutputError):
            write_dicom(tmp_path / "b.dcm", Clip(noise(), fps), Origin(HASH))
