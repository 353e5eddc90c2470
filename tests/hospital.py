"""A hospital's echo clips with a patient planted wherever DICOM has room, and what becomes of each when it is
de-identified."""

import struct
from itertools import zip_longest

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

NUMBER = 48151623
WORDS = ("KOWALSKI", "Kowalski", "48151623", "19470811", "1947", "Wojew", "山田", "QXZJANOV")

# One planted value for each VR (PS3.5 6.2). What they are told by is in WORDS, or is NUMBER in binary.
TEXT = {
    "PN": "KOWALSKI^Jan=山田",
    "LO": "KOWALSKI ward 7",
    "SH": "Q48151623",
    "LT": "Seen by Dr Kowalski",
    "ST": "KOWALSKI Jan",
    "UT": "KOWALSKI Jan, Wojewodzka 4",
    "UC": "Kowalski",
    "UR": "http://pacs/48151623",
    "AE": "QXZJANOV",
    "CS": "QXZJANOV48151",
    "AS": "078Y",
    "DA": "19470811",
    "TM": "101112.481516",
    "DT": "19470811101112.481516",
    "UI": "1.2.999.48151623.1947",
    "DS": "48151623",
    "IS": "48151623",
}
BINARY = {
    "FL": 48151623.0,
    "FD": 48151623.0,
    "SL": NUMBER,
    "UL": NUMBER,
    "SV": NUMBER,
    "UV": NUMBER,
    "US": 48151,
    "SS": 15162,
    "AT": 0x4815_1623,
    **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL", "OV"), b"KOWALSKI" * 2),
}
# The picture itself, and what makes it an ultrasound clip; each is planted, or refused, in a test of its own.
STRUCTURE = {
    "SOPClassUID",
    "Modality",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FrameIncrementPointer",
    "SequenceOfUltrasoundRegions",
    "SpecificCharacterSet",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "PixelPaddingValue",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "DataSetTrailingPadding",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SOPInstanceUID",
    "PatientID",
}

PAIRS = {"PixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"}


def attributes(vr):
    """Every attribute of the standard's dictionary with this VR, retired ones too, but for groups of the file and the
    command."""
    return [
        tag
        for tag in DicomDictionary
        if dictionary_VR(tag).split(" or ")[0] == vr
        and tag >> 16 not in (0, 2, 4, 6)
        and keyword_for_tag(tag)
        and keyword_for_tag(tag) not in STRUCTURE
    ]


def planted(vr):
    return {**TEXT, **BINARY}[vr]


def add(ds, tag, vr, value):
    with pydicom.config.disable_value_validation():
        ds.add(DataElement(tag, vr, value, validation_mode=pydicom.config.IGNORE))


def nest(ds, depth):
    """Sequences within sequences, each with the patient in it."""
    for _ in range(depth):
        ds.PatientName, ds.PatientID, ds.StudyDate = "KOWALSKI^Jan", "48151623", "19470811"
        ds.TextValue = "KOWALSKI"
        outer = Dataset()
        outer.ContentSequence = [ds]
        outer.RequestAttributesSequence = [ds]
        ds = outer
    return ds


def private(ds):
    """A maker's private groups, known and unknown creators, and values of unknown VR."""
    for group, creator in ((0x0009, "GEMS_IDEN_01"), (0x200D, "Philips US Imaging DD 001"), (0x00E1, "KOWALSKI MAKER")):
        block = ds.private_block(group, creator, create=True)
        for number, vr in enumerate(("LO", "PN", "UN", "SQ", "DT", "UI", "OB")):
            block.add_new(number + 1, vr, [nest(Dataset(), 2)] if vr == "SQ" else planted(vr))
    return ds


def region(**values):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = (
        0,
        0,
        159,
        119,
    )
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.0948151623
    item.TransducerFrequency = NUMBER
    for name, value in values.items():
        setattr(item, name, value)
    return item


