"""Why a file is quarantined: fixed sentences, so that none can quote a header, a name or a path."""

from enum import Enum


class Reason(Enum):
    """One sentence a reason; the only thing of a refused file that is written down."""

    UNREADABLE = "It can't be opened."
    FOLDER_UNREADABLE = "A folder that can't be opened; nothing in it was read."
    FOLDER_LINK = "A link to a folder, which is not followed."
    NOT_A_FILE = "Neither a file nor a folder."
    NOT_GIVEN = "The archive lists it and does not give it."
    NOT_DICOM = "Not a DICOM file."
    DAMAGED = "Truncated or damaged."
    NOT_ULTRASOUND = "Not an ultrasound image by its modality or its storage class."
    NO_IMAGE = "It holds no image."
    TOO_LARGE = "Too large to be read safely: cut or shrink it first."
    TOO_SHORT = "A still or too short a clip: with fewer than 8 frames, burned-in text can't be told from tissue."
    EMBEDDED_OVERLAY = "An overlay is embedded in the bits of its pixels."
    NO_DECODER = "Its compression has no decoder here."
    TOO_SLOW = "It took longer than the time limit."
    CRASHED = "Decoding it ended the process."
    DOPPLER = "It shows colour Doppler, which is not masked."
    NO_SECTOR = "No ultrasound sector of a phased-array probe is found, so nothing can be masked."
    REGION_DISAGREES = (
        "The sector in the picture and the ultrasound region in the header disagree, so the mask is not sure."
    )
    SECTOR_DISAGREES = "Its frames disagree on where the ultrasound sector is, so the mask is not sure."
    COLOURED_MARKS = "Coloured marks or text lie over the sector."
    TEXT_IN_SECTOR = "What may be burned-in text lies over the sector."
    NOT_SEARCHED = (
        "It can't be searched for text: the text detector that comes with rapidocr is missing or does not run."
    )
    OTHER_PICTURE = "Single frames show another picture than the rest."
    UNVERIFIED = "The file as written did not pass its check, and was removed."
    UNEXPECTED = "It could not be handled safely."
    MIXED_PATIENT = "Its patient ID belongs to patients of different names, birth dates or sexes."
    MIXED_STUDY = "Its study belongs to more than one patient ID."
    DUPLICATE = "A duplicate of another input, which was kept once."
    CONFLICTING = "Another input has the same SOP instance UID and another content."


class Refusal(Exception):  # noqa: N818 - raised and caught within this package; it becomes a line of quarantine.csv
    """A file that must not be put out, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
