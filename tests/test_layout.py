"""Rules of the code base that no linter knows."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "echokdm").rglob("*.py"))
CODE = [
    path for folder in ("echokdm", "tests", "benchmarks", "examples") for path in sorted((ROOT / folder).rglob("*.py"))
]


FOLDERS = (".ci", "benchmarks", "configs", "docs", "echokdm", "examples", "pipelines", "tests")
TEXTS = [
    path
    for path in sorted([*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))])
    if path.is_file()
    and path.suffix in ("", ".cfg", ".csv", ".ipynb", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml")
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, node) of each call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_one_grid_sample() -> None:
    """Every warp goes through one function, so half a pixel can't get lost between two conventions."""
    users = [name_of(path) for path in PACKAGE for name, _ in calls(path) if name.endswith("grid_sample")]
    assert users == ["echokdm/ops/warp.py"]


def test_nothing_executes_what_it_reads() -> None:
    """No pickle, no eval or exec, no unsafe YAML, and torch.load of weights alone."""
    faults = []
    for path in PACKAGE:
        text = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(import|from) (pickle|cPickle|dill|joblib|marshal|shelve)\b", text, re.M):
            faults.append(f"{name_of(path)}: pickle")
        for name, node in calls(path):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            unsafe = (
                name in ("eval", "exec", "__import__")
                or name.endswith(("yaml.load", "yaml.unsafe_load", "yaml.full_load"))
                or name.endswith("torch.load")
                and keywords.get("weights_only") != "True"
                or name.endswith("np.load")
                and keywords.get("allow_pickle", "False") != "False"
                or keywords.get("shell") == "True"
            )
            if unsafe:
                faults.append(f"{name_of(path)}:{node.lineno}: {name}")
    assert not faults, "\n".join(faults)


def test_nothing_is_left_undone() -> None:
    """No note to do it later, no stub, no swallowed error."""
    faults = []
    for path in PACKAGE:
        with tokenize.open(path) as file:
            comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
        faults += [
            f"{name_of(path)}:{token.start[0]}: {token.string}"
            for token in comments
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string)
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
                faults.append(f"{name_of(path)}:{node.lineno}: NotImplementedError")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                faults.append(f"{name_of(path)}:{node.lineno}: bare except")
    assert not faults, "\n".join(faults)


def test_public_functions_are_typed_and_documented() -> None:
    faults = []
    for path in PACKAGE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            faults.append(f"{name_of(path)}: no docstring")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    faults.append(f"{name_of(path)}:{node.lineno}: {node.name} has no docstring")
                if isinstance(node, ast.FunctionDef):
                    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                    if node.returns is None or any(argument.annotation is None for argument in named):
                        faults.append(f"{name_of(path)}:{node.lineno}: {node.name} is not fully typed")
    assert not faults, "\n".join(faults)


def methods(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef]]:
    """Public functions of a module, and public and special methods of its public classes with their class."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield None, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (
                (node, inner)
                for inner in node.body
                if isinstance(inner, ast.FunctionDef) and (not inner.name.startswith("_") or inner.name.endswith("__"))
            )


def test_public_functions_take_eight_parameters_at_most() -> None:
    """What else there is to say is a value's, a frozen dataclass whose fields are documented.

    Two kinds have names that others write, one parameter each: commands, whose parameters are options, and constructors
    of networks and pipelines, whose parameters are keys of a bundle's files.
    """
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in PACKAGE
        if path.relative_to(ROOT / "echokdm").parts[0] != "cli"
    }
    bases = {
        node.name: [ast.unparse(base).split(".")[-1] for base in node.bases]
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }

    def kept_in_bundles(name: str) -> bool:
        return name in ("ConfigMixin", "DiffusionPipeline", "ModelMixin", "Module") or any(
            map(kept_in_bundles, bases.get(name, ()))
        )

    faults = []
    for path, tree in trees.items():
        for owner, function in methods(tree):
            given = function.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
            count = len(named) - (bool(named) and named[0].arg in ("self", "cls"))
            if count > 8 and not (owner is not None and function.name == "__init__" and kept_in_bundles(owner.name)):
                where = function.name if owner is None else f"{owner.name}.{function.name}"
                faults.append(f"{name_of(path)}:{function.lineno}: {where} takes {count} parameters")
    assert not faults, "\n".join(faults)


def test_no_heavy_import_at_the_top_of_light_modules() -> None:
    """Reading, writing and geometry load their codecs when used; core loads torch alone."""
    late = {"diffusers", "highdicom", "monai", "pydicom", "matplotlib", "av", "lpips", "nibabel", "torchvision"}
    faults = []
    for path in PACKAGE:
        if path.relative_to(ROOT / "echokdm").parts[0] not in ("core", "io", "ops"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                )
                faults += [f"{name_of(path)}:{node.lineno}: {name}" for name in names if name.split(".")[0] in late]
    assert not faults, "\n".join(faults)


def test_nothing_looks_beside_the_checkout() -> None:
    """A clone needs nothing beside it: only CI may know of the folder of real material there, and hands it on by
    ECHOKDM_TEST_DATA."""
    beside = re.compile(r"""\.\.[/\\]shared\b|["'/]shared["']|["']shared[/\\]""")
    found = {name_of(path) for path in TEXTS if beside.search(path.read_text(encoding="utf-8", errors="ignore"))}
    assert found == {".ci/run"}
