"""Sixty echo clips with a patient planted in every header and burned into the pixels, for `deid.py`."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import torch
from bars import raw_clips
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from scipy import ndimage

from echokdm.core.types import Clip
from echokdm.io.sector import find_sector
from echokdm.phantom.a4c import A4CPhantom

NAME, NUMBER, DATE = "KOWALSKI", 48151623, "19470811"
WORDS = (NAME, "Kowalski", str(NUMBER), DATE, "QXZJANOV", "Wojewodzka")
FRAMES, FIRST_PHANTOM = 24, 930
# Rows, columns, the phantom's size, and its corner (x, y) on the screen.
LAYOUTS = ((360, 480, 320, 90, 20), (480, 640, 400, 60, 40), (600, 800, 480, 280, 60))
STORED = (
    (ExplicitVRLittleEndian, 8, ""),
    (ImplicitVRLittleEndian, 16, ""),
    (RLELossless, 8, "RGB"),
    (JPEG2000Lossless, 8, ""),
    (JPEGBaseline8Bit, 8, "YBR"),
    (DeflatedExplicitVRLittleEndian, 8, "RGB"),
    (ExplicitVRLittleEndian, 8, "YBR"),
    (JPEGBaseline8Bit, 8, ""),
)

_VALUES = {
    "PN": "KOWALSKI^Jan",
    "LO": "KOWALSKI ward 7",
    "SH": "Q48151623",
    "LT": "Seen by Dr Kowalski",
    "ST": "KOWALSKI Jan",
    "UT": "Kowalski, Wojewodzka 4",
    "UC": "Kowalski",
    "UR": "http://pacs/48151623",
    "AE": "QXZJANOV",
    "CS": "QXZJANOV48151",
    "AS": "078Y",
    "DA": DATE,
    "TM": "101112.481516",
    "DT": f"{DATE}101112.481516",
    "UI": "1.2.999.48151623.1947",
    "DS": str(NUMBER),
    "IS": str(NUMBER),
    "FL": float(NUMBER),
    "FD": float(NUMBER),
    "SL": NUMBER,
    "UL": NUMBER,
    "SV": NUMBER,
    "UV": NUMBER,
    "US": 48151,
    "SS": 15162,
    "AT": 0x48151623,
    **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL", "OV"), NAME.encode() * 2),
}
# What makes a file an ultrasound clip, and what the benchmark sets itself.
_KEPT = {
    "SOPClassUID",
    "Modality",
    "SpecificCharacterSet",
    "FrameTime",
    "FrameIncrementPointer",
    "SOPInstanceUID",
    "PatientID",
    "StudyInstanceUID",
    "PlanarConfiguration",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "PixelSpacing",
    "PixelAspectRatio",
    "NominalScannedPixelSpacing",
    "ImagerPixelSpacing",
    "PixelPaddingValue",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DataSetTrailingPadding",
}


@dataclass
class Planted:
    """A file. pixels: (T, H, W) or (T, H, W, 3) uint8. ink: (H, W) bool, every pixel of print. must_pass: True, False,
    or None where both are right. syntax, bits, colour ("", "RGB", "YBR"), region: how it is stored."""

    pixels: np.ndarray
    ink: np.ndarray
    must_pass: bool | None
    kind: str
    syntax: str = ExplicitVRLittleEndian
    bits: int = 8
    colour: str = ""
    region: tuple[int, int, int, int] | None = None
    tags: dict = field(default_factory=dict)


def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Clean clips on a scanner's screen, (T, H, W) uint8, and their sectors (H, W) bool: two real ones, and phantoms in
    three layouts."""
    found = []
    for frames in (raw.frames[:FRAMES] for raw in raw_clips().values()):
        gray = np.rint(frames @ np.array([0.299, 0.587, 0.114])).astype(np.uint8) if frames.ndim == 4 else frames
        found.append((gray, find_sector(Clip(torch.from_numpy(gray[:, None].astype(np.float32) / 255), 30.0)).mask))
    for seed in range(12):
        height, width, size, left, top = LAYOUTS[seed % len(LAYOUTS)]
        phantom = A4CPhantom([FIRST_PHANTOM + seed], size)
        phases = torch.linspace(0, 1, FRAMES + 1)[None, :-1]
        pixels, sector = np.zeros((FRAMES, height, width), np.uint8), np.zeros((height, width), bool)
        part = np.s_[top : top + size, left : left + size]
        sector[part] = phantom.sector[0].numpy()
        pixels[:, *part] = np.rint(phantom.frames(phases)[0, :, 0].clamp(0, 1).numpy() * 255)
        found.append((pixels, sector))
    return found


