"""A folder imports only from lower floors, or from itself. Imports inside functions count; those for type checking do not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "echokdm"

FLOORS = {
    "core": 0,
    "ops": 1, "io": 1,
    "phantom": 2, "networks": 2, "losses": 2, "deid": 2,
    "data": 3, "engine": 3,
    "metrics": 4,
    "methods": 5,
    "derive": 6, "figures": 6, "pages": 6, "validate": 6, "workers": 6, "refusals": 6,
    "wish": 7, "generate": 7, "view": 7, "cohort_plan": 7, "cohort_write": 7, "terminal": 7,
    "edit": 8, "generation_report": 8, "evaluate": 8, "doctor": 8, "adapt_cli": 8, "data_cli": 8,
    "deid_cli": 8,
    "synth": 9, "cohort_motion": 8,
    "synth_page": 10,
    "report": 11,
    "cohort": 12, "audit": 12,
    "cohort_cli": 13, "audit_cli": 13, "pipeline": 13,
    "pipeline_cli": 14,
    "cli": 15, "__init__": 15, "__main__": 16,
}


def part_of(path: Path, package: Path = PACKAGE) -> str:
    """The folder or top-level module that a file belongs to."""
    first = path.relative_to(package).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(part of the package, line) of each import in a file, at any depth."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {child for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
                   for child in ast.walk(node)}
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write the import in full"
            if node.module == "echokdm":
                # `from echokdm import x`: a part of the package, or one of its own names such as __version__.
                names = [f"echokdm.{alias.name}" if alias.name in FLOORS else "echokdm.__init__" for alias in node.names
                         if alias.name != "__version__"]
            else:
                names = [node.module or ""]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "echokdm":
                yield (name.split(".") + ["__init__"])[1], node.lineno


def faults(package: Path) -> list[str]:
    """Imports that climb, one sentence each."""
    found = []
    for path in sorted(package.rglob("*.py")):
        here = part_of(path, package)
        for there, line in imports(path):
            if there != here and not (here in FLOORS and there in FLOORS and FLOORS[there] < FLOORS[here]):
                found.append(f"{path.relative_to(package)}:{line} imports {there}")
    return found


def test_imports_go_down() -> None:
    assert not faults(PACKAGE), "\n".join(faults(PACKAGE))


def test_every_part_has_a_floor() -> None:
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")}
    assert parts <= set(FLOORS), f"give a floor to {sorted(parts - set(FLOORS))}"


@pytest.mark.parametrize(("file", "line", "wrong"), [
    ("ops/a.py", "from echokdm.core.types import Clip", False),
    ("ops/a.py", "from echokdm.ops.warp import warp", False),
    ("ops/a.py", "from echokdm.io.read import read_clip", True),  # the same floor, another folder
    ("core/a.py", "def f():\n    import echokdm.engine.loop", True),
    ("core/a.py", "if TYPE_CHECKING:\n    from echokdm.engine.loop import Loop", False),
    ("methods/kdm/a.py", "from echokdm import synth", True),
    ("report.py", "from echokdm import figures", False),
    ("cli.py", "from echokdm import __version__", False),
    ("io/a.py", "import echokdm", True),
])
def test_the_test_sees_what_climbs(tmp_path: Path, file: str, line: str, wrong: bool) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    assert bool(faults(tmp_path)) is wrong
