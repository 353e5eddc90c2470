"""The patient, the study and the instance that derived DICOM objects belong to, read from the source's header and from
nowhere else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echokdm.core.errors import ClipError, one_sentence
from echokdm.core.quiet import quiet
from echokdm.io.raw import DAMAGED
from echokdm.io.sniff import sniff

if TYPE_CHECKING:
    from pydicom import Dataset

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_NAMES = ("PatientID", "PatientName")
_TOLD = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "NumberOfFrames",
    "SyntheticData",
)
_EMPTY = ("ReferringPhysicianName", "StudyID")
_NO_DATE = "19700101"


def read_source(path: str | Path) -> "Dataset":
    """What objects that are derived from a DICOM clip need of its header, a data set of these attributes alone, in
    UTF-8.

    Patient (PS3.3 C.7.1.1): name and ID as they are, so that an archive files the objects with the clip, birth date and
    sex; General Study (C.7.2.1): UID, date, time and accession number, the other attributes of type 2 empty; series,
    class, instance, number of frames (only where it is a multi-frame image), and whether it is marked synthetic. What
    is not valid is left empty. Patient data: never a Clip's. Raises ClipError: not DICOM, damaged, without a UID.
    """
    if sniff(Path(path)) != "dicom":
        raise ClipError(
            "DICOM objects belong to the patient and the study of a DICOM clip, and this source is not DICOM: give the DICOM "
            "file, or leave --dicom out."
        )
    import pydicom
    from pydicom import Dataset

    with quiet("pydicom"), one_sentence(DAMAGED):
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=[*_UIDS, *_NAMES, *_TOLD])
        source = Dataset()
        source.SpecificCharacterSet = "ISO_IR 192"
        for keyword in (*_UIDS, *_NAMES, *_TOLD, *_EMPTY):
            text = str(header.get(keyword) or "").strip()
            if keyword in _NAMES or _is_valid(keyword, text):
                setattr(source, keyword, text)
            elif keyword in _UIDS:
                raise ClipError(
                    "This DICOM clip lacks a valid study, series, class or instance UID, by which objects would refer to it: "
                    "leave --dicom out."
                )
            else:
                setattr(source, keyword, "")
        for keyword in ("NumberOfFrames", "SyntheticData"):
            if not source[keyword].value:
                del source[keyword]
    return source


def _is_valid(keyword: str, text: str) -> bool:
    """Whether a text is a value of the attribute (PS3.5 6.2); an empty one is, but as a UID."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import validate_value

    if keyword in _UIDS and not text or keyword == "PatientSex" and text not in ("", "M", "F", "O"):
        return False
    try:
        validate_value(dictionary_VR(keyword), text, RAISE)
    except ValueError:
        return False
    return True


def is_synthetic(source: "Dataset") -> bool:
    """Whether the source is marked as made, not acquired (SOP Common, C.12.1)."""
    return bool(source.get("SyntheticData") == "YES")


def content_time(source: "Dataset") -> tuple[str, str]:
    """Content Date and Time of an object: the study's own, since the same run gives the same bytes; a fixed day where
    it has none."""
    date = str(source.StudyDate or "")
    return (date, str(source.StudyTime or "") or "000000") if date else (_NO_DATE, "000000")


def new_uids(source: "Dataset", words: Sequence[str]) -> dict[str, str]:
    """UIDs that follow from the source and from words that tell the object from others, keys "series", "instance",
    "other"."""
    from pydicom.uid import generate_uid

    entropy = [f"{word}\n" for word in ("echokdm", str(source.SOPInstanceUID), *words)]
    return {level: str(generate_uid(entropy_srcs=[*entropy, level])) for level in ("series", "instance", "other")}


def frame_reference(source: "Dataset", frame: int) -> "Dataset":
    """A reference to one frame of the source, counted from 0 (Image SOP Instance Reference, table 10-3)."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    if "NumberOfFrames" in source:
        item.ReferencedFrameNumber = frame + 1
    return item
