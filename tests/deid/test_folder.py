"""The folder as a whole: consistency, determinism, dates, duplicates, mixed patients, limits, and where it may be
written."""

import csv
import hashlib
import os
import secrets
import zlib

import numpy as np
import pydicom
import pytest
import typer
from pydicom.uid import DeflatedExplicitVRLittleEndian
from typer.testing import CliRunner

from echokdm.cli.deid import deid
from echokdm.core.errors import ClipError, ConfigError, OutputError
from echokdm.deid import Limits, deidentify_folder
from echokdm.deid.folder import list_inputs
from echokdm.deid.identity import Pseudonyms
from echokdm.deid.one_file import deidentify_file
from echokdm.deid.reasons import Reason, Refusal
from echokdm.deid.worker_process import Worker

SALT = b"sixteen bytes, or more"


def tree(folder):
    """{relative path: SHA-256} of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def study(tmp_path_factory, scene):
    """A folder of 14 files of eight patients: what belongs together, and what contradicts itself."""
    root = tmp_path_factory.mktemp("study")
    fans = [scene["fan"](seed) for seed in range(3)]

    def put(name, pixels, patient, study, instance, **tags):
        given = {
            "PatientID": patient,
            "PatientName": "Doe^Jane",
            "PatientBirthDate": "19500102",
            "PatientSex": "F",
            "StudyInstanceUID": f"1.2.{study}",
            "SeriesInstanceUID": f"1.2.{study}.1",
            "SOPInstanceUID": f"1.2.{study}.1.{instance}",
            **tags,
        }
        path = root / name
        path.parent.mkdir(exist_ok=True)
        scene["echo"](pixels, **given).save_as(path, enforce_file_format=True)

    put("a/1.dcm", fans[0], "A", 1, 1, StudyDate="20200105")
    put("a/2.dcm", fans[1], "A", 1, 2, StudyDate="20200105")
    put("b/3.dcm", fans[2], "A", 2, 1, StudyDate="20200205", PatientName="DOE^JANE^^", SeriesInstanceUID="1.2.2.9")
    put("b/copy.dcm", fans[1], "A", 1, 2, StudyDate="20200105")
    put("c/1.dcm", fans[0], "B", 3, 1, StudyDate="not a da")
    put("c/other.dcm", fans[1], "C", 4, 1)
    put("c/same_uid.dcm", fans[2], "C", 4, 1)
    put("d/man.dcm", fans[0], "D", 5, 1, PatientSex="M")
    put("d/woman.dcm", fans[1], "D", 6, 1)
    put("e/1.dcm", fans[0], "E", 7, 1)
    put("e/2.dcm", fans[1], "F", 7, 2)
    put("f/1.dcm", fans[0], "", 8, 1, StudyDate="20200105")
    put("f/2.dcm", fans[1], "", 9, 1)
    (root / "g.txt").write_text("a note")
    return root


@pytest.fixture(scope="module")
def first(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "out"
    steps = []
    summary = deidentify_folder(
        study, out, salt=SALT, shift_dates=True, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(n, 14) for n in range(1, 15)]
    return out, summary


def datasets(out):
    """{the pseudonymous SOP instance UID: data set without pixels}."""
    found = [pydicom.dcmread(path, stop_before_pixels=True) for path in out.glob("subject-*/*.dcm")]
    return {ds.SOPInstanceUID: ds for ds in found}


def test_contradictions_are_quarantined_and_duplicates_kept_once(first):
    out, summary = first
    expected = {
        4: Reason.DUPLICATE,
        6: Reason.CONFLICTING,
        7: Reason.CONFLICTING,
        8: Reason.MIXED_PATIENT,
        9: Reason.MIXED_PATIENT,
        10: Reason.MIXED_STUDY,
        11: Reason.MIXED_STUDY,
        14: Reason.NOT_DICOM,
    }
    assert summary.inputs == 14 and dict(summary.quarantined) == expected and len(summary.outputs) == 6
    rows = list(csv.reader((out / "quarantine.csv").read_text().splitlines()))
    assert rows == [["number", "reason"], *([str(n), reason.value] for n, reason in expected.items())]


def test_a_validator_finds_no_error_in_a_clip(first, valid_dicom):
    valid_dicom(next(first[0].glob("subject-*/*.dcm")))


def test_subjects_and_uids_agree_within_a_patient_a_study_and_a_series(first):
    out, _ = first
    uid = Pseudonyms(SALT).uid
    clips = datasets(out)
    assert set(clips) == {
        uid("instance", name) for name in ("1.2.1.1.1", "1.2.1.1.2", "1.2.2.1.1", "1.2.3.1.1", "1.2.8.1.1", "1.2.9.1.1")
    }
    one, two, later, other, nameless, another = (
        clips[uid("instance", f"1.2.{end}")] for end in ("1.1.1", "1.1.2", "2.1.1", "3.1.1", "8.1.1", "9.1.1")
    )
    assert one.PatientID == two.PatientID == later.PatientID
    assert len({one.PatientID, other.PatientID, nameless.PatientID, another.PatientID}) == 4
    assert one.StudyInstanceUID == two.StudyInstanceUID != later.StudyInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID != later.SeriesInstanceUID
    assert all(
        pydicom.uid.UID(value).is_valid for value in (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    )
    rows = list(csv.DictReader((out / "manifest.csv").read_text().splitlines()))
    folders = {row["subject"]: row["output"].split("/")[0] for row in rows}
    assert len(set(folders.values())) == len(folders) == 4
    assert {row["subject"] for row in rows} == {ds.PatientID for ds in clips.values()}


def test_dates_keep_a_patients_intervals_and_nothing_else(first):
    out, _ = first
    clips, uid = datasets(out), Pseudonyms(SALT).uid
    one, later, other, nameless = (clips[uid("instance", f"1.2.{end}")] for end in ("1.1.1", "2.1.1", "3.1.1", "8.1.1"))
    days = [
        np.datetime64(f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}") for ds in (one, later, nameless)
    ]
    assert (days[1] - days[0]).astype(int) == 31  # 5 January to 5 February
    assert (
        all(365 <= (np.datetime64("2020-01-05") - day).astype(int) < 3650 for day in (days[0], days[2]))
        and days[0] != days[2]
    )
    assert other.StudyDate == "" and other.LongitudinalTemporalInformationModified == "REMOVED"
    assert [code.CodeValue for code in one.DeidentificationMethodCodeSequence] == ["113100", "113101", "113107"]


def test_the_same_salt_gives_the_same_bytes(study, first, tmp_path):
    deidentify_folder(study, tmp_path / "again", salt=SALT, shift_dates=True)
    assert tree(tmp_path / "again") == tree(first[0])


@pytest.mark.parametrize("place", ["in/out", "in", "."])
def test_the_output_must_lie_apart_and_be_new(tmp_path, place):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    (tmp_path / "old").mkdir()
    with pytest.raises(OutputError, match="inside the input|around it"):
        deidentify_folder(tmp_path / "in", tmp_path / place)
    with pytest.raises(OutputError, match="exists"):
        deidentify_folder(tmp_path / "in", tmp_path / "old")
    assert not list((tmp_path / "old").iterdir()) and len(list((tmp_path / "in").iterdir())) == 1


def test_inputs_that_are_none_and_short_salts(tmp_path):
    (tmp_path / "in" / "below").mkdir(parents=True)
    with pytest.raises(ClipError, match="no file"):
        deidentify_folder(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ClipError, match="does not exist"):
        deidentify_folder(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ConfigError, match="16 bytes"):
        deidentify_folder(tmp_path / "in", tmp_path / "out", salt=b"short")
    assert not (tmp_path / "out").exists()


def test_a_file_beyond_the_limits_is_quarantined_and_the_next_is_not(tmp_path, scene, monkeypatch):
    """A deflated file of 7 MB that unpacks to 1.6 GB; then a good one. Without a salt, one of 32 random bytes is
    drawn."""
    monkeypatch.setattr(secrets, "token_bytes", lambda count: bytes(range(count)))
    good = scene["echo"](scene["fan"](), SOPInstanceUID="1.2.3")
    (tmp_path / "in").mkdir()
    good.save_as(tmp_path / "in" / "2.dcm", enforce_file_format=True)
    good.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    del good.PixelData
    good.save_as(tmp_path / "in" / "1.dcm", enforce_file_format=True)
    head = (tmp_path / "in" / "1.dcm").read_bytes()
    packer = zlib.compressobj(1, wbits=-15)
    start = 128 + 4 + 12 + int.from_bytes(head[140:144], "little")
    data = packer.compress(zlib.decompress(head[start:], -15))
    data += b"".join(packer.compress(bytes(2**24)) for _ in range(96)) + packer.flush()
    (tmp_path / "in" / "1.dcm").write_bytes(head[:start] + data)
    summary = deidentify_folder(tmp_path / "in", tmp_path / "out", limits=Limits(memory=3 * 2**28))
    assert dict(summary.quarantined) == {1: Reason.TOO_LARGE} and len(summary.outputs) == 1
    assert set(datasets(tmp_path / "out")) == {Pseudonyms(bytes(range(32))).uid("instance", "1.2.3")}


def test_a_process_that_dies_costs_one_file(tmp_path, scene):
    source = tmp_path / "1.dcm"
    scene["echo"](scene["fan"](), SOPInstanceUID="1.2.3").save_as(source, enforce_file_format=True)
    with Worker(SALT, False, Limits()) as worker:
        facts = worker.deidentify(source, tmp_path / "a.dcm")
        worker._process.kill()
        with pytest.raises(Refusal) as refusal:
            worker.deidentify(source, tmp_path / "b.dcm")
        assert refusal.value.reason is Reason.CRASHED and not (tmp_path / "b.dcm").exists()
        assert worker.deidentify(source, tmp_path / "c.dcm") == facts
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "c.dcm").read_bytes()


def test_an_output_that_can_not_be_written_is_no_fault_of_the_input(tmp_path, scene):
    source = tmp_path / "1.dcm"
    scene["echo"](scene["fan"](), SOPInstanceUID="1.2.3").save_as(source, enforce_file_format=True)
    with pytest.raises(OutputError, match="can't be written"):
        deidentify_file(source, tmp_path / "nowhere" / "a.dcm", Pseudonyms(SALT))


def test_a_folder_that_can_not_be_opened_is_counted(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a").touch()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "no", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # permissions mean nothing to root
    assert list_inputs(tmp_path) == ([tmp_path / "open" / "a"], 1)


def test_the_command_ends_with_2_where_nothing_could_be_put_out(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "KOWALSKI.txt").write_text("no DICOM")
    app = typer.Typer()
    app.command()(deid)
    done = CliRunner().invoke(app, [str(tmp_path / "in"), str(tmp_path / "out")])
    assert done.exit_code == 2 and "Not a DICOM file" in done.output and "KOWALSKI" not in done.output
    assert (tmp_path / "out" / "quarantine.csv").read_text() == "number,reason\n1,Not a DICOM file.\n"
    missing = CliRunner().invoke(
        app, [str(tmp_path / "in"), str(tmp_path / "other"), "--salt", str(tmp_path / "KOWALSKI")]
    )
    assert isinstance(missing.exception, ConfigError) and "KOWALSKI" not in str(missing.exception)


def test_a_file_that_takes_too_long_is_quarantined(tmp_path, scene):
    (tmp_path / "in").mkdir()
    scene["echo"](scene["fan"](), SOPInstanceUID="1.2.3").save_as(tmp_path / "in" / "1.dcm", enforce_file_format=True)
    summary = deidentify_folder(tmp_path / "in", tmp_path / "out", limits=Limits(seconds=0.001))
    assert dict(summary.quarantined) == {1: Reason.TOO_SLOW} and not summary.outputs
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.csv", "quarantine.csv", "review"}


class Interrupted(Exception):
    """Stands for a kill."""


def test_a_run_that_was_stopped_goes_on_with_its_salt(study, first, tmp_path, monkeypatch):
    read = []
    deidentify = Worker.deidentify

    def until_the_fifth(self, source, target):
        if len(read) == 5:
            raise Interrupted
        read.append(source)
        return deidentify(self, source, target)

    monkeypatch.setattr(Worker, "deidentify", until_the_fifth)
    with pytest.raises(Interrupted):
        deidentify_folder(study, tmp_path / "out", salt=SALT, shift_dates=True)
    [staging] = tmp_path.iterdir()
    partial = staging / "done"
    assert {path.name for path in staging.iterdir()} == {
        "made-by-echokdm-deid",
        "done",
    } and staging.stat().st_mode & 0o777 == 0o700
    told = b"".join(path.name.encode() + path.read_bytes() for path in partial.glob("*.json"))
    assert not any(word in told for word in (b"Doe", b"DOE", b"a/1", b"1.2.1.1", str(study).encode()))
    cut = next(partial.glob("*.dcm"))  # as a power failure leaves it
    cut.write_bytes(cut.read_bytes()[:-1])
    again = []
    monkeypatch.setattr(
        Worker, "deidentify", lambda self, source, target: (again.append(source), deidentify(self, source, target))[1]
    )
    deidentify_folder(study, tmp_path / "out", salt=SALT, shift_dates=True)
    inputs, _ = list_inputs(study)
    assert len(again) == len(inputs) - 4 and set(inputs[5:]) < set(again)
    assert tree(tmp_path / "out") == tree(first[0]) and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_without_a_salt_leaves_nothing(study, tmp_path, monkeypatch):
    def stop(self, source, target):
        raise Interrupted

    monkeypatch.setattr(Worker, "deidentify", stop)
    with pytest.raises(Interrupted):
        deidentify_folder(study, tmp_path / "out")
    assert not list(tmp_path.iterdir())