def hospital(scene):
    """{relative path: (data set, expected reason or "" where it must be put out, bytes to append)}."""
    fan, burn, letters, echo = (scene[name] for name in ("fan", "burn", "letters", "echo"))
    pictures = [fan(seed) for seed in range(3)]
    files, count = {}, 0

    def put(name, pixels=None, expected="", tail=b"", change=None, syntax=None, **tags):
        nonlocal count
        count += 1
        # A patient a file: what is wrong with one must not be blamed on another.
        own = {
            "PatientID": f"QXZJANOV48151623-{count}",
            "PatientName": "KOWALSKI^Jan",
            "SOPInstanceUID": f"1.2.999.48151623.{count}",
            "StudyInstanceUID": f"1.2.999.48151623.1.{count}",
            "SeriesInstanceUID": f"1.2.999.48151623.2.{count}",
            "StudyDate": "19470811",
        }
        ds = echo(pictures[count % 3] if pixels is None else pixels, **{**own, **tags})
        if change is not None:
            change(ds)
        if syntax is not None and syntax.is_compressed:
            ds.compress(syntax, generate_instance_uid=False)
        elif syntax is not None:
            ds.file_meta.TransferSyntaxUID = syntax
        files[f"KOWALSKI_Jan_19470811/{name}_48151623.dcm"] = (ds, expected, tail)

    for vrs in zip_longest(TEXT, BINARY):

        def fill(ds, vrs=vrs):
            for vr, tag in [(each, tag) for each in vrs if each for tag in attributes(each)]:
                # 60xx,0102 is a position in the pixels' own bits, and has a test of its own.
                if not (0x6000 <= tag >> 16 <= 0x60FF):
                    add(ds, tag, vr, [planted(vr)] * 2 if keyword_for_tag(tag) in PAIRS else planted(vr))

        put(f"every_{'_'.join(filter(None, vrs))}", change=fill)
    put("every_SQ", change=lambda ds: [add(ds, tag, "SQ", [nest(Dataset(), 1)]) for tag in attributes("SQ")[::5]])
    put("deep", change=lambda ds: ds.update(nest(Dataset(), 12)))
    put("private", change=private)
    put("private_implicit", change=private, syntax=ImplicitVRLittleEndian)
    put(
        "meta",
        change=lambda ds: ds.file_meta.update(
            {
                0x00020016: DataElement(0x00020016, "AE", "KOWALSKI"),
                0x00020100: DataElement(0x00020100, "UI", "1.2.999.48151623"),
                0x00020102: DataElement(0x00020102, "OB", b"KOWALSKI"),
            }
        ),
    )
    put("preamble", change=lambda ds: setattr(ds, "preamble", b"KOWALSKI" * 16))
    put("after_pixels", tail=struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 16) + b"KOWALSKI" * 2)
    put("charset", SpecificCharacterSet="ISO_IR 192", PatientName="KOWALSKI^Jan=山田^太郎")
    put("digital_signature", change=lambda ds: add(ds, 0xFFFAFFFA, "SQ", [nest(Dataset(), 1)]))

    def overlay(ds, position=0):
        for group in (0x6000, 0x6002, 0x601E):
            for element, vr, value in (
                (0x10, "US", 120),
                (0x11, "US", 160),
                (0x22, "LO", "KOWALSKI"),
                (0x40, "CS", "G"),
                (0x50, "SS", [1, 1]),
                (0x100, "US", 1),
                (0x102, "US", position),
                (0x3000, "OW", b"KOWALSKI" * 300),
            ):
                add(ds, group << 16 | element, vr, value)

    put("overlay", change=overlay)
    put("overlay_in_bits", change=lambda ds: overlay(ds, 8), expected="EMBEDDED_OVERLAY")
    put("curve", change=lambda ds: [add(ds, 0x50003000, "OW", b"KOWALSKI" * 9), add(ds, 0x50000040, "LO", "KOWALSKI")])

    def big_endian(ds):
        ds["PixelData"].VR = "OW"
        raw = np.frombuffer(ds.PixelData, "<u2")
        ds.PixelData = raw.astype(">u2").tobytes()

    put("big_endian", change=big_endian, syntax=ExplicitVRBigEndian)
    put("rle", syntax=RLELossless)
    put("jpeg2000", syntax=JPEG2000Lossless)
    put("rgb", np.repeat(pictures[0][..., None], 3, -1))
    put("with_region", SequenceOfUltrasoundRegions=[region(), region(RegionDataType=10)])
    put("number_as_rate", FrameTime=None, CineRate=NUMBER)
    put("no_ids", PatientID=None, PatientName=None, StudyInstanceUID=None, SeriesInstanceUID=None)
    put("broken_values", StudyInstanceUID="KOWALSKI", PatientBirthDate="KOWALSKI")

    # Burned in. Beside the sector it is blackened, over it the clip is refused.
    name = "KOWALSKI"
    corners = [letters(name, x, y) for x, y in ((1, 0), (100, 0), (1, 106), (98, 106))]
    put("corner_text", burn(pictures[0], *corners))
    outside = ~scene["inside_fan"](1.0)
    put(
        "text_to_the_edge",
        burn(pictures[1], *(letters(name, x, y) & outside for x, y in ((1, 40), (10, 60), (105, 35), (112, 50)))),
    )
    x = np.arange(160)
    strip = np.zeros((120, 160), bool)
    strip[(112 + 4 * np.sin(x / 5)).astype(int), x] = True
    put("ecg_below", burn(pictures[2], strip, letters(name, 30, 108)))
    put("text_across_the_edge", burn(pictures[0], letters(name, 12, 60)), expected="TEXT_IN_SECTOR")
    put(
        "text_in_ecg_over_sector",
        burn(pictures[1], np.roll(strip, -25, 0), letters(name, 55, 80)),
        expected="TEXT_IN_SECTOR",
    )
    put("text_in_sector", burn(pictures[2], letters(name, 52, 50), value=150), expected="TEXT_IN_SECTOR")
    put("small_text_in_sector", burn(pictures[2], letters(name, 60, 50, 8)), expected="TEXT_IN_SECTOR")
    put("late_caption", burn(fan(4, 150), letters(name, 52, 50), frames=slice(90, 150)), expected="TEXT_IN_SECTOR")
    page = np.zeros((120, 160), bool)
    for row in range(0, 110, 13):
        page |= letters("KOWALSKI Jan 48151623", 2, row)
    titled = fan(5, 40)
    titled[1] = 230 * page
    put("title_page", titled, expected="OTHER_PICTURE")
    coloured = np.repeat(pictures[0][..., None], 3, -1)
    # In a single frame, which none of the frames that the sector's own check of colour looks at.
    longer = np.repeat(fan(3, 30)[..., None], 3, -1)
    put("green_text", burn(longer, letters(name, 60, 60), value=(20, 230, 40), frames=[2]), expected="COLOURED_MARKS")
    flow = np.zeros((120, 160), bool)
    flow[50:80, 70:95] = True
    put("doppler", burn(coloured, flow, value=(220, 30, 10)), expected="DOPPLER")
    put("doppler_region", SequenceOfUltrasoundRegions=[region(), region(RegionDataType=2)], expected="DOPPLER")
    put(
        "wrong_region",
        SequenceOfUltrasoundRegions=[region(RegionLocationMinX0=100, RegionLocationMinY0=70)],
        expected="REGION_DISAGREES",
    )
    put("linear_probe", np.random.default_rng(0).integers(0, 200, (10, 120, 160), np.uint8), expected="NO_SECTOR")
    put("text_page", np.repeat(burn(np.zeros((1, 120, 160), np.uint8), page), 10, 0), expected="NO_SECTOR")
    put("still", pictures[0][:1], expected="TOO_SHORT")
    put("ct", Modality="CT", expected="NOT_ULTRASOUND")
    put("capture", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.4", expected="NOT_ULTRASOUND")
    put("no_modality", Modality=None, expected="NOT_ULTRASOUND")
    put("absurd", NumberOfFrames=NUMBER, expected="TOO_LARGE")
    put("wide", Rows=65535, Columns=65535, expected="TOO_LARGE")
    put("short_pixels", NumberOfFrames=40, expected="DAMAGED")
    put("no_pixels", PixelData=None, expected="DAMAGED")
    return files
