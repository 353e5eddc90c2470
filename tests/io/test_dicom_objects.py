"""SEG and SR: what highdicom, pydicom and a validator read in them, whose they are, and what of the source's header
they leave behind."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from pydicom import Dataset

from echokdm.core.errors import ClipError, OutputError
from echokdm.core.types import Clip
from echokdm.io.dicom_out import Origin, write_dicom
from echokdm.io.dicom_seg import write_segmentation
from echokdm.io.dicom_source import read_source
from echokdm.io.dicom_sr import EDV, EF, ESV, GLS, Beat, write_measures

ORIGIN = Origin("ab" * 32, "folder/of/mine")
KEPT = {
    "PatientName": "Süß^Änne=漢^字",
    "PatientID": "0815",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyDate": "20200304",
    "StudyTime": "101112.5",
    "AccessionNumber": "A-17",
}
LEFT = {
    "InstitutionName": "PLANTED clinic",
    "ReferringPhysicianName": "PLANTED^Doctor",
    "StudyID": "PLANTED",
    "OperatorsName": "PLANTED",
    "StudyDescription": "PLANTED words",
    "PatientComments": "PLANTED",
    "StationName": "PLANTED",
    "AdditionalPatientHistory": "PLANTED",
}
FRAMES, HEIGHT, WIDTH = 11, 41, 33  # neither bits nor bytes come out even
BEATS = [Beat(0, 4, 55.126, -17.34, 100.25, 45.1), Beat(5, 9, 53.2, -16.9, 99.0, 46.3)]
NUMBERS = {"edv": EDV, "esv": ESV, "ef": EF, "gls": GLS}


def patients_clip(path: Path, frames: int = FRAMES, **changes: str | None) -> Path:
    """A clip of a patient, with more in its header than objects may take over; a None among the changes removes."""
    write_dicom(
        path,
        Clip(torch.rand(frames, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)), 30, (0.9, 0.8)),
        Origin("0"),
    )
    ds = pydicom.dcmread(path)
    del ds.SyntheticData
    for keyword, value in {**KEPT, **LEFT, **changes}.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.private_block(0x0011, "PLANTED", create=True).add_new(1, "LO", "PLANTED")
    ds.save_as(path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return patients_clip(tmp_path / "clip.dcm")


@pytest.fixture
def source(clip: Path) -> Dataset:
    return read_source(clip)


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.random.default_rng(0).random((FRAMES, HEIGHT, WIDTH)) > 0.6
    masks[3] = False
    return masks


def test_masks_are_read_back_bit_by_bit(tmp_path: Path, source: Dataset, masks: np.ndarray) -> None:
    write_segmentation(tmp_path / "s.dcm", masks, source, ORIGIN)
    assert np.array_equal(pydicom.dcmread(tmp_path / "s.dcm").pixel_array, masks)
    seg = hd.seg.segread(tmp_path / "s.dcm")
    frames = seg.get_pixels_by_source_frame(source.SOPInstanceUID, list(range(1, FRAMES + 1)))
    assert frames.shape == (*masks.shape, 1) and np.array_equal(frames[..., 0], masks)
    backwards = seg.get_pixels_by_source_frame(source.SOPInstanceUID, [7, 2])
    assert np.array_equal(backwards[..., 0], masks[[6, 1]])  # by the references, not by their order


def test_each_mask_names_its_frame_and_the_segment_its_tissue_and_maker(
    tmp_path: Path, source: Dataset, masks: np.ndarray
) -> None:
    write_segmentation(tmp_path / "s.dcm", masks, source, ORIGIN)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    pictures = [
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in ds.PerFrameFunctionalGroupsSequence
    ]
    assert [picture.ReferencedFrameNumber for picture in pictures] == list(range(1, FRAMES + 1))
    assert {picture.ReferencedSOPInstanceUID for picture in pictures} == {source.SOPInstanceUID}
    assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    (segment,) = ds.SegmentSequence
    coded = segment.SegmentedPropertyTypeCodeSequence[0], segment.AnatomicRegionSequence[0]
    assert [(code.CodeValue, code.CodingSchemeDesignator) for code in coded] == [
        ("87612001", "SCT"),
        ("87878005", "SCT"),
    ]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (
        segment.SegmentAlgorithmType == "AUTOMATIC"
        and algorithm.AlgorithmName == "echokdm"
        and algorithm.AlgorithmVersion
    )
    assert algorithm.AlgorithmParameters == f"bundle mine; weights SHA-256 {ORIGIN.weights_hash}"
    write_segmentation(tmp_path / "by_hand.dcm", masks, source)
    assert pydicom.dcmread(tmp_path / "by_hand.dcm").SegmentSequence[0].SegmentAlgorithmType == "MANUAL"


def test_numbers_are_read_back_with_their_codes_and_frames(tmp_path: Path, source: Dataset) -> None:
    write_measures(tmp_path / "m.dcm", BEATS, 0.873, source, ORIGIN)
    report = hd.sr.srread(tmp_path / "m.dcm")
    clip, *beats = report.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in (clip, *beats)] == ["Clip", "Beat 1", "Beat 2"]
    for key, (value, scheme, meaning) in NUMBERS.items():
        code = hd.sr.CodedConcept(value, scheme, meaning)
        unit = "mL" if key in ("edv", "esv") else "%"
        truths = [getattr(beat, key) for beat in BEATS]
        for group, truth in zip((clip, *beats), (np.mean(truths), *truths), strict=True):
            (number,) = group.get_measurements(code)
            assert number.value == pytest.approx(truth, abs=6e-4) and (
                number.unit.value,
                number.unit.scheme_designator,
            ) == (unit, "UCUM")
        frames = [
            number.referenced_images[0].referenced_frame_numbers
            for number in (beat.get_measurements(code)[0] for beat in beats)
        ]
        assert frames == [
            [getattr(beat, end) + 1 for end in ("ed", "es") if key in ("ef", "gls") or key == f"{end}v"]
            for beat in BEATS
        ]
    (sure,) = clip.get_measurements(hd.sr.CodedConcept("111012", "DCM", "Certainty of Finding"))
    assert sure.value == pytest.approx(87.3)
    texts = {
        element.value for element in pydicom.dcmread(tmp_path / "m.dcm").iterall() if element.keyword == "TextValue"
    }
    assert {"echokdm", version("echokdm"), "bundle mine", f"weights SHA-256 {ORIGIN.weights_hash}"} <= texts
    assert [uids[2] for uids in report.get_evidence()] == [source.SOPInstanceUID]


def test_they_belong_to_the_sources_patient_and_study_and_take_nothing_else(
    tmp_path: Path, clip: Path, masks: np.ndarray
) -> None:
    given, source = pydicom.dcmread(clip), read_source(clip)
    write_segmentation(tmp_path / "s.dcm", masks, source, ORIGIN)
    write_measures(tmp_path / "m.dcm", BEATS, None, source, ORIGIN)
    for name in ("s.dcm", "m.dcm"):
        ds = pydicom.dcmread(tmp_path / name)
        for keyword, value in KEPT.items():
            assert str(ds[keyword].value) == value, keyword
        assert ds.StudyInstanceUID == given.StudyInstanceUID
        assert not {ds.SeriesInstanceUID, ds.SOPInstanceUID} & {given.SeriesInstanceUID, given.SOPInstanceUID}
        assert b"PLANTED" not in (tmp_path / name).read_bytes() and ds.ReferringPhysicianName == ""
        assert (ds.ContentDate, ds.ContentTime) == (KEPT["StudyDate"], KEPT["StudyTime"]) and "SyntheticData" not in ds
    assert source == read_source(clip)  # and it is as it was


def test_of_a_synthetic_clip_they_say_so(tmp_path: Path, masks: np.ndarray) -> None:
    write_dicom(tmp_path / "synth.dcm", Clip(torch.rand(FRAMES, 1, HEIGHT, WIDTH), 30), ORIGIN)
    source = read_source(tmp_path / "synth.dcm")
    write_segmentation(tmp_path / "s.dcm", masks, source, ORIGIN)
    write_measures(tmp_path / "m.dcm", BEATS, None, source, ORIGIN)
    for name in ("s.dcm", "m.dcm"):
        ds = pydicom.dcmread(tmp_path / name)
        assert (
            ds.SyntheticData == "YES"
            and ds.SeriesDescription.startswith("SYNTHETIC")
            and ds.PatientName == "SYNTHETIC^ECHOKDM"
        )
        assert ds.ContentDate == "19700101"  # it has no date of its own


def test_same_run_same_bytes_other_run_other_uids(tmp_path: Path, source: Dataset, masks: np.ndarray) -> None:
    def run(name: str, masks: np.ndarray, beats: list[Beat], origin: Origin | None) -> tuple[list[bytes], set[str]]:
        files = [tmp_path / f"{name}-s.dcm", tmp_path / f"{name}-m.dcm"]
        uids = [
            write_segmentation(files[0], masks, source, origin),
            write_measures(files[1], beats, 0.9, source, origin),
        ]
        return [file.read_bytes() for file in files], {uid for of in uids for uid in of.values()}

    bytes_, uids = run("a", masks, BEATS, ORIGIN)
    assert run("b", masks, BEATS, ORIGIN) == (bytes_, uids) and len(uids) == 4
    assert not run("c", masks, BEATS, Origin("cd" * 32))[1] & uids
    assert not run("d", ~masks, BEATS[:1], ORIGIN)[1] & uids


@pytest.mark.parametrize("frames", [1, FRAMES])
@pytest.mark.parametrize("origin", [ORIGIN, None])
def test_a_validator_finds_no_error(
    tmp_path: Path, masks: np.ndarray, frames: int, origin: Origin | None, valid_dicom: Callable[[Path], None]
) -> None:
    source = read_source(patients_clip(tmp_path / "clip.dcm", frames))
    write_segmentation(tmp_path / "s.dcm", masks[:frames], source, origin)
    write_measures(tmp_path / "m.dcm", BEATS if frames > 1 else [], 0.9 if origin else None, source, origin)
    for name in ("s.dcm", "m.dcm"):
        valid_dicom(tmp_path / name)


def test_volumes_without_a_spacing_are_left_out(tmp_path: Path, source: Dataset) -> None:
    write_measures(tmp_path / "m.dcm", [Beat(0, 4, 55.1, -17.3)], None, source, ORIGIN)
    for group in hd.sr.srread(tmp_path / "m.dcm").content.get_image_measurement_groups():
        names = {number.name.value for number in group.get_measurements()}
        assert {EF[0], GLS[0]} <= names and not {EDV[0], ESV[0]} & names


def test_a_source_of_one_frame_is_referred_to_as_a_whole(tmp_path: Path, masks: np.ndarray) -> None:
    source = read_source(patients_clip(tmp_path / "clip.dcm", 1, NumberOfFrames=None))
    write_segmentation(tmp_path / "s.dcm", masks[:1], source, ORIGIN)
    write_measures(tmp_path / "m.dcm", [], 0.5, source, ORIGIN)
    assert "ReferencedFrameNumber" not in str(pydicom.dcmread(tmp_path / "s.dcm"))
    assert np.array_equal(pydicom.dcmread(tmp_path / "s.dcm").pixel_array, masks[0])
    assert [uids[2] for uids in hd.sr.srread(tmp_path / "m.dcm").get_evidence()] == [source.SOPInstanceUID]


def test_what_is_not_valid_is_left_empty(tmp_path: Path) -> None:
    clip = patients_clip(tmp_path / "clip.dcm")
    raw = clip.read_bytes()
    assert raw.count(b"19500102") == raw.count(b"20200304") == 1
    clip.write_bytes(raw.replace(b"19500102", b"JAN 1950").replace(b"20200304", b"MARCH 20"))
    source = read_source(clip)
    assert source.PatientBirthDate == source.StudyDate == "" and source.PatientID == KEPT["PatientID"]
    assert read_source(patients_clip(clip, PatientSex="W")).PatientSex == ""


def test_odd_names_are_carried_over_and_told_to_nobody(
    tmp_path: Path, masks: np.ndarray, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """An archive knows the clip by them as they are."""
    clip = patients_clip(tmp_path / "clip.dcm")
    ds = pydicom.dcmread(clip)
    ds.PatientName, ds.PatientID = "PLA", "x" * 70
    ds.save_as(clip)
    recwarn.clear(), caplog.clear()
    source = read_source(clip)
    write_segmentation(tmp_path / "s.dcm", masks, source, ORIGIN)
    write_measures(tmp_path / "m.dcm", BEATS, None, source, ORIGIN)
    assert not recwarn.list and not caplog.text
    for name in ("s.dcm", "m.dcm"):
        made = pydicom.dcmread(tmp_path / name)
        assert made.PatientName == "PLA" and made.PatientID == "x" * 70


def test_what_cannot_be_referred_to_is_refused_in_one_sentence(
    tmp_path: Path, source: Dataset, masks: np.ndarray
) -> None:
    (tmp_path / "clip.gif").write_bytes(b"GIF89a" + bytes(600))
    with pytest.raises(ClipError, match="not DICOM"):
        read_source(tmp_path / "clip.gif")
    with pytest.raises(ClipError, match="UID") as error:
        read_source(patients_clip(tmp_path / "b.dcm", StudyInstanceUID=None))
    assert not any(value in str(error.value) for value in KEPT.values())
    with pytest.raises(OutputError, match="a mask a frame"):
        write_segmentation(tmp_path / "s.dcm", masks[1:], source, ORIGIN)
    assert not (tmp_path / "s.dcm").exists()
