"""Against a real archive: fetched, sent, listened for; killed twice, with nothing of the patient left anywhere."""

from pathlib import Path

import pydicom
import pytest

from echokdm.core.errors import ArchiveError
from echokdm.pacs import Asked, Station, fetch, send

SALT = b"a salt for the tests"
ALL = Asked(query={"ModalitiesInStudy": "US"})


def door(orthanc, kind: str) -> str:
    return orthanc.web if kind == "dicomweb" else orthanc.dimse


@pytest.mark.parametrize("kind", ["dicomweb", "dimse"])
def test_a_round_trip(orthanc, clips: list[Path], leaks, tmp_path: Path, kind: str) -> None:
    url, station = door(orthanc, kind), Station(port=orthanc.port)
    sent = send(url, clips, station=station)
    assert (sent.stored, sent.there, sent.refused) == (4, 0, 0)
    assert send(url, [clips[0].parent], station=station).there == 4  # none is sent twice
    steps: list[tuple[int, int]] = []
    summary = fetch(url, tmp_path / "out", ALL, salt=SALT, station=station, progress=lambda *done: steps.append(done))
    assert steps == [(n, 4) for n in range(1, 5)] and len(summary.outputs) == 4 and not summary.quarantined
    assert not leaks(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["out"]
    orthanc.clear()
    send(url, [tmp_path / "out"], station=station)
    stored = orthanc.objects()
    assert len({ds.SOPInstanceUID for ds in stored}) == len(stored) == 4 and {ds.PatientIdentityRemoved for ds in stored} == {"YES"}
    assert not leaks(orthanc.folder / "files")
    ours = {ds.SOPInstanceUID: ds.PixelData for ds in map(pydicom.dcmread, (tmp_path / "out").glob("subject-*/*.dcm"))}
    assert {ds.SOPInstanceUID: ds.PixelData for ds in stored} == ours


def test_one_study_is_fetched_alone(orthanc, clips: list[Path], tmp_path: Path) -> None:
    send(orthanc.web, clips)
    summary = fetch(orthanc.web, tmp_path / "out", Asked(studies=["1.2.826.0.1.77.1"]), salt=SALT)
    assert len(summary.outputs) == 2
    with pytest.raises(ArchiveError, match="no ultrasound image"):
        fetch(orthanc.web, tmp_path / "none", Asked(studies=["1.2.3"]), salt=SALT)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
