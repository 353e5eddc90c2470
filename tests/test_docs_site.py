"""docs/hooks: the site's navigation holds every page, its generated reference all that there is, its tutorials what the
notebooks are now.

Without MkDocs, which `make docs` alone needs.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
import yaml
from floors import FLOORS

import echokdm
from echokdm.pipeline.options import KINDS, PipelineOptions

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hooks() -> Iterator[SimpleNamespace]:
    """The modules of docs/hooks that need no MkDocs, by name."""
    names = ("docstrings", "links", "reference", "tutorials")
    sys.path.insert(0, str(DOCS / "hooks"))
    try:
        loaded: dict[str, ModuleType] = {name: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**loaded)
    finally:
        sys.path.remove(str(DOCS / "hooks"))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pages(hooks: SimpleNamespace) -> dict[str, str]:
    return hooks.reference.pages()


def site() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from leaves(inner)


def sections(text: str, mark: str = "## ") -> dict[str, str]:
    """Heading -> what stands below it."""
    parts = re.split(rf"^{mark}(.+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(table: str) -> dict[str, list[str]]:
    """First cell without backticks -> all cells, of the tables of a text."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row] for row in cells}


def test_the_navigation_holds_every_page_once(hooks: SimpleNamespace, pages: dict[str, str]) -> None:
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    there = [*leaves(site()["nav"])]
    assert sorted(there) == sorted({*written, *pages, *hooks.links.BESIDE.values(), *hooks.links.NOTEBOOKS.values()})
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*.ipynb")} == set(
        hooks.links.NOTEBOOKS
    )


def test_nothing_is_fetched_from_outside() -> None:
    assert site()["theme"]["font"] is False
    own = [ROOT / "mkdocs.yml", *DOCS.rglob("*.css"), *DOCS.rglob("*.js")]
    assert not [path.name for path in own if re.search(r"https?://|\burl\(", path.read_text(encoding="utf-8"))]
    pictures = [*(DOCS / "pictures").iterdir()]
    assert pictures and sum(path.stat().st_size for path in pictures) < 150_000


def test_every_public_name_has_its_place(pages: dict[str, str]) -> None:
    told = dict(re.findall(r"^::: (\S+)\.(\w+)$", pages["reference/python.md"], re.M))
    assert sorted(re.findall(r"^::: \S+\.(\w+)$", pages["reference/python.md"], re.M)) == sorted(
        set(echokdm.__all__) - {"__version__"}
    )
    assert all(hasattr(importlib.import_module(home), name) for home, name in told.items())


def test_modules_that_readers_are_sent_to_have_theirs(pages: dict[str, str]) -> None:
    told = re.findall(r"^::: (\S+)$", pages["reference/modules.md"], re.M)
    assert {"echokdm.report.figures", "echokdm.data.adapters", "echokdm.evaluation.run", "echokdm.engine.stage"} <= set(
        told
    )
    assert all(importlib.import_module(name) for name in told)


def test_every_option_of_every_command_is_told(pages: dict[str, str]) -> None:
    from echokdm.cli.app import app

    told = sections(pages["reference/commands.md"])
    program = typer.main.get_command(app)
    commands = {
        **{name: c for name, c in program.commands.items() if name != "data"},
        **{f"data {name}": c for name, c in program.commands["data"].commands.items()},
    }
    assert sorted(told) == sorted(f"echokdm {name}" for name in commands) and len(commands) >= 15
    for name, command in commands.items():
        table = rows(told[f"echokdm {name}"])
        assert command.help.split("\n")[0] in told[f"echokdm {name}"] and len(table) == len(command.params)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert any(
                    set(parameter.opts) <= set(re.findall(r"--[\w-]+", row[0])) and row[3] for row in table.values()
                ), parameter.opts
    synth = rows(told["echokdm synth"])
    assert (
        synth["--steps"][1:3] == ["whole number", "`2`"]
        and synth["--bundle"][2] == "`a4c`"
        and "V&#124;P%" in synth["--edv"][1]
    )


