"""A hospital's folder with a patient planted wherever DICOM has room: not a byte of it may be found in what is put
out."""

import csv
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from hospital import BINARY, NUMBER, TEXT, WORDS, attributes, hospital
from pydicom import examples
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

SALT = b"a secret of the hospital"


@pytest.fixture(scope="session")
def run(tmp_path_factory, scene):
    """The hospital's folder through the command: what it put out, what it said, and what was expected of each file by
    its number."""
    root = tmp_path_factory.mktemp("deid")
    source, out = root / "in", root / "out"
    expected = {}
    for name, (ds, reason, tail) in hospital(scene).items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with pydicom.config.disable_value_validation():
            ds.save_as(
                path,
                enforce_file_format=True,
                little_endian=ds.file_meta.TransferSyntaxUID != ExplicitVRBigEndian,
                implicit_vr=ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian,
            )
        path.write_bytes(path.read_bytes() + tail)
        expected[path] = reason
    others = source / "KOWALSKI_Jan_19470811"
    real = source / "19470811.dcm"
    real.write_bytes(Path(examples.get_path("ybr_color")).read_bytes())
    (others / "letter_KOWALSKI.txt").write_text("Dear Dr Kowalski")
    (others / "empty_KOWALSKI").touch()
    (others / "broken_KOWALSKI.dcm").symlink_to(others / "nothing")
    (others / "loop_KOWALSKI").symlink_to(source)
    os.mkfifo(others / "pipe_KOWALSKI")
    unnameable = others / os.fsdecode(b"KOWALSKI_\xff\xfe")  # no text in any encoding of today's
    unnameable.write_bytes(b"PNG")
    expected |= {
        real: "",
        unnameable: "NOT_DICOM",
        others / "letter_KOWALSKI.txt": "NOT_DICOM",
        others / "empty_KOWALSKI": "NOT_DICOM",
        others / "broken_KOWALSKI.dcm": "UNREADABLE",
        others / "loop_KOWALSKI": "FOLDER_LINK",
        others / "pipe_KOWALSKI": "NOT_A_FILE",
    }
    salt = root / "salt"
    salt.write_bytes(SALT)
    command = "import typer; from echokdm.cli.deid import deid; app = typer.Typer(); app.command()(deid); app()"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", command, str(source), str(out), "--salt", str(salt)], capture_output=True
    )
    listed = subprocess.run(
        f"find {source} ! -type d | LC_ALL=C sort", shell=True, capture_output=True
    ).stdout.splitlines()
    assert done.returncode == 0, done.stderr.decode()
    return SimpleNamespace(
        source=source,
        out=out,
        said=done.stdout + done.stderr,
        expected=expected,
        numbers={number: Path(os.fsdecode(path)) for number, path in enumerate(listed, 1)},
        quarantine=dict(list(csv.reader((out / "quarantine.csv").read_text().splitlines()))[1:]),
        manifest=list(csv.DictReader((out / "manifest.csv").read_text().splitlines())),
    )


def test_enough_was_planted(run):
    assert len(run.expected) >= 65 and len(list(run.source.rglob("*.dcm"))) >= 60
    text = b"".join(path.read_bytes() for path in run.numbers.values() if path.is_file())
    for word in WORDS:
        assert word.encode() in text
    assert sum(len(attributes(vr)) for vr in (*TEXT, *BINARY, "SQ")) > 4500


def test_not_a_byte_of_the_patient_is_put_out_or_said(run):
    outputs = [path for path in run.out.rglob("*") if path.is_file()]
    binary = [struct.pack(form, NUMBER) for form in ("<q", ">q", "<d", ">d", "<f")]
    for name, data in [(path.name, path.read_bytes()) for path in outputs] + [("what was said", run.said)]:
        head = data[: -120 * 160 * 10] if name.endswith(".dcm") else data
        for word in WORDS:
            # Four digits alone may come by chance in a UID or in pixels.
            assert word == "1947" or word.encode() not in data, f"{word} in {name}"
            assert word.encode("utf-16-le") not in data
        assert not any(pattern in head for pattern in binary) and struct.pack("<I", NUMBER) not in head
        assert SALT not in data and SALT.hex().encode() not in data
    names = " ".join(path.relative_to(run.out).as_posix() for path in outputs)
    assert not any(word in names for word in WORDS)
    assert b"KOWALSKI" not in run.said and str(run.source).encode() not in run.said


