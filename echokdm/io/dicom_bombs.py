"""Of what a DICOM file is made, told before pydicom reads all of it at once."""

import zlib
from pathlib import Path

# The standard has 5,000 attributes. A run of zeros reads as empty elements without end, for minutes.
_MOST_ELEMENTS = 20_000


def inflates_beyond(path: Path, most: int) -> bool:
    """Whether a deflated data set (PS3.5 A.5) unpacks to more than `most` bytes. Raises what pydicom and zlib do where it is damaged."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        head = file.read(132)
        if head[128:] != b"DICM" or (meta := read_file_meta_info(path)).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        file.seek(132 + 12 + meta.FileMetaInformationGroupLength)  # the group's length is an element of 12 bytes itself
        unpack, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := unpack.unconsumed_tail or file.read(2**16):
            unpacked += len(unpack.decompress(piece, 2**22))
            if unpacked > most:
                return True
    return False


def has_endless_elements(path: Path) -> bool:
    """Whether there are more elements than any file needs, those after the pixels among them. Raises what pydicom does."""
    from pydicom.filereader import read_partial

    count = 0

    def is_too_many(*_: object) -> bool:
        nonlocal count
        count += 1
        return count > _MOST_ELEMENTS

    with path.open("rb") as file:
        read_partial(file, stop_when=is_too_many, defer_size=2**16, force=True)
    return count > _MOST_ELEMENTS
