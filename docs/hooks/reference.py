"""The pages of the reference, made from the code as it is: Python names, commands, keys of the YAML files.

Each function gives Markdown. Needs echokdm alone, so that tests hold it against the code in seconds.
"""

import ast
import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import yaml
from docstrings import descriptions, markdown, paragraphs, split
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
KEYS: Mapping[str, str] = yaml.safe_load((Path(__file__).parent / "keys.yaml").read_text(encoding="utf-8"))


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    return {
        "reference/python.md": public_names(),
        "reference/modules.md": modules(),
        "reference/commands.md": commands(),
        "reference/pipelines.md": pipelines(),
        "reference/configurations.md": configurations(),
    }


# Python


def public_names() -> str:
    """All of `echokdm.__all__`, classes first."""
    import echokdm
    from echokdm import _HOME

    names = sorted((name for name in echokdm.__all__ if name in _HOME), key=lambda name: (name[0].islower(), name))
    listed = " ".join(f"[`{name}`][{_HOME[name]}.{name}]" for name in names)
    told = "".join(f"\n::: {_HOME[name]}.{name}\n    options:\n      heading_level: 2\n" for name in names)
    return (
        "# Public names\n\nWhat `import echokdm` gives, each loaded when it is first used; `echokdm.__version__` is the version. A "
        "name's home, which its heading tells, may move from one version to another: take it from `echokdm`.\n\n"
        f"{listed}\n{told}"
    )


def modules() -> str:
    """The modules that documents, notebooks and the example of a plug-in import from."""
    told = "".join(f"\n::: {name}\n    options:\n      heading_level: 2\n" for name in sorted(imported()))
    return (
        "# Modules\n\nThe modules that these pages, the tutorials and the plug-in in `examples/plugin` import from. They may "
        f"change more between versions than the [public names](python.md).\n{told}"
    )


def imported() -> set[str]:
    """Modules of the package, but not the package itself, from which what a reader is shown imports."""
    texts = [
        text
        for path in sorted((ROOT / "docs").rglob("*.md"))
        for text in re.findall(r"^```py(?:thon)?\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    ]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples" / "plugin").glob("*.py"))]
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found: set[str] = set()
    for node in (node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)):
        if (node.module or "").split(".")[0] == "echokdm":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if is_module(name) else str(node.module) for name in inner}
    return found - {"echokdm"}


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


# Commands


def leaves(command: Any, name: str = "echokdm") -> Iterator[tuple[str, Any]]:
    """(name in full, command) of each command that does something, in the order of the help."""
    for word, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, f"{name} {word}")
        else:
            yield f"{name} {word}", inner


def commands() -> str:
    """One page of all commands with their options."""
    from echokdm.cli.app import app

    program = typer.main.get_command(app)
    parts = [
        "# Commands",
        "What `echokdm COMMAND --help` says, of every command. These options belong to all of them:",
        parameter_table(program),
    ]
    for name, command in leaves(program):
        given = [named(p) if p.required else f"[{named(p)}]" for p in command.params if p.param_type_name == "argument"]
        parts += [
            f"## {name}",
            inspect.cleandoc(command.help or ""),
            f"```\n{' '.join([name, *given, '[OPTIONS]'])}\n```",
        ]
        parts += [parameter_table(command)] * bool(command.params)
    return "\n\n".join(parts) + "\n"


def parameter_table(command: Any) -> str:
    """A command's arguments and options: how they are written, what they take, default, help."""
    kinds = get_type_hints(command.callback)
    rows = [
        f"| {', '.join(code(flag) for flag in named(p).split())} | {takes(p, kinds.get(p.name))} | {default_of(p)} | "
        f"{escaped(p.help or '')} |"
        for p in command.params
        if not p.hidden
    ]
    return "\n".join(["| option | takes | default | |", "|---|---|---|---|", *rows])