def test_each_file_is_put_out_or_quarantined_as_it_should(run):
    from echokdm.deid.reasons import Reason

    sentences = {run.numbers[int(number)]: reason for number, reason in run.quarantine.items()}
    wrong = [
        (path.name, sentences.get(path), reason)
        for path, reason in run.expected.items()
        if sentences.get(path, "") != (Reason[reason].value if reason else "")
    ]
    assert not wrong
    assert (
        len(run.manifest) == len(run.expected) - len(run.quarantine) == len(list(run.out.glob("subject-*/clip-*.dcm")))
    )


def test_pixels_outside_the_fan_are_black_and_inside_are_kept(run, scene):
    outside, inside = ~scene["inside_fan"](0.5), scene["inside_fan"](-5.0)
    sources = [scene["fan"](seed)[:, inside] for seed in range(3)]
    small = 0
    for row in run.manifest:
        ds = pydicom.dcmread(run.out / row["output"])
        pixels = ds.pixel_array
        assert ds.BurnedInAnnotation == "NO" and pixels.any()
        if pixels.shape[1:] == outside.shape:
            assert not pixels[:, outside].any()
            assert any(np.abs(pixels[:, inside].astype(int) - source).max() <= 1 for source in sources)
            small += 1
    assert small == len(run.manifest) - 1


def test_the_real_clip_keeps_its_sector_and_loses_its_text(run):
    row = next(row for row in run.manifest if row["columns"] == "320")
    pixels = pydicom.dcmread(run.out / row["output"]).pixel_array
    assert pixels.shape == (30, 240, 320) and row["fps"] == "30.0003" and row["row_mm"] == "1.021"
    # Name, mode, scale, marker dot, menu; the edges were traced by hand.
    for box in (
        np.s_[:, :26, :40],
        np.s_[:, :, 298:],
        np.s_[:, 15:25, 186:194],
        np.s_[:, 202:],
        np.s_[:, :, :42],
        np.s_[:, 70, :111],
    ):
        assert not pixels[box].any()
    assert (pixels[:, 100:180, 110:230].mean(0) > 0).mean() > 0.95


def test_the_header_says_what_was_done(run):
    for row in run.manifest:
        ds = pydicom.dcmread(run.out / row["output"])
        assert (ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified, ds.StudyDate) == (
            "YES",
            "REMOVED",
            "",
        )
        assert [code.CodeValue for code in ds.DeidentificationMethodCodeSequence] == ["113100", "113101"]
        assert ds.PatientID == row["subject"] and ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds[ds.FrameIncrementPointer].keyword == "FrameTime"
        assert float(ds.FrameTime) == pytest.approx(1000 / float(row["fps"]), rel=1e-4)
        for element in ds.iterall():
            for value in element.value if element.VM > 1 and element.VR != "OB" else [element.value]:
                if element.VR in ("CS", "LO", "SH", "DS", "IS", "UI", "PN", "ST"):
                    pydicom.valuerep.validate_value(element.VR, str(value or ""), pydicom.config.RAISE)
        assert len(ds.DeidentificationMethod) == (3 if row["fps_from"] == "assumed" else 2)
    # Of the clips with an identifier for a frame time or a rate.
    assert [row["fps"] for row in run.manifest if row["fps_from"] == "assumed"] == ["30.0", "30.0"]
    uids = [pydicom.dcmread(run.out / row["output"]).SOPInstanceUID for row in run.manifest]
    assert len(set(uids)) == len(uids)


def test_no_attribute_that_the_profile_removes(run):
    """PS3.15 table E.1-1, as a well-kept package has it, against every attribute that was written."""
    table = pytest.importorskip(
        "dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c", reason="needs dicom-anonymizer"
    )
    removed = {tag for tag in table.X_TAGS if len(tag) == 2}
    for row in run.manifest:
        ds = pydicom.dcmread(run.out / row["output"])
        assert not [element.keyword for element in ds.iterall() if (element.tag.group, element.tag.element) in removed]


def test_review_sheets_show_every_clip(run):
    from PIL import Image

    sheets = sorted((run.out / "review").iterdir())
    assert [sheet.name for sheet in sheets] == [f"sheet-{n:03d}.png" for n in range(1, -(-len(run.manifest) // 6) + 1)]
    first = np.asarray(Image.open(sheets[0]))
    assert (first[:, :480] > 60).any() and (first[:, 480:960] > 60).any()
