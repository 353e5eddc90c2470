"""DICOM in: transfer syntaxes, colour, depth, timing, regions, damage; and no patient data out."""

import logging
import warnings

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, examples
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from echokdm.core.errors import ClipError
from echokdm.io import find_sector, read_clip, require_motion

US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"


def dataset(pixels, photometric="MONOCHROME2", bits_stored=None, **tags):
    """A small ultrasound data set of (T, H, W) or (T, H, W, 3) pixels, with a patient in it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = US_MULTIFRAME
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.Modality, ds.PatientName, ds.PatientID, ds.PatientBirthDate = "US", "Doe^John", "SECRET-17", "19500102"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape[:3]
    ds.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def region(x0, y0, x1, y1, delta=0.05, data_type=1, units=3, spatial=1):
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, data_type, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = (
        x0,
        y0,
        x1,
        y1,
    )
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, delta * 1.5
    return item


@pytest.fixture
def save(tmp_path):
    def write(ds, name="Doe_John.dcm", **options):
        ds.save_as(tmp_path / name, enforce_file_format=True, **options)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def ramp():
    """(3, 40, 60) uint8, every frame another."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([(x * 3 + y + 10 * t).astype(np.uint8) for t in range(3)])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_lossless_transfer_syntaxes_give_the_same_pixels(save, ramp, syntax):
    ds = dataset(ramp, FrameTime=25.0)
    if syntax.is_compressed:
        ds.compress(syntax, generate_instance_uid=False)
        path = save(ds)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        path = save(ds)
    clip = read_clip(path)
    assert clip.frames.shape == (3, 1, 40, 60) and clip.fps == pytest.approx(40)
    assert np.array_equal(np.round(clip.frames[:, 0].numpy() * 255), ramp)


def test_big_endian_sixteen_bits(save, ramp):
    ds = dataset((ramp.astype(np.uint16) * 16).astype(">u2"), bits_stored=12)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds["PixelData"].VR = "OW"
    clip = read_clip(save(ds))
    assert np.abs(clip.frames[:, 0].numpy() - ramp / 255 * (255 * 16 / 4095)).max() < 1e-5


def test_depths_signs_and_inversion(save, ramp):
    full = ramp.astype(np.uint16) * 257
    assert np.abs(read_clip(save(dataset(full))).frames[:, 0].numpy() - full / 65535).max() < 1e-5
    # Eight bits' worth of values in sixteen bits is not a black picture.
    assert np.abs(read_clip(save(dataset(ramp.astype(np.uint16)))).frames[:, 0].numpy() - ramp / 255).max() < 1e-5
    inverted = read_clip(save(dataset(255 - ramp, "MONOCHROME1")))
    assert np.abs(inverted.frames[:, 0].numpy() - ramp / 255).max() < 1e-5
    signed = (ramp.astype(np.int16) - 128) * 256
    assert np.abs(read_clip(save(dataset(signed))).frames[:, 0].numpy() - ramp / 255 * (255 * 256 / 65535)).max() < 1e-4


def test_colour_is_kept_and_gray_in_rgb_becomes_gray(save, ramp):
    gray = read_clip(save(dataset(np.repeat(ramp[..., None], 3, -1), "RGB")))
    assert gray.frames.shape[1] == 1 and np.abs(gray.frames[:, 0].numpy() * 255 - ramp).max() < 0.01
    coloured = np.repeat(ramp[..., None], 3, -1).copy()
    coloured[:, 5:9, 5:9] = (250, 10, 10)
    clip = read_clip(save(dataset(coloured, "RGB")))
    assert clip.frames.shape[1] == 3 and np.allclose(clip.frames[1, :, 6, 6] * 255, (250, 10, 10), atol=0.01)


def test_ybr_is_converted_once(save):
    # Pure red, ITU-R BT.601 full range: Y 76, Cb 85, Cr 255.
    pixels = np.empty((2, 16, 16, 3), np.uint8)
    pixels[:] = (76, 85, 255)
    clip = read_clip(save(dataset(pixels, "YBR_FULL")))
    assert np.allclose(clip.frames[0, :, 3, 3] * 255, (254, 0, 0), atol=2)


