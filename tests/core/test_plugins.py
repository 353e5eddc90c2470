"""Plugins: found by name, the nearest name named, a broken one told and passed over."""

import sys
from pathlib import Path

import pytest

from echokdm.core.errors import ConfigError
from echokdm.core.plugins import find, names, survey

GROUP = "echokdm.things"


def package(folder: Path, name: str, entries: dict[str, str], module: str = "", code: str = "") -> None:
    """An installed package with entry points and one module."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    )
    if module:
        (folder / f"{module}.py").write_text(code)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for packages; the modules that tests import from it are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


def test_broken_ones_leave_the_others_be(installed: Path) -> None:
    package(installed, "good", {"one": "things_good:ONE"}, "things_good", "ONE = 1")
    package(
        installed,
        "bad",
        {"two": "things_bad:TWO", "three": "things_none:X", "four": "things_good:FOUR", "five": "things_raise:X"},
        "things_bad",
        "import no_such_module",
    )
    (installed / "things_raise.py").write_text(f"open({str(installed / 'secret' / 'file.bin')!r})")
    found = {plugin.name: plugin for plugin in survey(GROUP)}
    assert found["one"].value == 1 and found["one"].reason == ""
    assert (
        found["two"].reason == "No module named 'no_such_module'"
        and found["three"].reason == "No module named 'things_none'"
    )
    assert "FOUR" in found["four"].reason
    assert "FileNotFoundError" in found["five"].reason and "secret" not in found["five"].reason
    assert find(GROUP, "one") == 1
    with pytest.raises(ConfigError, match="'two' is not available: No module named 'no_such_module'"):
        find(GROUP, "two")


def test_listing_imports_nothing_and_finding_only_its_own(installed: Path) -> None:
    package(installed, "lazy", {"one": "things_one:ONE", "two": "things_two:TWO"}, "things_one", "ONE = 1")
    (installed / "things_two.py").write_text("TWO = 2")
    assert names(GROUP) == ["one", "two"]
    assert not {"things_one", "things_two"} & set(sys.modules)
    assert find(GROUP, "two") == 2 and "things_one" not in sys.modules


def test_unknown_names_the_nearest(installed: Path) -> None:
    with pytest.raises(ConfigError, match="There is no thing 'one', and no package registers any"):
        find(GROUP, "one")
    package(installed, "good", {"voxceleb": "m:X", "market": "m:Y"})
    with pytest.raises(ConfigError, match="There is no thing 'voxcelab'; did you mean 'voxceleb'"):
        find(GROUP, "voxcelab")


def test_one_name_in_two_packages_is_refused(installed: Path) -> None:
    package(installed, "first", {"one": "things_same:ONE"}, "things_same", "ONE = 1")
    package(installed, "second", {"one": "things_same:ONE"})
    with pytest.raises(ConfigError, match="first and second register the same name"):
        find(GROUP, "one")


def test_a_check_refuses(installed: Path) -> None:
    package(installed, "good", {"one": "things_checked:ONE"}, "things_checked", "ONE = 1")
    assert survey(GROUP, lambda value: f"{value} is odd")[0].reason == "1 is odd"


def test_old_metadata_of_the_same_package_hides_nothing(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(installed, "good", {"one": "things_new:ONE"}, "things_new", "ONE = 1")
    package(installed / "source", "good", {})
    monkeypatch.syspath_prepend(installed / "source")
    assert find(GROUP, "one") == 1
