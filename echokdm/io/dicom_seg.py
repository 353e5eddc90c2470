"""Masks of the left ventricle as a DICOM Segmentation (PS3.3 A.51, C.8.20): binary, one segment, a frame for each of
the source's.

highdicom reads it, and does not write it: it takes several frames only where they lie in a frame of reference, which
ultrasound has not. So what ties a mask to its picture is the Derivation Image functional group (C.7.6.16.2.6), by
instance and frame number.
"""

import hashlib
import os
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from echokdm.core.errors import OutputError
from echokdm.core.quiet import quiet
from echokdm.io.atomic import atomic_file
from echokdm.io.dicom_out import MAKER, Origin, code_item
from echokdm.io.dicom_source import content_time, frame_reference, is_synthetic, new_uids
from echokdm.io.write import Images

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL = "Left ventricle blood pool"


def write_segmentation(
    path: str | os.PathLike[str], masks: Images, source: "Dataset", origin: Origin | None = None
) -> dict[str, str]:
    """Write masks (T, H, W) bool of the left ventricle, one for each frame of the source and in its pixels.

    source: as `dicom_source.read_source` gives it. origin: of the outlines, None where a person gave them. The object
    belongs to the source's patient and study. The same masks, source and origin give the same bytes.

    Returns the new UIDs, keys "series" and "instance". Raises OutputError where masks and frames differ in number.
    """
    from importlib.metadata import version

    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    count = int(source.get("NumberOfFrames", 1))
    if len(masks) != count:
        raise OutputError(f"A segmentation needs a mask a frame, not {len(masks)} for the source's {count}.")
    pixels = _packed(masks)
    weights = origin.weights_hash if origin else "none"
    uid_of = new_uids(source, ["segmentation", weights, version(MAKER), hashlib.sha256(pixels).hexdigest()])

    ds = deepcopy(source)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = SEGMENTATION, uid_of["instance"], uid_of["series"]
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "SEG", 901, 1
    ds.SeriesDescription = f"{'SYNTHETIC ' * is_synthetic(source)}{LABEL}, {MAKER}"
    ds.Manufacturer = ds.ManufacturerModelName = MAKER
    # Enhanced General Equipment (C.7.5.2) asks for one
    ds.SoftwareVersions, ds.DeviceSerialNumber = version(MAKER), weights
    ds.ContentDate, ds.ContentTime = content_time(source)
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "LV", LABEL, ""
    ds.ImageType, ds.PatientOrientation = ["DERIVED", "PRIMARY"], ""
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    ds.NumberOfFrames, ds.Rows, ds.Columns = masks.shape
    ds.LossyImageCompression = "00"
    ds.SegmentationType = "BINARY"
    ds.SegmentSequence = [_segment(origin)]
    _frames(ds, source, uid_of["other"])
    ds.add_new("PixelData", "OB", pixels)

    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with quiet("pydicom"), atomic_file(path) as temporary:
        ds.save_as(temporary, enforce_file_format=True)
    return {"series": uid_of["series"], "instance": uid_of["instance"]}


def _packed(masks: Images) -> bytes:
    """One bit a pixel, the first the lowest, frame upon frame without a gap (PS3.5 8.1.1), in an even number of
    bytes."""
    packed = b"".join(
        np.packbits(np.asarray(masks[start : start + 8], bool), axis=None, bitorder="little").tobytes()
        for start in range(0, len(masks), 8)
    )  # of eight frames the bits fill their bytes
    return packed + bytes(len(packed) % 2)


def _segment(origin: Origin | None) -> "Dataset":
    """The segment and who outlined it (C.8.20.4, 10.16). origin: None for a person."""
    from importlib.metadata import version

    from pydicom import Dataset

    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, LABEL
    segment.SegmentedPropertyCategoryCodeSequence = [code_item("91720002", "SCT", "Body Substance")]
    segment.SegmentedPropertyTypeCodeSequence = [code_item("87612001", "SCT", "Blood")]
    segment.AnatomicRegionSequence = [code_item("87878005", "SCT", "Left ventricle")]
    segment.RecommendedDisplayCIELabValue = [35000, 53000, 48000]  # a red
    segment.SegmentAlgorithmType = "AUTOMATIC" if origin else "MANUAL"
    if origin:
        segment.SegmentAlgorithmName = MAKER
        algorithm = Dataset()
        algorithm.AlgorithmFamilyCodeSequence = [code_item("123110", "DCM", "Artificial Intelligence")]
        algorithm.AlgorithmName, algorithm.AlgorithmVersion, algorithm.AlgorithmSource = MAKER, version(MAKER), MAKER
        algorithm.AlgorithmParameters = "; ".join(origin.told())
        segment.SegmentationAlgorithmIdentificationSequence = [algorithm]
    return segment


def _frames(ds: "Dataset", source: "Dataset", organization: str) -> None:
    """Multi-frame Dimension (C.7.6.17), Multi-frame Functional Groups (C.7.6.16) and Common Instance Reference
    (C.12.2)."""
    from pydicom import Dataset
    from pydicom.tag import Tag

    def one(**values: object) -> Dataset:
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    ds.DimensionOrganizationSequence = [one(DimensionOrganizationUID=organization)]
    ds.DimensionIndexSequence = [
        one(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=Tag(pointer),
            FunctionalGroupPointer=Tag(group),
            DimensionDescriptionLabel=label,
        )
        for pointer, group, label in (
            ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment"),
            ("TemporalPositionIndex", "FrameContentSequence", "Frame"),
        )
    ]
    ds.SharedFunctionalGroupsSequence = [one(SegmentIdentificationSequence=[one(ReferencedSegmentNumber=1)])]
    ds.PerFrameFunctionalGroupsSequence = []
    for frame in range(ds.NumberOfFrames):
        picture = frame_reference(source, frame)
        picture.PurposeOfReferenceCodeSequence = [
            code_item("121322", "DCM", "Source image for image processing operation")
        ]
        picture.SpatialLocationsPreserved = "YES"
        derivation = one(
            DerivationCodeSequence=[code_item("113076", "DCM", "Segmentation")], SourceImageSequence=[picture]
        )
        content = one(DimensionIndexValues=[1, frame + 1], TemporalPositionIndex=frame + 1)
        ds.PerFrameFunctionalGroupsSequence.append(
            one(FrameContentSequence=[content], DerivationImageSequence=[derivation])
        )
    instance = one(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    ds.ReferencedSeriesSequence = [
        one(SeriesInstanceUID=source.SeriesInstanceUID, ReferencedInstanceSequence=[instance])
    ]