def named(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return " ".join([*parameter.opts, *parameter.secondary_opts])


def takes(parameter: Any, kind: Any) -> str:
    if parameter.param_type_name == "argument" or parameter.is_flag:
        return ""
    if parameter.metavar:
        return code(parameter.metavar)
    given = (
        [arg for arg in get_args(kind) if arg is not type(None)] if get_origin(kind) in (Union, UnionType) else [kind]
    )
    return words_of(given[0])


def default_of(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "needed"
    return (
        code(as_yaml(value))
        if isinstance(value, str | int | float) and value != "" and not isinstance(value, bool)
        else ""
    )


# YAML


def pipelines() -> str:
    """Every key of a pipeline's YAML."""
    from echokdm.pipeline.options import KINDS, PipelineOptions

    parts = [
        "# Keys of a pipeline",
        "What the YAML that `echokdm run` takes may say; [Pipelines](../pipelines.md) tells how it is run. "
        "Any key may be set by `--set a.b=value` too. An unknown key is refused.",
        "## At the top",
        summary(PipelineOptions),
        key_table(PipelineOptions),
    ]
    for kind, model in KINDS.items():
        parts += [f"## {kind}", summary(model), key_table(model)]
    return "\n\n".join(parts) + "\n"


def configurations() -> str:
    """Every key of a training's configuration, by method; a block's keys in a table of its own."""
    parts = [
        "# Keys of a configuration",
        "What the YAML that `echokdm train` takes may say, by method, with the defaults of the classes; "
        "the files in `configs/` set some of them. Any key may be set by `--set block.key=value` too. A block with `steps: 0` is left "
        "out.",
    ]
    for method in methods():
        parts += [f"## {method.name}", f"{method.title}. {escaped(method.paper)}", key_table(method.config)]
        for paths, model, values in blocks(method.config):
            anchor = f"{method.name}-{'-'.join(paths).replace('.', '-')}"
            parts += [
                f"### {', '.join(code(path) for path in paths)} {{#{anchor}}}",
                summary(model),
                key_table(model, values),
            ]
    return "\n\n".join(parts) + "\n"


def methods() -> list[Any]:
    """The package's own."""
    from echokdm.methods.base import find_method, survey_methods

    ours = [plugin.name for plugin in survey_methods() if type(plugin.value).__module__.startswith("echokdm.")]
    return [find_method(name) for name in ours]


def blocks(model: type[BaseModel]) -> list[tuple[list[str], type[BaseModel], dict[str, Any]]]:
    """(dotted paths, model, defaults) of all blocks of a configuration; those that are alike in all stand together."""
    found: list[tuple[list[str], type[BaseModel], dict[str, Any]]] = []

    def walk(model: type[BaseModel], values: Mapping[str, Any], path: str) -> None:
        for name, field in model.model_fields.items():
            inner, value = block_of(field), values.get(name)
            if inner is None:
                continue
            own = (
                {key: getattr(value, key) for key in inner.model_fields}
                if isinstance(value, BaseModel)
                else defaults(inner)
            )
            alike = next((paths for paths, other, theirs in found if other is inner and theirs == own), None)
            if alike is not None:
                alike.append(path + name)
            else:
                found.append(([path + name], inner, own))
            walk(inner, own, f"{path}{name}.")

    walk(model, defaults(model), "")
    return found


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def block_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a block."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def key_table(model: type[BaseModel], values: Mapping[str, Any] | None = None) -> str:
    """Keys that are no blocks, with type, default and description; "" where there is none."""
    values, rows = defaults(model) if values is None else values, []
    for name, field in model.model_fields.items():
        if block_of(field) is None:
            default = "needed" if field.is_required() else code(as_yaml(values[name]))
            rows.append(
                f"| `{field.alias or name}` | {escaped(type_of(field))} | {default} | {escaped(meaning(model, name))} |"
            )
    return "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows]) if rows else ""


def summary(model: type[BaseModel]) -> str:
    """A model's docstring without what its table says."""
    parts = (split(part, model.model_fields)[0] for part in paragraphs(inspect.cleandoc(model.__doc__ or "")))
    return markdown("\n\n".join(filter(None, parts)), ())


@cache
def comments(model: type[BaseModel]) -> Mapping[str, str]:
    """name -> what the code says of it: behind its line, above it or in the docstring, of the model or an ancestor."""
    told: dict[str, str] = {}
    for base in ancestors(model):
        source = inspect.cleandoc("\n" + inspect.getsource(base))
        tokens = [
            token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT
        ]
        behind = {token.start[0]: token.string.lstrip("# ") for token in tokens}
        alone = {token.start[0] for token in tokens if token.line.lstrip().startswith("#")}
        told |= descriptions(inspect.cleandoc(base.__doc__ or ""), base.model_fields)
        lines = [node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign)]  # type: ignore[attr-defined]
        for node in lines:
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            above = range(first, node.lineno)
            if said := " ".join(behind[line] for line in (*above, node.end_lineno) if line in behind):
                told[ast.unparse(node.target)] = said
        told |= {name: field.description for name, field in base.model_fields.items() if field.description}
    return {
        name: re.sub(r"\b(None|True|False)\b", lambda word: code({"None": "null"}.get(word[0], word[0].lower())), text)
        for name, text in told.items()
    }


def ancestors(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model last."""
    return [base for base in reversed(model.__mro__) if issubclass(base, BaseModel) and base is not BaseModel]


def meaning(model: type[BaseModel], name: str) -> str:
    """What a key means: as the code says, else as `keys.yaml` does."""
    own = [KEYS[f"{base.__name__}.{name}"] for base in ancestors(model) if f"{base.__name__}.{name}" in KEYS]
    return comments(model).get(name) or (own[-1] if own else KEYS.get(name, ""))


def type_of(field: FieldInfo) -> str:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    limits = [
        f"{words[kind]} {getattr(limit, kind):g}" for limit in field.metadata for kind in words if hasattr(limit, kind)
    ]
    return " ".join([words_of(field.annotation), *limits])


def words_of(kind: Any) -> str:
    """A type as a reader of YAML knows it."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(code(as_yaml(value)) for value in args)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words_of(arg) for arg in args))
    if origin in (tuple, list):
        return "list of " + ", ".join(dict.fromkeys(words_of(arg) for arg in args if arg is not Ellipsis))
    if origin is dict or kind is dict:
        return "mapping"
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true`, `false`",
        type(None): "`null`",
        Path: "path",
    }
    return plain.get(kind, getattr(kind, "__name__", str(kind)))


def as_yaml(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def code(text: str) -> str:
    if "|" in text:  # which ends a table's cell, in backticks too
        return f"<code>{escaped(text).replace(chr(92) + '|', '&#124;')}</code>"
    return f"`{text}`" if text else ""


def escaped(text: str) -> str:
    """Text within a table's cell; `<` is no tag there."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
