"""Of what a DICOM file is made, told before pydicom reads all of it at once."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from echokdm.io.dicom_video import VIDEO

# The standard has 5,000 attributes. A run of zeros reads as empty elements without end, for minutes.
_MOST_ELEMENTS = 20_000

# A frame header of JPEG or JPEG-LS (ITU-T T.81 B.2.2, T.87 C.2.2): SOF, a length for 1 to 4 components, bits; then rows
# and columns.
_JPEG = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]\0[\x0b\x0e\x11\x14][\x02-\x10](..)(..)", re.DOTALL)
# The start of a JPEG 2000 codestream (ITU-T T.800 A.5.1): SOC, SIZ, its length and capabilities; then columns and rows,
# where they begin, the same of the tiles, and the components.
_JPEG_2000 = re.compile(rb"\xff\x4f\xff\x51....(....)(....)(....)(....).{16}(..)", re.DOTALL)
_MOST_COMPONENTS = 4


def is_deflated(path: Path) -> bool:
    """Whether a file is a deflated data set (PS3.5 A.5)."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        part_10 = file.read(132)[128:] == b"DICM"
    return part_10 and read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian


def inflates_beyond(path: Path, most: int) -> bool:
    """Whether a deflated data set unpacks to more than `most` bytes. Raises what pydicom and zlib do where it is
    damaged."""
    from pydicom.filereader import read_file_meta_info

    if not is_deflated(path):
        return False
    with path.open("rb") as file:
        # The group's length is an element of 12 bytes itself.
        file.seek(132 + 12 + read_file_meta_info(path).FileMetaInformationGroupLength)
        unpack, unpacked = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := unpack.unconsumed_tail or file.read(2**16):
            unpacked += len(unpack.decompress(piece, 2**22))
            if unpacked > most:
                return True
    return False


def declares_larger(path: Path, rows: int, columns: int) -> bool:
    """Whether a compressed frame says of itself that it has more pixels than the data set's rows x columns: so many its
    decoder unpacks.

    RLE has no size of its own, and its decoder fills what the data set declares. Raises what pydicom does where it is
    damaged.
    """
    from pydicom import dcmread
    from pydicom.encaps import generate_frames

    with path.open("rb") as file:
        dataset = dcmread(file, force=True, stop_before_pixels=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if not syntax or not syntax.is_encapsulated or syntax in VIDEO:
            return False
        file.seek(12, 1)  # the element's tag, VR and length: explicit VR little endian (PS3.5 A.4)
        frames = generate_frames(file, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
        return any(pixels > rows * columns for frame in frames for pixels in _declared(frame))


def _declared(stream: bytes) -> Iterator[int]:
    """Pixels that the headers in a compressed stream declare."""
    for found in _JPEG.finditer(stream):
        rows, columns = (int.from_bytes(part, "big") for part in found.groups())
        yield rows * columns
    for found in _JPEG_2000.finditer(stream):
        right, bottom, left, top, components = (int.from_bytes(part, "big") for part in found.groups())
        yield (right - left) * (bottom - top) * max(components // _MOST_COMPONENTS, 1)


def has_endless_elements(path: Path) -> bool:
    """Whether there are more elements than any file needs, those after the pixels among them. Raises what pydicom
    does."""
    from pydicom.filereader import read_partial

    count = 0

    def is_too_many(*_: object) -> bool:
        nonlocal count
        count += 1
        return count > _MOST_ELEMENTS

    with path.open("rb") as file:
        read_partial(file, stop_when=is_too_many, defer_size=2**16, force=True)
    return count > _MOST_ELEMENTS
