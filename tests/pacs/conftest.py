"""A real archive, and small clips for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from orthanc import PLANTED, WANTING, Orthanc, planted, running

from echokdm.pacs import archive


@pytest.fixture(scope="session")
def _orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if WANTING:
        pytest.skip(WANTING)
    with running(tmp_path_factory.mktemp("orthanc")) as made:
        yield made


@pytest.fixture
def orthanc(_orthanc: Orthanc) -> Iterator[Orthanc]:
    """The archive, empty."""
    _orthanc.clear()
    yield _orthanc


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are asked about again at once, and no token of this machine is sent."""
    monkeypatch.setattr(archive, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.delenv("ECHOKDM_DICOMWEB_TOKEN", raising=False)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three clips of two patients."""
    return planted(tmp_path_factory.mktemp("export"), 3)


@pytest.fixture
def leaks() -> Callable[[Path], list[str]]:
    """leaks(folder): where a planted string is in a name or in bytes below a folder."""

    def find(folder: Path) -> list[str]:
        found = []
        for path in folder.rglob("*"):
            told = str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
            found += [f"{path.name}: {word}" for word in PLANTED if word.encode() in told]
        return found

    return find
