"""One file: read, refuse or clear, write, check."""

import hashlib
import stat
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echokdm.core.errors import ClipError, OutputError
from echokdm.deid.dataset import Facts, build, verify
from echokdm.deid.identity import Pseudonyms, read_identity
from echokdm.deid.pixels import LEAST_FRAMES, clear_pixels
from echokdm.deid.reasons import Reason, Refusal
from echokdm.io.dicom import read_dicom
from echokdm.io.dicom_bombs import has_endless_elements, inflates_beyond
from echokdm.io.raw import MAX_INFLATED, RawFrames, check_size
from echokdm.io.read import ASSUMED_FPS
from echokdm.io.sniff import sniff

if TYPE_CHECKING:
    from pydicom import Dataset

# Ultrasound Image and Multi-frame Image Storage, each with its retired forerunner (PS3.4 B.5, PS3.6 A).
STORAGE_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("3", "3.1", "6", "6.1"))

MOST_BYTES = 2**31
# Beyond these a rate is none of a scanner's, but a number that was put there.
_RATES = (1.0, 1000.0)


def deidentify_file(source: Path, target: Path, pseudonyms: Pseudonyms, shift_dates: bool = False) -> dict[str, Any]:
    """Write the de-identified form of `source` to `target`, and beside it `target`.npz, small pictures for review.

    Returns what the folder's tables need, pseudonyms and numbers alone. Raises Refusal, and OutputError where `target`
    can't be written; then what lies at `target` must not be used.
    """
    _check_file(source)
    dataset = _read_header(source)
    try:
        raw = read_dicom(source, None)
    except ClipError as error:
        raise Refusal(Reason.NO_DECODER if "no decoder" in str(error) else Reason.DAMAGED) from None
    facts = _facts(dataset, raw)
    cleared = clear_pixels(raw, facts.fps)
    content = hashlib.sha256(repr(cleared.frames.shape).encode() + cleared.frames.tobytes()).hexdigest()
    identity = read_identity(dataset, pseudonyms, shift_dates, content)
    try:
        build(cleared.frames, facts, identity).save_as(target, enforce_file_format=True)
        verify(target, cleared.frames, cleared.mask)
        np.savez(
            target.with_suffix(".npz"),
            first=cleared.frames[0],
            middle=cleared.frames[len(cleared.frames) // 2],
            standing=cleared.standing,
        )
    except OSError:
        raise OutputError(
            "The output can't be written: check that the disk has space and that the place is writable."
        ) from None
    frames, rows, columns = cleared.frames.shape
    return {
        **asdict(identity),
        "content": content,
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "fps": float(f"{facts.fps:.6g}"),
        "fps_from": facts.fps_from,
        "spacing_mm": facts.spacing_mm,
        "view": _view(dataset),
    }


def _view(dataset: "Dataset") -> str:
    """ "a4c", "other", or "" where the View Code Sequence (PS3.3 C.8.5.6, codes of CID 12226) does not tell; nothing
    else of it is kept."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    try:
        item = dataset.ViewCodeSequence[0]
        code = Code(str(item.CodeValue), str(item.CodingSchemeDesignator), "")
        return "a4c" if code == codes.cid12226.ApicalFourChamber else "other"
    except Exception:  # absent or damaged: the picture has to tell
        return ""


def _check_file(path: Path) -> None:
    """What may be opened at all: a pipe or a device would never end."""
    try:
        found = path.stat()
    except OSError:
        raise Refusal(Reason.UNREADABLE) from None
    if stat.S_ISDIR(found.st_mode):
        raise Refusal(Reason.FOLDER_LINK)
    if not stat.S_ISREG(found.st_mode):
        raise Refusal(Reason.NOT_A_FILE)
    if found.st_size > MOST_BYTES:
        raise Refusal(Reason.TOO_LARGE)
    try:
        kind = sniff(path)
    except ClipError:
        kind = ""
    if kind != "dicom":
        raise Refusal(Reason.NOT_DICOM)


def _read_header(path: Path) -> "Dataset":
    """The header of an ultrasound clip that is small enough to decode."""
    import pydicom

    try:
        if inflates_beyond(path, MAX_INFLATED):
            raise Refusal(Reason.TOO_LARGE)
        if has_endless_elements(path):
            raise Refusal(Reason.DAMAGED)
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        modality, storage = (
            str(dataset.get("Modality") or "").strip().upper(),
            str(dataset.get("SOPClassUID") or "").strip(),
        )
        rows, columns, frames = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "NumberOfFrames"))
        embedded = any(
            element.tag.element == 0x0102 and element.value not in (0, None, "")
            for element in dataset
            if 0x6000 <= element.tag.group <= 0x60FF
        )
    except MemoryError:
        raise Refusal(Reason.TOO_LARGE) from None
    except Refusal:
        raise
    except Exception:  # pydicom raises many types, with values of the header in their text
        raise Refusal(Reason.DAMAGED) from None
    if modality != "US" or storage not in STORAGE_CLASSES:
        raise Refusal(Reason.NOT_ULTRASOUND if len(dataset) else Reason.DAMAGED)
    if rows < 1 or columns < 1:
        raise Refusal(Reason.NO_IMAGE)
    if frames < LEAST_FRAMES:
        raise Refusal(Reason.TOO_SHORT)
    try:
        check_size(frames, rows, columns, 4)  # all frames are in memory, several times over
    except ClipError:
        raise Refusal(Reason.TOO_LARGE) from None
    if embedded:
        raise Refusal(Reason.EMBEDDED_OVERLAY)
    return dataset


def _facts(dataset: "Dataset", raw: RawFrames) -> Facts:
    known = raw.fps is not None and _RATES[0] <= raw.fps <= _RATES[1]
    fps = raw.fps if raw.fps is not None and known else ASSUMED_FPS
    fps_from = "assumed" if not known else "mean" if raw.meta.get("irregular_timing") else "header"
    aspect = float(raw.meta.get("pixel_aspect", 1.0))
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    lossless = (
        "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",
    )
    lossy = bool(syntax and syntax.is_compressed and not syntax.is_deflated and str(syntax) not in lossless)
    return Facts(
        fps,
        fps_from,
        raw.spacing_mm,
        raw.meta.get("region"),
        aspect if 0.1 <= aspect <= 10 else 1.0,
        lossy or str(dataset.get("LossyImageCompression")) == "01",
    )