def files() -> Iterator[Planted]:
    """The sixty and more, one after the other; the same at each run."""
    clean = scenes()
    rng = np.random.default_rng(0)
    kinds = (
        ["clean"] * 10
        + ["corners"] * 14
        + ["along the edge"] * 12
        + ["ECG strip"] * 10
        + ["over the sector"] * 8
        + ["for a while"] * 6
    )
    # A real clip's own screen text is beside its sector.
    for number, kind in enumerate(kinds):
        pixels, sector = clean[number % len(clean)]
        pixels, ink = _burned(pixels, sector, kind, rng)
        stored = STORED[number % len(STORED)]
        box = np.argwhere(sector)
        region = (*box.min(0)[::-1].tolist(), *box.max(0)[::-1].tolist()) if number % 3 == 0 else None
        must_pass = True if kind in ("clean", "corners") else None
        yield Planted(pixels, ink, must_pass, kind, *stored, region=region)
    pixels, sector = clean[-1]
    small = pixels[:, ::2, ::2]
    empty = np.zeros(small.shape[1:], bool)
    page, page_ink = _text(np.zeros_like(small), empty, 20, 20, f"{NAME} {NUMBER}", 16, 230)
    noise = np.random.default_rng(1).integers(0, 200, small.shape, np.uint8)
    flow = np.repeat(small[..., None], 3, -1)
    flow[:, 120:170, 180:230] = (220, 30, 10)
    titled = small.copy()
    titled[3] = page[3]
    corner = (small.shape[2] // 2, small.shape[1] // 2, small.shape[2] - 1, small.shape[1] - 1)
    for kind, given, tags in (
        ("a linear probe", noise, {}),
        ("a page of text", page, {}),
        ("a still", small[:1], {}),
        ("colour Doppler", flow, {}),
        ("a title page", titled, {}),
        ("a wrong region", small, {"region": corner}),
        ("CT", small, {"Modality": "CT"}),
        ("a capture", small, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}),
        ("too few pixels", small, {"NumberOfFrames": 3 * FRAMES}),
    ):
        region = tags.pop("region", None)
        yield Planted(
            given,
            page_ink if "t" in kind[:3] else empty,
            False,
            kind,
            colour="RGB" if given.ndim == 4 else "",
            region=region,
            tags=tags,
        )


