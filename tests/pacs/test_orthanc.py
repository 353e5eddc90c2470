"""Against a real archive: fetched, sent, listened for; killed twice, with nothing of the patient left anywhere."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from orthanc import PLANTED
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ArchiveError
from echokdm.pacs import Asked, Station, fetch, listen, send

SALT = b"a salt for the tests"
RUNNER = CliRunner()


def door(orthanc, kind: str) -> str:
    return orthanc.web if kind == "dicomweb" else orthanc.dimse


def wait_for(port: int) -> None:
    """Until someone listens there."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("kind", "asked", "count"),
    [("dicomweb", Asked(query={"ModalitiesInStudy": "US"}), 3), ("dimse", Asked(studies=["1.2.826.0.1.77.0"]), 2)],
)
def test_a_round_trip(orthanc, clips: list[Path], leaks, tmp_path: Path, kind: str, asked: Asked, count: int) -> None:
    url, station = door(orthanc, kind), Station(port=orthanc.port)
    sent = send(url, clips, station=station)
    assert (sent.stored, sent.there, sent.refused) == (3, 0, 0)
    assert send(url, [clips[0].parent], station=station).there == 3  # none is sent twice
    steps: list[tuple[int, int]] = []
    summary = fetch(url, tmp_path / "out", asked, salt=SALT, station=station, progress=lambda *done: steps.append(done))
    assert (
        steps == [(n, count) for n in range(1, count + 1)] and len(summary.outputs) == count and not summary.quarantined
    )
    assert not leaks(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["out"]
    orthanc.clear()
    assert send(url, [tmp_path / "out"], station=station).stored == count
    stored = orthanc.objects()
    assert len({ds.SOPInstanceUID for ds in stored}) == len(stored) == count and {
        ds.PatientIdentityRemoved for ds in stored
    } == {"YES"}
    assert not [word for file in orthanc.files() for word in PLANTED if word.encode() in file]
    ours = {ds.SOPInstanceUID: ds.PixelData for ds in map(pydicom.dcmread, (tmp_path / "out").glob("subject-*/*.dcm"))}
    assert {ds.SOPInstanceUID: ds.PixelData for ds in stored} == ours


def test_a_fetch_that_is_killed_twice_gives_each_clip_once(orthanc, clips: list[Path], leaks, tmp_path: Path) -> None:
    send(orthanc.web, clips)
    (tmp_path / "salt").write_bytes(SALT)
    words = ["fetch", orthanc.web, "out", "--query", "ModalitiesInStudy=US", "--salt", "salt"]
    code = "from echokdm.cli.app import app; app()"
    arrived, logged = [], []
    for kept in (1, 2):
        run = subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + 120
        while run.poll() is None and len(list(tmp_path.glob(".*/done/*.json"))) < kept and time.monotonic() < until:
            time.sleep(0.01)
        while run.poll() is None and not list(tmp_path.glob(".*/arrivals/*")):  # a clip lies there as it came
            time.sleep(0.001)
        os.kill(run.pid, signal.SIGKILL)
        logged.append(run.communicate()[0])
        arrived += list(tmp_path.glob(".*/arrivals/*"))
        assert run.returncode == -signal.SIGKILL and not (tmp_path / "out").exists()
    assert arrived and all(path.parent.parent.stat().st_mode & 0o077 == 0 for path in arrived)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, env=os.environ | {"COLUMNS": "80"}
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "salt"] and not leaks(tmp_path)
    assert not any(b"KOWALSKI" in text or b"1.2.826" in text for text in (*logged, done.stdout, done.stderr))
    found = [pydicom.dcmread(path) for path in (tmp_path / "out").glob("subject-*/*.dcm")]
    assert len({ds.SOPInstanceUID for ds in found}) == len(found) == 3 and b"3 of 3 files" in done.stdout


