"""Rooms, floors and the imports between them.

A room is a folder of the package, or a module beside the folders. Imports inside functions count, and those within a
room; those for type checking do not.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "echokdm"

FLOORS = {
    "core": 0,
    "__init__": 1,
    "io": 1,
    "ops": 1,
    "engine": 1,
    "phantom": 2,
    "networks": 2,
    "losses": 2,
    "deid": 2,
    "data": 3,
    "metrics": 3,
    "pacs": 3,
    "methods": 4,
    "echo": 5,
    "export": 5,
    "evaluation": 6,
    "report": 6,
    "cohort": 7,
    "studio": 7,
    "pipeline": 8,
    "cli": 9,
    "__main__": 10,
}


def name_of(path: Path, package: Path) -> str:
    """A module's dotted name within the package: "ops.warp", of a folder's own module "ops", of the package's
    "__init__"."""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: str) -> str:
    return module.split(".")[0]


def imports(path: Path, modules: set[str]) -> Iterator[tuple[str, int]]:
    """(module, line) of each import from the package in a file, at any depth."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write the import in full"
            # `from echokdm.ops import warp` is the module, where there is one of this name, and else a name of
            # `echokdm.ops`.
            names = [
                name if name.removeprefix("echokdm.") in modules else node.module or ""
                for name in (f"{node.module}.{alias.name}" for alias in node.names)
            ]
        else:
            continue
        for name in names:
            if room_of(name) == "echokdm":
                yield name.partition(".")[2] or "__init__", node.lineno


def graph(package: Path) -> dict[str, dict[str, str]]:
    """Of each module the modules that it imports, with the place of the import."""
    paths = {name_of(path, package): path for path in sorted(package.rglob("*.py"))}
    return {
        module: {
            there: f"{path.relative_to(package)}:{line}" for there, line in imports(path, set(paths)) if there != module
        }
        for module, path in paths.items()
    }


def climbs(modules: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Imports that don't go down, one sentence each."""
    return [
        f"{place} imports {there}"
        for here, seen in modules.items()
        for there, place in seen.items()
        if room_of(here) != room_of(there) and not FLOORS.get(room_of(there), 99) < FLOORS.get(room_of(here), -1)
    ]


def circle(modules: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The modules of a circle, the first one also last; empty where there is none."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@cache
def house() -> dict[str, dict[str, str]]:
    """Of the package."""
    return graph(PACKAGE)


def figures() -> str:
    """Of the package, one line."""
    modules = house()
    rooms = {room_of(module) for module in modules}
    arrows = {(room_of(here), room_of(there)) for here, seen in modules.items() for there in seen} - {
        (room, room) for room in rooms
    }
    found = circle(modules)
    return (
        f"{len(rooms)} rooms on {len({FLOORS.get(room) for room in rooms})} floors, {len(arrows)} arrows, {len(modules)} modules, "
        f"{'a circle: ' + ' <- '.join(found) if found else 'no circle'}"
    )