def test_palette_colour(save, ramp):
    ds = dataset(ramp, "PALETTE COLOR")
    table = np.arange(256, dtype=np.uint16)
    for name, lut in (("Red", table), ("Green", 255 - table), ("Blue", table // 2)):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", (lut * 256).astype("<u2").tobytes())
    clip = read_clip(save(ds))
    value = int(ramp[1, 20, 30])
    assert np.allclose(clip.frames[1, :, 20, 30] * 255, (value, 255 - value, value // 2), atol=1)


@pytest.mark.parametrize(
    ("tags", "fps", "source"),
    [
        ({"FrameTime": 20.0, "FrameIncrementPointer": 0x00181063, "CineRate": 7}, 50, "FrameTime"),
        (
            {"FrameTime": 20.0, "FrameTimeVector": [0.0, 40.0, 40.0], "FrameIncrementPointer": 0x00181065},
            25,
            "FrameTimeVector",
        ),
        ({"FrameTimeVector": [0.0, 10.0, 30.0]}, 50, "FrameTimeVector"),
        ({"CineRate": 33, "RecommendedDisplayFrameRate": 12}, 33, "CineRate"),
        ({"FrameTime": 0.0, "RecommendedDisplayFrameRate": 12}, 12, "RecommendedDisplayFrameRate"),
        ({}, 30, None),
    ],
)
def test_timing_rules(save, ramp, tags, fps, source):
    clip = read_clip(save(dataset(ramp, **tags)))
    assert (
        clip.fps == pytest.approx(fps)
        and clip.meta.get("fps_source") == source
        and clip.meta["fps_assumed"] is (source is None)
    )
    assert clip.meta.get("irregular_timing", False) is (tags.get("FrameTimeVector") == [0.0, 10.0, 30.0])


@pytest.mark.parametrize(
    ("bounds", "expected", "spacing"),
    [
        ((5, 4, 50, 35), (5, 4, 50, 35), (0.75, 0.5)),
        ((5, 4, 60, 40), (5, 4, 59, 39), (0.75, 0.5)),  # exclusive bounds
        ((11, 7, 101, 71), (6, 4, 50, 35), (1.5, 1.0)),  # of an original of twice the size
        ((5, 4, 50, 70), (5, 4, 50, 39), None),  # cropped or shrunk: the mm can't be trusted
    ],
)
def test_regions_are_clamped_or_halved(save, ramp, bounds, expected, spacing):
    small = region(0, 0, 3, 3, 0.9)
    ecg = region(0, 0, 59, 39, 0.8, data_type=10, spatial=4)
    clip = read_clip(save(dataset(ramp, SequenceOfUltrasoundRegions=[small, ecg, region(*bounds)])))
    assert clip.meta["region"] == expected
    assert clip.spacing_mm == (None if spacing is None else pytest.approx(spacing))


def test_spacing_in_other_units_is_unknown(save, ramp):
    assert (
        read_clip(save(dataset(ramp, SequenceOfUltrasoundRegions=[region(5, 4, 50, 35, units=4)]))).spacing_mm is None
    )


def test_a_colour_flow_region_is_refused_as_doppler(save, fan):
    frames = np.round(fan() * 255).astype(np.uint8)
    path = save(
        dataset(frames, SequenceOfUltrasoundRegions=[region(0, 0, 319, 239), region(90, 40, 200, 150, data_type=2)])
    )
    clip = read_clip(path)
    with pytest.raises(ClipError, match="colour Doppler"):
        find_sector(clip)


def test_no_patient_data_in_clip_errors_warnings_or_logs(save, ramp, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = save(dataset(ramp, StudyDate="not-a-date-of-Doe", FrameTime=33.0))
    caplog.clear()
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clip = read_clip(path)
        data = path.read_bytes()
        path.write_bytes(data[:-500])
        with pytest.raises(ClipError) as error:
            read_clip(path)
    said = f"{clip} {error.value} {[w.message for w in caught]} {caplog.text}"
    assert not any(word in said for word in ("Doe", "SECRET", "1950"))
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_subject_joins_a_patient_only_with_a_salt(save, ramp):
    one, two = save(dataset(ramp), "1.dcm"), save(dataset(ramp[::-1].copy()), "2.dcm")
    assert read_clip(one).subject != read_clip(two).subject
    assert read_clip(one, salt="s").subject == read_clip(two, salt="s").subject != read_clip(two, salt="t").subject


@pytest.mark.parametrize("share", [0.03, 0.5, 0.98])
def test_a_truncated_file_is_refused(tmp_path, share):
    data = open(examples.get_path("ybr_color"), "rb").read()
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ClipError, match="truncated|no image"):
        read_clip(path)


def test_corrupt_pixels_and_absurd_sizes_are_refused(save, ramp, tmp_path):
    data = bytearray(open(examples.get_path("ybr_color"), "rb").read())
    data[-9000:-1000] = bytes(8000)
    (tmp_path / "damaged.dcm").write_bytes(data)
    with pytest.raises(ClipError, match="damaged"):
        read_clip(tmp_path / "damaged.dcm")
    with pytest.raises(ClipError, match="limit"):
        read_clip(save(dataset(ramp, NumberOfFrames=2_000_000)))
    assert len(read_clip(save(dataset(ramp)), max_frames=2)) == 2


def test_damaged_jpeg_2000_is_refused_and_ends_no_process(save, ramp):
    ds = dataset(ramp)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = save(ds)
    data = bytearray(path.read_bytes())
    data[-600:-300] = b"\xff" * 300
    path.write_bytes(data)
    with pytest.raises(ClipError, match="damaged"):
        read_clip(path)


def test_a_compression_without_decoder_is_named_as_such(save, ramp):
    ds = dataset(ramp)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.94"  # JPIP
    with pytest.raises(ClipError, match="no decoder"):
        read_clip(save(ds))


@pytest.mark.parametrize(
    "name",
    [
        "JPEGLSNearLossless_08.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_dcmtk_+eb+cy+s2.dcm",
        "ExplVR_BigEnd.dcm",
        "image_dfl.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ],
)
def test_encodings_of_other_makers(name):
    path = get_testdata_file(name)
    clip, expected = read_clip(path), pydicom.dcmread(path)
    pixels = expected.pixel_array.reshape(len(clip), *clip.size, -1)
    assert np.abs(clip.frames.permute(0, 2, 3, 1).numpy() * 255 - pixels).max() <= 3


def test_other_modalities_and_reports_are_refused(save, ramp):
    with pytest.raises(ClipError, match="not ultrasound"):
        read_clip(save(dataset(ramp, Modality="CT")))
    with pytest.raises(ClipError, match="no image"):
        ds = dataset(ramp)
        del ds.PixelData, ds.Rows, ds.Columns
        read_clip(save(ds))


def test_a_file_without_preamble_is_still_dicom(tmp_path, ramp):
    ds = dataset(ramp)
    del ds.file_meta
    pydicom.dcmwrite(tmp_path / "bare", ds, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert np.array_equal(np.round(read_clip(tmp_path / "bare").frames[:, 0].numpy() * 255), ramp)


def test_the_bundled_echo():
    clip = read_clip(examples.get_path("ybr_color"))
    assert clip.frames.shape == (30, 3, 240, 320) and clip.fps == pytest.approx(30.0003, abs=1e-4)
    # Its region is that of a picture twice as large: 0.05105 cm there are 1.021 mm here.
    assert clip.meta["region"] == (42, 16, 297, 207) and clip.spacing_mm == pytest.approx((1.021, 1.021), abs=1e-3)
    assert float(clip.frames.max()) > 0.8 and float(clip.frames.min()) == 0
    require_motion(clip)


@pytest.mark.parametrize("name", ["rgb_color", "palette_color", "jpeg2k"])
def test_stills_of_other_organs_are_read_and_then_refused(name):
    clip = read_clip(examples.get_path(name))
    assert len(clip) == 1
    with pytest.raises(ClipError, match="cine loop"):
        require_motion(clip)
    with pytest.raises(ClipError, match="sector"):
        find_sector(clip)
