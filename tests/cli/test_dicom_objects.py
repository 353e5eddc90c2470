"""`--dicom`: the objects hold what the other files say, belong to the source's patient, and are written where they were
asked for alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from typer.testing import CliRunner, Result

from echokdm.cli.app import app
from echokdm.core.types import Clip
from echokdm.io.dicom_out import Origin, write_dicom
from echokdm.io.dicom_sr import EDV, EF, ESV, GLS
from echokdm.io.tracings import read_tracings
from echokdm.ops.ventricle import keypoints_from_tracing, keypoints_to_mask

RUNNER = CliRunner()
OBJECTS = {"segmentation.dcm", "measures.dcm"}


@pytest.fixture
def source(tmp_path: Path, drawn_clip: Clip, as_every_bundle, pipeline) -> Path:
    """A patient's clip; the bundle is the drawn heart's pipeline."""
    pipeline.confidence = torch.linspace(0.7, 1, len(drawn_clip))
    as_every_bundle(pipeline)
    path = tmp_path / "source.dcm"
    write_dicom(path, drawn_clip, Origin("0"))
    ds = pydicom.dcmread(path)
    del ds.SyntheticData
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.AccessionNumber = (
        "PLANTED^Name",
        "PLANTED-1",
        "19470815",
        "PLANTED-2",
    )
    ds.save_as(path)
    return path


def done(words: list[str]) -> Result:
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    return result


def numbers(file: Path) -> list[dict[str, float]]:
    """Of the clip, then of each beat: code value -> number."""
    groups = hd.sr.srread(file).content.get_image_measurement_groups()
    return [{number.name.value: number.value for number in group.get_measurements()} for group in groups]


def test_objects_of_a_clip_say_what_the_other_files_say(
    here: Path, source: Path, pipeline, valid_dicom: Callable[[Path], None]
) -> None:
    from echokdm.echo.bundle import weights_hash

    result = done(["keypoints", str(source), "--dicom"])
    folder, given = here / "keypoints-1", pydicom.dcmread(source)
    assert "PLANTED" not in result.output and all(name in result.stdout for name in OBJECTS)
    seg, report = (pydicom.dcmread(folder / name) for name in ("segmentation.dcm", "measures.dcm"))
    masks = np.asarray(nibabel.load(folder / "masks.nii.gz").dataobj)[:, :, 0].transpose(2, 1, 0)
    assert masks.any((1, 2)).all() and np.array_equal(seg.pixel_array, masks)
    pixels = hd.seg.segread(folder / "segmentation.dcm").get_pixels_by_source_frame(
        given.SOPInstanceUID, list(range(1, len(masks) + 1))
    )
    assert np.array_equal(pixels[..., 0], masks)

    record = json.loads((folder / "measures.json").read_text())
    clip, *beats = numbers(folder / "measures.dcm")
    assert clip[EF[0]] == pytest.approx(record["ef_percent"], abs=0.01) and clip["111012"] == pytest.approx(85, abs=0.1)
    assert len(beats) == len(record["beats"])
    for beat, told in zip(beats, record["beats"], strict=True):
        assert [beat[code[0]] for code in (EDV, ESV, EF)] == pytest.approx(
            [told["edv"], told["esv"], told["ef_percent"]], abs=0.006
        )
        assert -30 < beat[GLS[0]] < -5
    for ds in (seg, report):
        assert (ds.PatientName, ds.PatientID, ds.StudyInstanceUID) == (
            "PLANTED^Name",
            "PLANTED-1",
            given.StudyInstanceUID,
        )
        assert f"weights SHA-256 {weights_hash(pipeline)}" in str(ds.to_json())
    for name in OBJECTS:
        valid_dicom(folder / name)


def test_without_being_asked_nothing_of_the_patient_is_put_out(here: Path, source: Path) -> None:
    done(["keypoints", str(source)])
    done(["keypoints", str(source), "--dicom", "--keypoints", "keypoints-1/keypoints.csv"])
    plain, asked = here / "keypoints-1", here / "keypoints-2"
    assert {path.name for path in asked.iterdir()} - {path.name for path in plain.iterdir()} == OBJECTS
    for path in [*plain.iterdir(), *(path for path in asked.iterdir() if path.name not in OBJECTS)]:
        assert b"PLANTED" not in path.read_bytes() and b"19470815" not in path.read_bytes(), path.name
    # Outlines from a file are a person's, and nobody knows how sure of them.
    assert pydicom.dcmread(asked / "segmentation.dcm").SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    assert "111012" not in numbers(asked / "measures.dcm")[0]


def test_objects_of_a_synthetic_clip_are_of_it_alone(
    here: Path, source: Path, valid_dicom: Callable[[Path], None]
) -> None:
    done(["synth", str(source), "--ef", "30", "--dicom", "--out", "one"])
    made, seg = (pydicom.dcmread(here / "one" / name) for name in ("synth.dcm", "segmentation.dcm"))
    traced = read_tracings(here / "one" / "keypoints.csv")["synth"]
    drawn = np.stack(
        [keypoints_to_mask(keypoints_from_tracing(traced[t]), made.Rows, made.Columns) for t in range(len(traced))]
    )
    assert (seg.pixel_array != drawn).mean() < 1e-4  # the table has six decimals
    assert seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == made.SOPInstanceUID
    record = json.loads((here / "one" / "run.json").read_text())
    clip = numbers(here / "one" / "measures.dcm")[0]
    assert clip[EF[0]] == pytest.approx(record["ef_percent"]["drawn"], abs=0.01)
    assert clip[GLS[0]] == pytest.approx(record["longitudinal_strain_percent"]["drawn"]["global"], abs=0.01)
    for name in OBJECTS:
        data = (here / "one" / name).read_bytes()
        assert b"PLANTED" not in data and pydicom.dcmread(source).StudyInstanceUID.encode() not in data
        valid_dicom(here / "one" / name)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["keypoints", "clip.npz"], "not DICOM"),
        (["keypoints", "source.dcm", "--any-view"], "4-chamber"),
        (["synth", "source.dcm", "--any-view"], "4-chamber"),
    ],
)
def test_what_has_no_place_for_them_is_refused_before_any_work(
    here: Path, tmp_path: Path, source: Path, drawn_clip: Clip, words: list[str], told: str
) -> None:
    np.savez_compressed(
        tmp_path / "clip.npz", frames=(drawn_clip.frames[:, 0].numpy() * 255).round().astype(np.uint8), fps=25.0
    )
    command, name, *options = words
    result = RUNNER.invoke(app, [command, str(tmp_path / name), "--dicom", *options])
    assert result.exit_code == 2 and re.fullmatch(f"Error: [^\n]*{told}[^\n]*\n", result.stderr), result.stderr
    assert not list(here.iterdir())
