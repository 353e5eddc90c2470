"""Rooms stand on floors and import only from lower ones; no module, of whatever room, is in a circle of imports."""

from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from floors import FLOORS, circle, climbs, graph, house, room_of


def test_imports_go_down() -> None:
    assert not climbs(house()), "\n".join(climbs(house()))


def test_no_module_is_in_a_circle() -> None:
    assert not circle(house())


def test_every_room_has_a_floor_as_low_as_it_can_be() -> None:
    rooms: dict[str, set[str]] = {}
    for here, seen in house().items():
        rooms.setdefault(room_of(here), set()).update(
            room_of(there) for there in seen if room_of(there) != room_of(here)
        )
    lowest: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        lowest[room] = max((lowest[below] + 1 for below in rooms[room]), default=0)
    assert lowest == FLOORS


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("ops/a.py", "from echokdm.core.types import Clip", False),
        ("ops/a.py", "from echokdm.ops.warp import warp", False),
        ("ops/a.py", "from echokdm.io.read import read_clip", True),  # the same floor, another room
        ("core/a.py", "def f():\n    import echokdm.engine.loop", True),
        ("core/a.py", "if TYPE_CHECKING:\n    from echokdm.engine.loop import Loop", False),
        ("methods/kdm/a.py", "from echokdm.report import figures", True),
        ("cli/a.py", "from echokdm.report import figures", False),
        ("cli/a.py", "from echokdm import __version__", False),
        ("core/a.py", "import echokdm", True),
        ("unknown/a.py", "from echokdm.core.types import Clip", True),
    ],
)
def test_it_sees_what_climbs(tmp_path: Path, file: str, line: str, wrong: bool) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line)
    assert bool(climbs(graph(tmp_path))) is wrong


@pytest.mark.parametrize(
    "line",
    [
        "from echokdm.ops import b",
        "from echokdm.ops.b import c",
        "import echokdm.ops.b",
        "def f():\n    from echokdm.ops.b import c",
    ],
)
def test_it_sees_a_circle_within_a_room(tmp_path: Path, line: str) -> None:
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "a.py").write_text(line)
    (tmp_path / "ops" / "b.py").write_text("from echokdm.ops.a import d")
    assert set(circle(graph(tmp_path))) == {"ops.a", "ops.b"}
    (tmp_path / "ops" / "b.py").write_text("")
    assert not circle(graph(tmp_path))
