"""Read DICOM ultrasound: pixels of every photometric interpretation, timing, regions and spacing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echokdm.core.errors import ClipError, one_sentence
from echokdm.core.frames import LongFrames, each, gather
from echokdm.core.quiet import quiet
from echokdm.io.dicom_bombs import declares_larger, has_endless_elements, inflates_beyond, is_deflated
from echokdm.io.dicom_video import VIDEO, decode_video
from echokdm.io.raw import DAMAGED, MAX_INFLATED, RawFrames, check_size, sane_rate
from echokdm.io.regions import read_region

if TYPE_CHECKING:
    from pydicom import Dataset

# OT: converted clips; absent: stripped by an anonymiser.
_MODALITIES = ("US", "OT", "")

_DEFERRED = 2**20  # bytes; longer elements, the pixels above all, are read when they are asked for

_PLUGINS = ("pylibjpeg", "pillow", "pyjpegls", "pydicom", "gdcm")


def read_dicom(path: Path, max_frames: int | None) -> RawFrames:
    """Read a single- or multi-frame ultrasound image (PS3.3 A.6, A.7) of any transfer syntax that the installed
    decoders know.

    Raises ClipError: not ultrasound, no pixel data, damaged, no decoder, or too large. No value of the header is named.
    """
    import pydicom

    with quiet("pydicom"), one_sentence(DAMAGED):  # pydicom raises many types, with values of the header in their text
        if inflates_beyond(path, MAX_INFLATED):
            raise ClipError(f"This DICOM file unpacks to more than {MAX_INFLATED} bytes: cut or shrink the clip first.")
        if has_endless_elements(path):
            raise ClipError(DAMAGED)
        dataset = pydicom.dcmread(path, force=True, defer_size=None if is_deflated(path) else _DEFERRED)
        modality = str(dataset.get("Modality") or "").strip().upper()
        rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
        declared = int(dataset.get("NumberOfFrames") or 1)
        if modality not in _MODALITIES:
            raise ClipError("This DICOM file is not ultrasound: give an apical 4-chamber clip of modality US.")
        if len(dataset) == 0 or rows and columns and "PixelData" not in dataset:
            raise ClipError(DAMAGED)
        if not rows or not columns:
            raise ClipError(
                "This DICOM file holds no image: give the ultrasound clip itself, not its report or directory."
            )
        count = min(declared, max_frames) if max_frames else declared
        check_size(count, rows, columns)
        if declares_larger(path, rows, columns):
            raise ClipError(DAMAGED)
        frames = _decode(dataset, path, count)
        fps, timing = _timing(dataset, declared)
        spacing, region_meta = read_region(dataset, rows, columns)
        patient = f"{dataset.get('PatientID', '')}\n{dataset.get('IssuerOfPatientID', '')}".strip()
        if len(frames) != count or frames.shape[1:3] != (rows, columns):
            raise ClipError(DAMAGED)
    return RawFrames(frames, fps, spacing, patient, {**timing, **region_meta})


def _decode(dataset: "Dataset", path: Path, count: int) -> np.ndarray | LongFrames:
    """The first `count` frames, (T, H, W) or (T, H, W, 3), uint8 or float32 in [0, 1]. path: where the data set is read
    from."""
    stored = (
        bool(getattr(dataset.file_meta, "TransferSyntaxUID", None))
        and not dataset.file_meta.TransferSyntaxUID.is_deflated
    )
    if not getattr(dataset.file_meta, "TransferSyntaxUID", None):
        dataset.file_meta.TransferSyntaxUID = _guessed_transfer_syntax(dataset)
    if dataset.file_meta.TransferSyntaxUID in VIDEO:
        return decode_video(dataset, count)
    kind = str(dataset.get("PhotometricInterpretation") or "").strip()
    if (
        kind == "YBR_FULL_422"
        and not dataset.file_meta.TransferSyntaxUID.is_encapsulated
        and not _is_unsampled(dataset)
    ):
        return _native_422(dataset, count)
    frames = gather(_pictures(dataset, path if stored else dataset, kind, count))
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    if frames.dtype != np.uint8:
        frames = _to_unit_range(frames, int(dataset.get("BitsStored") or 16), signed)
    if kind == "MONOCHROME1":
        frames = each(frames, lambda some: np.uint8(255) - some if some.dtype == np.uint8 else 1 - some)
    return frames


def _pictures(dataset: "Dataset", source: "Path | Dataset", kind: str, count: int) -> Iterator[np.ndarray]:
    """The first `count` frames of `source`, the data set or its file, through the tables that the data set has. kind:
    photometric."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, iter_pixels

    is_gray = kind in ("MONOCHROME1", "MONOCHROME2")
    has_lut = any(tag in dataset for tag in ("WindowCenter", "VOILUTSequence", "ModalityLUTSequence"))
    # iter_pixels decodes frame by frame, and gives RGB for every YBR.
    for frame in iter_pixels(source, indices=range(count), decoding_plugin=_plugin(dataset)):
        if kind == "PALETTE COLOR":
            frame = apply_color_lut(frame, dataset)
            yield (frame >> 8).astype(np.uint8) if frame.dtype == np.uint16 else frame
        elif is_gray and has_lut:
            yield apply_voi_lut(apply_modality_lut(frame, dataset), dataset)
        else:
            yield frame.copy()


