"""The notebooks of examples/ as pages, with the outputs that were recorded from a run.

    python docs/hooks/tutorials.py [NAME ...]

runs notebooks and records what each cell prints and shows. The notebooks themselves hold no outputs, and the record
holds no picture of a patient: of the quickstart, whose clip is a real one, it keeps text and curves alone.
"""

import ast
import base64
import contextlib
import hashlib
import html
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from links import NOTEBOOKS, ROOT, moved

RECORDS = ROOT / "docs" / "hooks" / "outputs"
WITHOUT_FRAMES = {"quickstart": ("quickstart-09", "quickstart-14")}  # cells that show frames of a real clip


def cells(name: str) -> list[dict[str, Any]]:
    """Each with its kind, id and source as one text."""
    book = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [{"kind": cell["cell_type"], "id": cell["id"], "source": "".join(cell["source"])} for cell in book["cells"]]


def digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def recorded(name: str) -> dict[str, dict[str, str]]:
    """Cell id -> `source`, the digest of its text, and of its outputs `text`, `html` and `picture` (WebP in base 64)
    what there is."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    return {page: moved(page_of(Path(book).stem), "examples", page) for book, page in NOTEBOOKS.items()}


def page_of(name: str) -> str:
    outputs, parts = recorded(name), []
    for cell in cells(name):
        if cell["kind"] == "markdown":
            parts.append(cell["source"])
            continue
        parts.append(f"```python\n{cell['source']}\n```")
        output = outputs[cell["id"]]
        if "text" in output:
            parts.append(f'<pre class="output">{html.escape(output["text"].rstrip())}</pre>')
        if "html" in output:
            parts.append(f'<div class="output">{output["html"]}</div>')
        if "picture" in output:
            parts.append(
                f'<img class="output" alt="What the cell shows" src="data:image/webp;base64,{output["picture"]}">'
            )
        if cell["id"] in WITHOUT_FRAMES.get(name, ()):
            parts.append("*The picture shows frames of a real clip, which are not kept here: run the cell to see it.*")
    where = f"*The notebook `examples/{name}.ipynb`, with the outputs of a recorded run.*"
    return "\n\n".join([parts[0].split("\n", 1)[0], where, parts[0].partition("\n")[2].strip(), *parts[1:]]) + "\n"


def record(name: str) -> dict[str, dict[str, str]]:
    """Run a notebook's cells in an empty folder `examples` that has `configs` beside it."""
    outputs, space = {}, {"__name__": "__main__"}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "configs").symlink_to(ROOT / "configs")
        (Path(top) / "examples").mkdir()
        os.chdir(Path(top) / "examples")
        try:
            for cell in (cell for cell in cells(name) if cell["kind"] == "code"):
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                    shown = run(cell["source"], space)
                outputs[cell["id"]] = {"source": digest(cell["source"])} | (
                    {"text": printed.getvalue()} if printed.getvalue() else {}
                )
                if cell["id"] not in WITHOUT_FRAMES.get(name, ()):
                    outputs[cell["id"]] |= as_shown(shown)
        finally:
            os.chdir(before)
    return outputs


def run(source: str, space: dict[str, Any]) -> Any:
    """Execute a cell; the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), space)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), space)


def as_shown(value: Any) -> dict[str, str]:
    """Of a picture, a chart or a table; what else a cell ends in is no news."""
    from PIL import Image

    if isinstance(value, Image.Image):
        file = io.BytesIO()
        value.convert("RGB").save(file, "WEBP", quality=75, method=6)
        return {"picture": base64.b64encode(file.getvalue()).decode()}
    if hasattr(value, "_repr_svg_"):
        return {"html": value._repr_svg_()}
    if hasattr(value, "to_html"):
        return {"html": value.to_html(border=0, classes="dataframe")}
    return {}


if __name__ == "__main__":
    RECORDS.mkdir(exist_ok=True)
    for chosen in sys.argv[1:] or [Path(book).stem for book in NOTEBOOKS]:
        (RECORDS / f"{chosen}.json").write_text(json.dumps(record(chosen), indent=1) + "\n", encoding="utf-8")
