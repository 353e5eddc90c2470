"""What a file is, by its content; names and suffixes are not looked at."""

import gzip
import struct
import zlib
from pathlib import Path

from echokdm.core.errors import ClipError
from echokdm.core.files import check_plain

_READABLE = "DICOM, AVI, MP4, MOV, GIF, NIfTI, .npz, or a folder of PNG or JPEG frames"


def sniff(path: Path) -> str:
    """The kind of clip at `path`: "dicom", "video", "gif", "nifti", "npz", "image" or "folder".

    Raises ClipError where nothing is there, or where it is none of these.
    """
    check_plain(path)
    if path.is_dir():
        return "folder"
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        raise ClipError("The clip can't be opened: check that the path is right and that you may read it.") from None
    if not head:
        raise ClipError("The clip's file is empty: copy it again from where it came.")
    kind = _kind(head)
    if kind is None and head[:2] == b"\x1f\x8b":
        kind = "nifti" if _is_nifti(_gunzipped_head(path)) else None
    if kind is None:
        raise ClipError(f"This file is not a clip: its content is none of {_READABLE}.")
    return kind


def _kind(head: bytes) -> str | None:
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    is_quicktime = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    is_matroska = head[:4] == b"\x1a\x45\xdf\xa3"
    if is_avi or is_quicktime or is_matroska:
        return "video"
    if head[:4] == b"PK\x03\x04":
        return "npz"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff":
        return "image"
    return "nifti" if _is_nifti(head) else None


def _is_bare_dicom(head: bytes) -> bool:
    """DICOM written without preamble starts with an element of group 0002 or 0008, in either byte order."""
    if len(head) < 8:
        return False
    for order in "<>":
        group, element = struct.unpack(order + "HH", head[:4])
        is_explicit = head[4:6].isalpha() and head[4:6].isupper()
        length = struct.unpack(order + "I", head[4:8])[0]
        if group in (0x0002, 0x0008) and element <= 0x0100 and (is_explicit or length <= 256):
            return True
    return False


def _is_nifti(head: bytes) -> bool:
    """NIfTI-1 and NIfTI-2 single files: header length first, magic after it."""
    if len(head) < 352:
        return False
    sizes = {struct.unpack(order + "i", head[:4])[0] for order in "<>"}
    return (348 in sizes and head[344:347] == b"n+1") or (540 in sizes and head[4:7] == b"n+2")


def _gunzipped_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(512)
    except (OSError, EOFError, zlib.error):
        return b""
