"""What README and docs say is so: commands and options exist, Python names exist, links lead somewhere, blocks that say
so run."""

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
RUN = re.compile(r"^<!-- run -->\n```python\n(.*?)^```", re.M | re.S)  # a block that needs nothing but a clip.dcm
RUNNING = [page for page in PAGES if RUN.search(page.read_text(encoding="utf-8"))]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language; "" for those without one."""
    return [
        text
        for found, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        if found == language
    ]


def command_lines() -> list[tuple[str, str]]:
    return [
        (page.name, line)
        for page in PAGES
        for block in blocks(page, "")
        for line in block.splitlines()
        if re.match(r"(\.venv/bin/)?echokdm ", line)
    ]


def python_sources() -> list[tuple[str, str]]:
    examples = [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.py"))]
    return examples + [
        (page.name, block) for page in PAGES for language in ("python", "py") for block in blocks(page, language)
    ]


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_commands_parse(page: str, line: str) -> None:
    """The line, comment cut off, is one the command line takes: the command, each option and its value."""
    from echokdm.cli.app import app

    program = typer.main.get_command(app)
    _, name, *words = shlex.split(line, comments=True)
    command = program.get_command(click.Context(program), name)
    assert command is not None, f"{page}: there is no command {name}"
    command.make_context(name, words)


def test_there_are_commands_and_examples() -> None:
    assert len(command_lines()) >= 8 and len(python_sources()) >= 3


@pytest.mark.parametrize(("page", "source"), python_sources())
def test_python_names_exist(page: str, source: str) -> None:
    """Those of `echokdm` itself are public ones; of a module, what is imported is there."""
    import echokdm

    nodes = [*ast.walk(ast.parse(source))]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "echokdm"}
    imports = [
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (node.module or "").startswith("echokdm.")
    ]
    assert (used or imports) and used <= set(echokdm.__all__), f"{page}: {used - set(echokdm.__all__)}"
    for module, name in imports:
        assert hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}"), (
            f"{page}: {module}.{name}"
        )


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_blocks_that_say_so_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the page's blocks by itself, in a folder where clip.dcm is a simulated heart's beat, since files are
    known by content."""
    from echokdm.phantom.a4c import A4CPhantom

    heart = A4CPhantom([1_010_100]).clip(9.0)[0]
    frames = np.rint(heart.frames[:, 0].numpy() * 255).astype(np.uint8)
    with (tmp_path / "clip.dcm").open("wb") as file:
        np.savez(file, frames=frames, fps=heart.fps, spacing_mm=np.array(heart.spacing_mm))
    monkeypatch.chdir(tmp_path)
    for block in RUN.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})


def test_some_blocks_run_and_no_mark_is_in_vain() -> None:
    assert len(RUNNING) >= 5
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^<!-- run -->$", text, re.M)) == len(RUN.findall(text)), page.name


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as MkDocs and GitHub make them of plain words."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]+)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        # Pages of the reference are made when the site is built.
        made = (page.parent / target).resolve().parent == ROOT / "docs" / "reference"
        assert made or (page.parent / target).exists(), target
        assert made or not anchor or anchor in anchors(page.parent / target), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_running_text_exist(page: Path) -> None:
    """Each `--option` in backticks belongs to one of the commands, or to all of them."""
    from echokdm.cli.app import app

    program = typer.main.get_command(app)
    context = click.Context(program)
    commands = [program, *(program.get_command(context, name) for name in program.list_commands(context))]
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"`(--[a-z][a-z-]*)", page.read_text(encoding="utf-8")))
    assert named <= known, named - known