def _is_unsampled(dataset: "Dataset") -> bool:
    """Whether three bytes a pixel are stored under the name of YBR_FULL_422, as some do; pydicom reads those."""
    pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1)
    return len(dataset.PixelData) >= 3 * pixels


def _native_422(dataset: "Dataset", count: int) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB of native YBR_FULL_422 (PS3.3 C.7.6.3.1.2): Y Y Cb Cr for every two pixels of a row.

    pydicom's frame-by-frame reading takes it for three bytes a pixel.
    """
    from pydicom.pixels import convert_color_space

    rows, columns = int(dataset.Rows), int(dataset.Columns)
    pairs = np.frombuffer(dataset.PixelData, np.uint8, count * rows * columns * 2).reshape(count, rows, columns // 2, 4)
    ybr = np.empty((count, rows, columns, 3), np.uint8)
    ybr[..., 0] = pairs[..., :2].reshape(count, rows, columns)
    ybr[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=2)
    return convert_color_space(ybr, "YBR_FULL", "RGB", per_frame=True)


def _plugin(dataset: "Dataset") -> str:
    """The decoder to use. GDCM comes last: on a damaged JPEG 2000 stream it ends the whole process."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return ""
    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:  # pydicom knows no decoder of this syntax at all
        available = ()
    if not available:
        raise ClipError(
            "This DICOM file's compression has no decoder here: install pylibjpeg with its plugins, or "
            "python-gdcm, or export the clip uncompressed."
        )
    return min(available, key=lambda name: _PLUGINS.index(name) if name in _PLUGINS else len(_PLUGINS))


def _to_unit_range(frames: np.ndarray | LongFrames, bits_stored: int, signed: bool) -> np.ndarray | LongFrames:
    """Scale by the bits that are stored; by the fewest that hold the values where far fewer are used (8 or 12 of
    16)."""
    low = float(-(2 ** (bits_stored - 1))) if signed and min(frame.min() for frame in frames) < 0 else 0.0
    top = float(max(frame.max() for frame in frames)) - low
    full = 2.0**bits_stored - 1
    if top < full / 4 or top > full:
        full = 2.0 ** np.ceil(np.log2(max(top, 1.0) + 1)) - 1
    return each(frames, lambda some: np.clip((some.astype(np.float32) - low) / full, 0, 1))


def _guessed_transfer_syntax(dataset: "Dataset") -> Any:
    """Uncompressed, as pydicom read it: a file without meta information can't be encapsulated."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _timing(dataset: "Dataset", frame_count: int) -> tuple[float | None, dict[str, Any]]:
    """(fps or None, facts): Frame Increment Pointer to Frame Time or Frame Time Vector (PS3.3 C.7.6.5), Cine Rate,
    display rate."""
    pointer = dataset.get("FrameIncrementPointer")
    pointed = {
        int(p)
        for p in (pointer if isinstance(pointer, (list, tuple)) or hasattr(pointer, "append") else [pointer])
        if p
    }
    vector_tag, time_tag = 0x00181065, 0x00181063
    order = [vector_tag, time_tag] if vector_tag in pointed else [time_tag, vector_tag]
    for tag in order:
        element = dataset.get(tag)
        if element is None or element.value in (None, ""):
            continue
        if tag == time_tag:
            milliseconds = _positive(element.value)
            if milliseconds and (rate := sane_rate(1000.0 / milliseconds)):
                return rate, {"fps_source": "FrameTime"}
        else:
            vector = np.atleast_1d(np.asarray(element.value, dtype=float))
            # The first of the vector is the first frame's own offset, 0 (PS3.3 C.7.6.5.1.2).
            whole = len(vector) == frame_count and bool(np.isfinite(vector).all())
            steps = vector[1:] if len(vector) >= frame_count else vector
            steps = steps[np.isfinite(steps) & (steps > 0)]
            if len(steps) and (rate := sane_rate(1000.0 / (mean := float(steps.mean())))):
                irregular = bool(np.abs(steps - mean).max() > 0.2 * mean)
                facts = {"fps_source": "FrameTimeVector", "irregular_timing": irregular}
                return rate, facts | ({"frame_times_ms": tuple(vector.tolist())} if whole else {})
    for name in ("CineRate", "RecommendedDisplayFrameRate"):
        value = _positive(dataset.get(name))
        if value and (rate := sane_rate(value)):
            return rate, {"fps_source": name}
    return None, {}


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None
