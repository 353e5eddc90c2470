"""One value for each default, wherever it is asked: commands, Python, pipelines, documents and notebooks."""

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import typer

import echokdm
from echokdm.core import defaults
from echokdm.ops.trajectory import EF_RANGE
from echokdm.pipeline.options import KINDS, PipelineOptions

ROOT = Path(__file__).parents[1]
NAMES = {
    name.lower(): value
    for name, value in vars(defaults).items()
    if name.isupper() and name not in ("AUDIT_BUNDLE", "FRAME_SIZE")
}

# What users call, and what is called beneath: all modules of these, and for KDM how it is run.
# The methods' own configurations and networks count training steps and have noise levels of their own.
PLACES = (
    "cohort",
    "cohort.audit",
    "echo",
    "evaluation",
    "io.dicom_out",
    "methods.generate",
    "methods.kdm.drawing",
    "pipeline",
)
OTHER_MEANINGS = {
    ("audit", "bundle"): defaults.AUDIT_BUNDLE,
    ("audit_cohort", "bundle"): defaults.AUDIT_BUNDLE,
    ("pipeline keypoints", "split"): "70/15/15",  # of real patients, where augment's is of synthetic clips
    ("finish_clip", "split"): "",  # of a clip that belongs to none
    ("echokdm studio", "port"): 0,  # of a page: any that is free
}


class Told(NamedTuple):
    """A default that is told somewhere."""

    where: str
    name: str
    value: Any


def commands() -> Iterator[Told]:
    from echokdm.cli.app import app

    def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        for word, inner in getattr(command, "commands", {}).items():
            yield from leaves(f"{name} {word}".strip(), inner)
        if not hasattr(command, "commands"):
            yield name, command

    for name, command in leaves("", typer.main.get_command(app)):
        yield from (Told(f"echokdm {name}", p.name, p.default) for p in command.params if not p.required)


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for place in PLACES:
        top = importlib.import_module(f"echokdm.{place}")
        inner = [
            importlib.import_module(m.name)
            for m in pkgutil.iter_modules(getattr(top, "__path__", []), f"{top.__name__}.")
        ]
        for module in (top, *inner):
            for name, thing in vars(module).items():
                if getattr(thing, "__module__", None) != module.__name__:
                    continue
                members = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else [(name, thing)]
                yield from ((f"{module.__name__}.{name}", f) for _, f in members if inspect.isfunction(f))
    yield from (
        (f"echokdm.{name}", getattr(echokdm, name))
        for name in echokdm.__all__
        if inspect.isfunction(getattr(echokdm, name))
    )


def signatures() -> Iterator[Told]:
    for where, function in functions():
        for p in inspect.signature(function).parameters.values():
            if p.default is not p.empty:
                yield Told(f"{where} {function.__name__}", p.name, p.default)


def pipelines() -> Iterator[Told]:
    for kind, model in {**KINDS, "": PipelineOptions}.items():
        for name, field in model.model_fields.items():
            # another stage
            if not field.is_required() and not (name in getattr(model, "reads", {}) and field.default in KINDS):
                yield Told(f"pipeline {kind}", name, field.default)


ALL = [*commands(), *signatures(), *pipelines()]


@pytest.mark.parametrize("name", NAMES)
def test_one_value_for_each_default(name: str) -> None:
    """None leaves it to what is beneath; every other value is the one of `core.defaults`."""
    told = [t for t in ALL if t.name == name and t.value is not None]
    wrong = [
        t
        for t in told
        if t.value
        != next((v for (end, n), v in OTHER_MEANINGS.items() if n == name and t.where.endswith(end)), NAMES[name])
    ]
    assert told and not wrong, "\n".join(map(str, wrong))


def test_no_other_default_is_told_twice_and_differently() -> None:
    """Of commands, pipelines and the public names: a default that two share belongs into `core.defaults`, or has one
    value."""
    elsewhere = {*NAMES, "engine"}  # an engine is told by its name on the command line, and is itself in Python
    public = [
        t
        for t in ALL
        if re.match(r"echokdm( |\.\w+ )|pipeline ", t.where) and t.value is not None and t.name not in elsewhere
    ]
    values: dict[str, set[str]] = {}
    for told in public:
        values.setdefault(told.name, set()).add(repr(told.value))
    assert {name: found for name, found in values.items() if len(found) > 1} == {}


def test_the_commands_and_functions_are_all_seen() -> None:
    where = {told.where for told in ALL}
    assert {
        "echokdm synth",
        "echokdm augment",
        "echokdm evaluate",
        "echokdm generate",
        "echokdm audit",
        "echokdm run",
        "pipeline augment",
        "pipeline ",
        "echokdm.synthesize synthesize",
        "echokdm.methods.kdm.drawing.Drawing __init__",
    } <= where


def texts() -> dict[str, str]:
    """Documents, and the words and code of notebooks."""
    pages = {
        path.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    }
    books = {
        path.name: "\n\n".join(
            "".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        )
        for path in sorted((ROOT / "examples").glob("*.ipynb"))
    }
    return pages | books


def written(value: str | float) -> str:
    """As documents write it."""
    return value if isinstance(value, str) else f"{value:g}"


# `--steps` or `steps`, a few words, (default 2)
NAMED = re.compile(r"`(?:--)?([a-z][a-z_-]*)`[^`|()]*\(default `?([^`)]+)`?\)")
ROW = re.compile(r"^\| (?:`--[a-z-]+`)? *\| `([a-z_]+)` \| `([^`]+)` \|", re.M)  # option, in Python, default
NUMBER = re.compile(r"\b(\d+|two|three|four|five|six|eight|ten)\b")


@pytest.mark.parametrize("page", texts())
def test_documents_and_notebooks_tell_the_same(page: str) -> None:
    """A default is told as "`--steps` (default 2)", or in the table of the quickstart, so that it can be compared
    here."""
    text = texts()[page]
    for name, value in [*NAMED.findall(text), *ROW.findall(text)]:
        name = name.replace("-", "_")
        assert name in NAMES and value == written(NAMES[name]), f"{name} (default {value})"
    known = "|".join(name.replace("_", "[_ -]") for name in NAMES)
    for sentence in re.split(r"[.:;]\s|\n\n|\n\|", NAMED.sub("", text)):
        loose = (
            re.search(r"\bdefaults?\b", sentence) and re.search(rf"\b({known})\b", sentence) and NUMBER.search(sentence)
        )
        assert not loose, f"write this default as `name` (default value): {sentence.strip()}"


def test_the_quickstart_has_all_of_them() -> None:
    assert {name for name, _ in ROW.findall(texts()["quickstart.md"])} == set(NAMES)


def test_the_command_tells_the_range_of_ejection_fractions() -> None:
    from echokdm.cli.app import app

    option = next(p for p in typer.main.get_command(app).commands["synth"].params if p.name == "ef")
    assert "{:g} to {:g}".format(*EF_RANGE) in option.help


def test_the_default_bundle_is_shipped() -> None:
    from echokdm.methods.bundle import shipped_bundles

    assert defaults.BUNDLE in shipped_bundles()


def test_no_module_writes_a_default_of_its_own() -> None:
    """Changing the bundle changes one line: no other module, benchmark or program asks for it by its name."""
    files = [path for folder in ("echokdm", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    written = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if re.search(
            rf"""(bundle\w*(: [^=\n]+)? ?= ?|load_pipeline\(|find_bundle\()["']{defaults.BUNDLE}["']""",
            path.read_text(encoding="utf-8"),
            re.IGNORECASE,
        )
    ]
    assert written == ["echokdm/core/defaults.py"]
