"""Things that installed packages register under a name: data-set adapters, methods. Ours are found in the same way as
anyone's.

A package registers an object with an entry point in its pyproject.toml
(https://packaging.python.org/specifications/entry-points):

    [project.entry-points."echokdm.adapters"]
    my-clips = "my_package.clips:MY_CLIPS"
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from typing import Any

from echokdm.core.errors import ConfigError

ADAPTERS = "echokdm.adapters"
METHODS = "echokdm.methods"

Check = Callable[[Any], str]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True)
class Plugin:
    """One registered name. value: the object, None where it is not available. reason: why it is not, "" where it is."""

    name: str
    value: Any
    reason: str = ""


def accept(_: Any) -> str:
    """The check that finds no fault."""
    return ""


def names(group: str) -> list[str]:
    """The names registered in `group`, sorted; nothing is imported."""
    return sorted(_entries(group))


def find(group: str, name: str, check: Check = accept) -> Any:
    """The object registered as `name` in `group`; only its own module is imported.

    check: what is wrong with an object, "" where nothing is. Raises ConfigError, with the nearest name, where there is
    no such name, and with the reason where it can't be had.
    """
    entries = _entries(group)
    kind = group.rpartition(".")[2].removesuffix("s")
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1, 0.0)
        known = f" '{name}'" if _NAME.fullmatch(name) else " of the name given"  # a path may carry a patient's name
        raise ConfigError(
            f"There is no {kind}{known}"
            + (f"; did you mean '{near[0]}'?" if near else ", and no package registers any.")
        )
    plugin = _load(name, entries[name], check)
    if plugin.reason:
        raise ConfigError(f"The {kind} '{name}' is not available: {plugin.reason}.")
    return plugin.value


def survey(group: str, check: Check = accept) -> list[Plugin]:
    """Every name of `group`, sorted, with its object or the reason why there is none; a broken one leaves the others
    be."""
    return [_load(name, packages, check) for name, packages in sorted(_entries(group).items())]


def _entries(group: str) -> dict[str, dict[str, EntryPoint]]:
    """Name -> package -> entry point.

    `importlib.metadata.entry_points` sees only the first of a package's metadata, which in a source folder may be an
    old one.
    """
    found: dict[str, dict[str, EntryPoint]] = {}
    for distribution in distributions():
        for entry in distribution.entry_points:
            if entry.group == group:
                found.setdefault(entry.name, {}).setdefault(distribution.name, entry)
    return found


def _load(name: str, packages: dict[str, EntryPoint], check: Check) -> Plugin:
    if len(packages) > 1:
        return Plugin(
            name, None, f"the packages {' and '.join(sorted(packages))} register the same name; uninstall one"
        )
    try:
        value = next(iter(packages.values())).load()
    except Exception as error:  # whatever a stranger's module raises must not break the others
        return Plugin(name, None, _reason(error))
    fault = check(value)
    return Plugin(name, None if fault else value, fault)


def _reason(error: Exception) -> str:
    """The first line of an error, without folders."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"[^\s'\"(]*[/\\](?=[^\s/\\])", "", lines[0]).rstrip(".") if lines else ""
    return text if isinstance(error, ImportError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