def _burned(
    pixels: np.ndarray, sector: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(pixels with the patient's name in them, where its print is)."""
    height, width = sector.shape
    ink = np.zeros((height, width), bool)
    level, size = int(rng.choice((110, 160, 255))), int(rng.choice((10, 12, 16)))
    words = f"{NAME} {NUMBER}"
    wide, high = (round(side) for side in ImageFont.load_default(size).getbbox(words)[2:])
    if kind == "corners":
        for x, y in ((1, 0), (width - wide - 1, 0), (1, height - high - 1), (width - wide - 1, height - high - 1)):
            # A sector that fills the picture leaves no corner for a whole name.
            if not ndimage.binary_dilation(sector, iterations=3)[
                max(y - 1, 0) : y + high + 1, max(x, 0) : x + wide
            ].any():
                pixels, ink = _text(pixels, ink, x, y, words, size, level)
    rows, columns = np.flatnonzero(sector.any(1)), np.flatnonzero(sector.any(0))
    depth = int(rng.choice((-1, 0, 1, 2, 4, 8)))  # px that the print reaches into the sector
    if kind == "along the edge":
        side = int(rng.integers(3))
        row = int(rng.integers(rows[0] + len(rows) // 3, rows[0] + 2 * len(rows) // 3))
        across = np.flatnonzero(sector[row + high // 2])
        column = int(rng.integers(columns[0] + len(columns) // 4, columns[-1] - len(columns) // 4))
        x, y = (
            (across[0] - wide + depth, row),
            (across[-1] - depth, row),
            (column - wide // 2, np.flatnonzero(sector[:, column])[-1] - depth),
        )[side]
        pixels, ink = _text(pixels, ink, int(x), int(y), words, size, level)
    if kind == "ECG strip":
        # The strip is drawn below the sector, or over its lower end.
        top = min(rows[-1] + int(rng.choice((2, -high - 8))), height - high - 14)
        x = np.arange(columns[0], columns[-1])
        beat = (8 * np.exp(-((((x - columns[0]) % 60 - 30) / 3.0) ** 2))).astype(int)
        pixels = pixels.copy()
        pixels[:, np.minimum(top + 12 - beat, height - 1), x] = 200
        pixels, ink = _text(
            pixels, ink, int(rng.integers(columns[0], max(columns[-1] - wide, columns[0] + 1))), top, words, size, level
        )
    if kind in ("over the sector", "for a while"):
        if kind == "for a while":
            level = max(level, 160)
        middle = ndimage.binary_erosion(sector, iterations=high)
        at = np.argwhere(middle)[int(rng.integers(middle.sum()))]
        drawn, ink = _text(pixels, ink, int(at[1]) - wide // 2, int(at[0]), words, size, level)
        shown = np.zeros(len(pixels), bool)
        start, length = (6, int(rng.choice((1, 4, 10)))) if kind == "for a while" else (0, len(pixels))
        shown[start : start + length] = True
        pixels = np.where(shown[:, None, None], drawn, pixels)
    return pixels, ink


def _text(
    pixels: np.ndarray, ink: np.ndarray, x: int, y: int, words: str, size: int, level: int
) -> tuple[np.ndarray, np.ndarray]:
    picture = Image.new("L", pixels.shape[:0:-1])
    ImageDraw.Draw(picture).text((x, y), words, fill=255, font=ImageFont.load_default(size))
    share = np.asarray(picture) / 255
    return np.rint(pixels * (1 - share) + level * share).astype(np.uint8), ink | (share >= 0.5)


def write(planted: Planted, path: Path, number: int) -> None:
    """The file, with the patient in every attribute of the dictionary: each tenth of them in every tenth file."""
    ds = _image(planted)
    tags = [
        tag
        for tag in DicomDictionary
        if tag >> 16 not in (0, 2, 4, 6, 0x28, 0xFFFE)
        and keyword_for_tag(tag) not in _KEPT
        and keyword_for_tag(tag) not in ds
        and keyword_for_tag(tag)
        and tag % 10 == number % 10
        and not 0x6000 <= tag >> 16 <= 0x60FF
    ]
    for tag in tags:
        vr = dictionary_VR(tag).split(" or ")[0]
        _add(ds, tag, vr, [_nest(3)] if vr == "SQ" else _VALUES[vr])
    for group, creator in ((0x0009, "GEMS_IDEN_01"), (0x200D, "Philips US Imaging DD 001"), (0x00E1, "KOWALSKI MAKER")):
        block = ds.private_block(group, creator, create=True)
        for element, vr in enumerate(("LO", "PN", "UN", "SQ", "DT", "UI", "OB"), 1):
            block.add_new(element, vr, [_nest(2)] if vr == "SQ" else _VALUES[vr])
    for element, vr, value in (
        (0x10, "US", 120),
        (0x11, "US", 160),
        (0x22, "LO", NAME),
        (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]),
        (0x100, "US", 1),
        (0x102, "US", 0),
        (0x3000, "OW", NAME.encode() * 300),
    ):
        _add(ds, 0x60000000 | element, vr, value)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{NAME}^Jan", f"QXZJANOV{NUMBER}-{number}", DATE
    ds.SOPInstanceUID, ds.StudyInstanceUID = (f"1.2.999.{NUMBER}.{level}.{number}" for level in (1, 2))
    ds.preamble = NAME.encode() * 16
    _add(ds.file_meta, 0x00020016, "AE", NAME)
    for keyword, value in planted.tags.items():
        setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    with pydicom.config.disable_value_validation():
        ds.save_as(path, enforce_file_format=True)
    if not ds.file_meta.TransferSyntaxUID.is_deflated:
        path.write_bytes(path.read_bytes() + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 16) + NAME.encode() * 2)


def _image(planted: Planted) -> Dataset:
    pixels, ds = planted.pixels, Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality, ds.SpecificCharacterSet = "1.2.840.10008.5.1.4.1.1.3.1", "US", "ISO_IR 192"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape[:3]
    ds.FrameTime, ds.FrameIncrementPointer = "33.3", 0x00181063
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    if planted.colour:
        pixels = pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, -1)
        ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "RGB"
        if planted.colour == "YBR" and planted.syntax != JPEGBaseline8Bit:  # JPEG has its own conversion
            pixels = np.stack([np.asarray(Image.fromarray(frame).convert("YCbCr")) for frame in pixels])
            ds.PhotometricInterpretation = "YBR_FULL"
    ds.BitsAllocated = ds.BitsStored = planted.bits
    ds.HighBit, ds.PixelRepresentation = planted.bits - 1, 0
    ds.PixelData = (pixels if planted.bits == 8 else pixels.astype("<u2") * 257).tobytes()
    ds["PixelData"].VR = "OB" if planted.bits == 8 else "OW"
    if planted.syntax == JPEGBaseline8Bit:
        ds.PixelData = encapsulate([_jpeg(frame) for frame in pixels])
        ds.file_meta.TransferSyntaxUID = planted.syntax
        ds.PhotometricInterpretation = "YBR_FULL_422" if planted.colour else "MONOCHROME2"
    elif pydicom.uid.UID(planted.syntax).is_compressed and planted.syntax != DeflatedExplicitVRLittleEndian:
        ds.compress(planted.syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = planted.syntax
    if planted.region is not None:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
        item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = (
            planted.region
        )
        item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
        item.PhysicalDeltaX = item.PhysicalDeltaY = 0.0348151623
        item.TransducerFrequency = NUMBER
        ds.SequenceOfUltrasoundRegions = [item]
    return ds


def _jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=85, subsampling=1)
    return file.getvalue() + b"\0" * (file.tell() % 2)


def _nest(depth: int) -> Dataset:
    """Sequences within sequences, each with the patient in it."""
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.StudyDate, ds.TextValue = f"{NAME}^Jan", str(NUMBER), DATE, NAME
    if depth:
        ds.ContentSequence = [_nest(depth - 1)]
    return ds


def _add(ds: Dataset, tag: int, vr: str, value: object) -> None:
    with pydicom.config.disable_value_validation():
        ds.add(DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE))
