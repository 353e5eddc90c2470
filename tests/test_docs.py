"""What README and docs say is so: commands and options exist, Python names exist, links lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language; "" for those without one."""
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S) if found == language]


def command_lines() -> list[tuple[str, str]]:
    return [(page.name, line) for page in PAGES for block in blocks(page, "") for line in block.splitlines()
            if re.match(r"(\.venv/bin/)?echokdm ", line)]


def python_sources() -> list[tuple[str, str]]:
    examples = [(path.name, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "examples").glob("*.py"))]
    return examples + [(page.name, block) for page in PAGES for block in blocks(page, "python")]


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
    import echokdm

    used = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "echokdm"}
    assert used and used <= set(echokdm.__all__), f"{page}: {used - set(echokdm.__all__)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


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