def test_what_is_sent_to_a_listener_arrives_without_its_patient(
    orthanc, clips: list[Path], leaks, tmp_path: Path
) -> None:
    still = pydicom.dcmread(clips[0])
    still.NumberOfFrames, still.SOPInstanceUID, still.PixelData = (
        1,
        "1.2.826.0.1.77.0.1.9",
        still.PixelData[: still.Rows * still.Columns],
    )
    still.file_meta.MediaStorageSOPInstanceUID = still.SOPInstanceUID
    still.save_as(tmp_path / "still.dcm")
    station, found = Station("ECHOKDM", port=orthanc.port), []
    ear = threading.Thread(target=lambda: found.append(listen(tmp_path / "out", station, idle=2.0, salt=SALT)))
    ear.start()
    wait_for(orthanc.port)
    url = f"dimse://ECHOKDM@127.0.0.1:{orthanc.port}"
    sent = send(url, [*clips[:2], tmp_path / "still.dcm"], station=Station("SCANNER"))
    again = send(url, clips[:1], station=Station("SCANNER"))  # a scanner that got no answer
    wrong = pytest.raises(ArchiveError, send, f"dimse://OTHER@127.0.0.1:{orthanc.port}", clips[:1])
    ear.join()
    (tmp_path / "still.dcm").unlink()
    assert (sent.stored, sent.refused, again.stored) == (2, 1, 1) and wrong.match("refuses to talk to this station")
    (summary,) = found
    assert (
        summary.inputs == 3
        and len(summary.outputs) == 2
        and [reason.name for reason in summary.quarantined.values()] == ["TOO_SHORT"]
    )
    assert not leaks(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_listener_that_was_killed_gives_what_it_had(orthanc, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(SALT)
    words = ["listen", "out", "--salt", "salt", "--port", str(orthanc.port)]

    def begin() -> subprocess.Popen:
        # Ctrl-C is heard even where tests run in the background of a shell, which has it ignored.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from echokdm.cli.app import app; app()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    run = begin()
    url = f"dimse://ECHOKDM@127.0.0.1:{orthanc.port}"
    wait_for(orthanc.port)
    assert send(url, clips[:1]).stored == 1
    run.kill()
    run.communicate()
    run = begin()
    wait_for(orthanc.port)
    run.send_signal(signal.SIGINT)
    said = run.communicate(timeout=120)
    assert run.returncode == 0 and said[0].startswith(b"1 of 1 files de-identified: OUT"), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "salt"]


def test_masks_and_measures_come_back_as_they_were(
    orthanc, drawn_clip, tmp_path: Path, as_every_bundle, pipeline
) -> None:
    from echokdm.io.dicom_out import Origin, write_dicom

    pipeline.confidence = torch.linspace(0.7, 1, len(drawn_clip))
    as_every_bundle(pipeline)
    write_dicom(tmp_path / "clip.dcm", drawn_clip, Origin("0"))
    result = RUNNER.invoke(app, ["keypoints", str(tmp_path / "clip.dcm"), "--dicom", "--out", str(tmp_path / "found")])
    assert result.exit_code == 0, result.output
    names = ("segmentation.dcm", "measures.dcm")
    result = RUNNER.invoke(app, ["send", orthanc.web, *(str(tmp_path / "found" / name) for name in names)])
    assert result.exit_code == 0 and result.stdout == "2 files stored\n", result.output
    stored = {ds.Modality: ds for ds in orthanc.objects()}
    mask, report = (pydicom.dcmread(tmp_path / "found" / name) for name in names)
    assert stored.keys() == {"SEG", "SR"} and stored["SEG"].PixelData == mask.PixelData
    assert (
        np.array_equal(stored["SEG"].pixel_array, mask.pixel_array)
        and stored["SR"].ContentSequence == report.ContentSequence
    )
    again = RUNNER.invoke(app, ["send", orthanc.web, str(tmp_path / "found")])
    assert again.stdout == "0 files stored, 2 were there already\n"


def test_a_pipeline_reads_an_archive(orthanc, clips: list[Path], tmp_path: Path, leaks) -> None:
    from echokdm.pipeline.plan import read_pipeline
    from echokdm.pipeline.run import plan_lines, run_pipeline

    send(orthanc.web, clips[2:])
    (tmp_path / "salt").write_bytes(SALT)
    (tmp_path / "archive.yaml").write_text(
        f"name: archive\nstages:\n  ingest: {{source: 'dicomweb:{orthanc.web}?PatientID=PID-77031-1', "
        f"select: all, salt: {tmp_path / 'salt'}}}\n"
    )
    made = read_pipeline(tmp_path / "archive.yaml", out=tmp_path / "out")
    assert "1 objects" in " ".join(plan_lines(made))
    run_pipeline(made)
    assert len(list((tmp_path / "out" / "ingest" / "deid").glob("subject-*/*.dcm"))) == 1 and not leaks(
        tmp_path / "out"
    )