def test_every_key_is_told(hooks: SimpleNamespace, pages: dict[str, str]) -> None:
    """Each with its type, and with words: the code's own, else those of keys.yaml, of which none is left over."""
    told = sections(pages["reference/pipelines.md"])
    tables = [(model, rows(told[name])) for name, model in {"At the top": PipelineOptions, **KINDS}.items()]
    configurations = sections(pages["reference/configurations.md"])
    methods = {method.name: method for method in hooks.reference.methods()}
    assert set(configurations) == set(methods) >= {"kdm", "midm", "single-transform", "residual-flow", "evolution"}
    for name, method in methods.items():
        text = configurations[name]
        tables.append((method.config, rows(re.split(r"^### ", text, flags=re.M)[0])))
        blocks = {path: model for paths, model, _ in hooks.reference.blocks(method.config) for path in paths}
        for heading, below in sections(text, "### ").items():
            for path in re.findall(r"`([\w.]+)`", heading.split("{")[0]):
                tables.append((blocks.pop(path), rows(below)))
        assert not blocks and set(method.stages(method.config(name="x", method=name))) <= set(
            method.config.model_fields
        )
    used: set[str] = set()
    for model, table in tables:
        keys = {
            field.alias or name: name
            for name, field in model.model_fields.items()
            if hooks.reference.block_of(field) is None
        }
        assert set(table) == set(keys), model
        assert all(row[1] and row[3] for row in table.values()), (
            f"{model}: {[key for key, row in table.items() if not row[3]]}"
        )
        unsaid = [name for name in keys.values() if name not in hooks.reference.comments(model)]
        names = [base.__name__ for base in hooks.reference.ancestors(model)]
        used |= {
            next((f"{base}.{name}" for base in reversed(names) if f"{base}.{name}" in hooks.reference.KEYS), name)
            for name in unsaid
        }
    assert set(hooks.reference.KEYS) <= used, f"nothing needs these of keys.yaml: {set(hooks.reference.KEYS) - used}"


def test_a_key_has_the_default_of_its_block(pages: dict[str, str]) -> None:
    kdm = sections(sections(pages["reference/configurations.md"])["kdm"], "### ")
    of = {heading.split(" {")[0]: rows(text) for heading, text in kdm.items()}
    assert of["`image_codec`"]["codes"][2] == "`2048`" and of["`flow_codec`"]["codes"][2] == "`1024`"
    assert of["`k2f`, `f2i`, `k2i`"]["prediction"][1:3] == ["`epsilon`, `v_prediction`, `sample`", "`epsilon`"]
    assert of["`judge`"]["steps"][2] == "`0`" and "`null`" in of["`segmenter`"]["widths"][1]


@pytest.mark.parametrize("name", ["quickstart", "cohort", "face", "own_data"])
def test_a_tutorial_shows_the_notebook_as_it_is(hooks: SimpleNamespace, name: str) -> None:
    """Where this fails, `python docs/hooks/tutorials.py NAME` records its outputs anew."""
    record, cells = (
        hooks.tutorials.recorded(name),
        [cell for cell in hooks.tutorials.cells(name) if cell["kind"] == "code"],
    )
    assert {key: output["source"] for key, output in record.items()} == {
        c["id"]: hooks.tutorials.digest(c["source"]) for c in cells
    }
    text = json.dumps([{key: value for key, value in output.items() if key != "picture"} for output in record.values()])
    assert not re.search(r"/(home|root|tmp|work|Users)/", text), "a path of a machine"
    assert not any("picture" in record[cell] for cell in hooks.tutorials.WITHOUT_FRAMES.get(name, ())), (
        "frames of a patient"
    )
    page = hooks.tutorials.pages()[f"tutorials/{name}.md"]
    assert page.startswith("# ") and page.count("```python") == len(cells) and ".ipynb)" not in page


def test_docstrings_become_lists(hooks: SimpleNamespace) -> None:
    text = "Make it.\n\nside: px, <= 8. low, high: what is\nleft. A colon: no name.\nRaises ValueError."
    assert hooks.docstrings.markdown(text, {"side", "low", "high"}) == (
        "Make it.\n\n- `side`: px, &lt;= 8.\n- `low`, `high`: what is left. A colon: no name.\n\nRaises ValueError."
    )
    google = "Make it.\n\nArgs:\n    side: px.\n    low: left.\n"
    assert hooks.docstrings.markdown(google, {"side", "low"}) == google
    assert hooks.docstrings.descriptions(google, {"side", "low"}) == {"side": "px.", "low": "left."}


def test_links_lead_from_the_page_that_they_are_moved_to(hooks: SimpleNamespace) -> None:
    text = (
        "[a](docs/data.md#x) [b](examples/face.ipynb) [c](LICENSE) [d](https://e.f) ![p](docs/pictures/flow.webp)\n"
        "```\n[k](LICENSE)\n```\n"
    )
    assert hooks.links.moved(text, "", "index.md") == (
        "[a](data.md#x) [b](tutorials/face.md) c (`LICENSE`) [d](https://e.f) ![p](pictures/flow.webp)\n```\n[k](LICENSE)\n```\n"
    )
    assert (
        hooks.links.moved("[q](../README.md) [m](methods.md)", "docs", "concepts/x.md")
        == "[q](../index.md) [m](../methods.md)"
    )


def test_contributors_are_told_the_floors_that_there_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\d+) \| (`[^|]+) \|", text, re.M)
    told = {room: int(floor) for floor, rooms in lines for room in re.findall(r"`(\w+)/`", rooms)}
    assert told == {room: floor for room, floor in FLOORS.items() if not room.startswith("__")}
