"""A de-identified data set, built anew from a whitelist: nothing of the source's header but checked numbers gets in.

PS3.15 Annex E, Basic Application Level Confidentiality Profile: what the profile removes, empties or replaces is never
copied, and neither is anything that it does not name, private attributes, overlays and curves among them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from echokdm.deid.identity import Identity
from echokdm.deid.reasons import Reason, Refusal
from echokdm.io.dicom_out import US_MULTIFRAME, code_item, region_item

if TYPE_CHECKING:
    from pydicom import Dataset

WRITTEN = frozenset(
    (
        # SOP Common (PS3.3 C.12.1), Patient (C.7.1.1), General Study (C.7.2.1), General Series (C.7.3.1), General
        # Equipment (C.7.5.1)
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "LongitudinalTemporalInformationModified",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "AccessionNumber",
        "StudyID",
        "Modality",
        "SeriesInstanceUID",
        "SeriesNumber",
        "Laterality",
        "Manufacturer",
        # General Image (C.7.6.1), Image Pixel (C.7.6.3), Cine (C.7.6.5), Multi-frame (C.7.6.6), US Image (C.8.5.6)
        "InstanceNumber",
        "PatientOrientation",
        "ImageType",
        "BurnedInAnnotation",
        "LossyImageCompression",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelAspectRatio",
        "PixelData",
        "NumberOfFrames",
        "FrameIncrementPointer",
        "FrameTime",
        "UltrasoundColorDataPresent",
        # US Region Calibration (C.8.5.5)
        "SequenceOfUltrasoundRegions",
        "RegionSpatialFormat",
        "RegionDataType",
        "RegionFlags",
        "RegionLocationMinX0",
        "RegionLocationMinY0",
        "RegionLocationMaxX1",
        "RegionLocationMaxY1",
        "PhysicalUnitsXDirection",
        "PhysicalUnitsYDirection",
        "PhysicalDeltaX",
        "PhysicalDeltaY",
    )
)
"""Every attribute that a de-identified file may hold, at any depth."""


class Facts(NamedTuple):
    """What is kept of a source's header. fps: frames a second. fps_from: "header", "mean" or "assumed".

    spacing_mm: (row, column) or None. region: inclusive x0, y0, x1, y1 inside the picture, or None. pixel_aspect: row
    over column spacing where only that is known, else 1. lossy: whether the source was ever compressed with loss.
    """

    fps: float
    fps_from: str
    spacing_mm: tuple[float, float] | None
    region: tuple[int, int, int, int] | None
    pixel_aspect: float
    lossy: bool


def build(frames: np.ndarray, facts: Facts, identity: Identity) -> "Dataset":
    """The data set of masked frames, (T, H, W) uint8, whose mask has been checked."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = US_MULTIFRAME, identity.instance
    _add_patient_and_study(ds, identity, facts)
    _add_image(ds, frames, facts)
    if facts.spacing_mm is not None:
        ds.SequenceOfUltrasoundRegions = [region_item(frames.shape[1:], _rounded(facts.spacing_mm), facts.region)]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def verify(path: Path, frames: np.ndarray, mask: np.ndarray) -> None:
    """Read the file as written: whitelisted attributes alone, these very frames, black outside the mask. Else raises
    Refusal."""
    import pydicom

    with path.open("rb") as file:
        preamble = file.read(128)
    ds = pydicom.dcmread(path)
    unknown = [element for element in ds.iterall() if element.keyword not in WRITTEN]
    pixels = ds.pixel_array
    if any(preamble) or unknown or not np.array_equal(pixels, frames) or pixels[:, ~mask].any() or not mask.any():
        raise Refusal(Reason.UNVERIFIED)


def _add_patient_and_study(ds: "Dataset", identity: Identity, facts: Facts) -> None:
    """A pseudonym, no person and no date but a shifted one; codes of PS3.16 CID 7050."""
    ds.PatientName = ds.PatientID = identity.subject
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = ["Rewritten from a whitelist", "gray, masked by the ultrasound sector"]
    if facts.fps_from != "header":
        # The profile has Derivation Description removed, so that this is the one place to say so.
        ds.DeidentificationMethod.append(f"frame time {'is a mean' if facts.fps_from == 'mean' else 'assumed'}")
    codes = [("113100", "Basic Application Confidentiality Profile"), ("113101", "Clean Pixel Data Option")]
    if identity.study_date:
        codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    ds.DeidentificationMethodCodeSequence = [code_item(code, "DCM", meaning) for code, meaning in codes]
    ds.LongitudinalTemporalInformationModified = "MODIFIED" if identity.study_date else "REMOVED"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = identity.study, identity.series
    ds.StudyDate = identity.study_date
    ds.StudyTime = ds.ReferringPhysicianName = ds.AccessionNumber = ds.StudyID = ds.SeriesNumber = ds.Manufacturer = ""
    ds.Laterality = ""  # type 2C: nobody knows whether the organ is one of a pair
    ds.Modality = "US"


def _add_image(ds: "Dataset", frames: np.ndarray, facts: Facts) -> None:
    from pydicom.tag import Tag

    ds.InstanceNumber = ds.PatientOrientation = ""
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.BurnedInAnnotation = "NO"
    if facts.lossy:
        ds.LossyImageCompression = "01"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.UltrasoundColorDataPresent = 0
    if facts.spacing_mm is None and facts.pixel_aspect != 1:
        ds.PixelAspectRatio = [round(1000 * facts.pixel_aspect), 1000]
    ds.FrameIncrementPointer = Tag("FrameTime")
    ds.FrameTime = f"{1000 / facts.fps:.5g}"
    pixels = frames.tobytes()
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].VR = "OB"


def _rounded(spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """To five digits, so that no long number of the source passes through."""
    row, column = (float(f"{mm:.5g}") for mm in spacing_mm)
    return row, column
