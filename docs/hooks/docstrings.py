"""Docstrings whose lines read "name: what it is" -> Markdown with one list item a name, and the same as a table of
descriptions.

Docstrings in Google's form are left to the reader that knows it.
"""

import re
from collections.abc import Collection, Iterator

NAMES = r"[a-z_]\w*(?:, [a-z_]\w*)*"
SECTION = re.compile(r"^ *(Args|Attributes|Returns|Raises|Yields|Examples?|Note|Notes):\n", re.M)


def paragraphs(text: str) -> Iterator[str]:
    """Each joined to one line; what is raised stands in one of its own."""
    for part in re.split(r"\n\s*\n|\n(?= *Raises )", text.strip()):
        yield " ".join(part.split())


def split(paragraph: str, names: Collection[str]) -> tuple[str, list[tuple[list[str], str]]]:
    """A paragraph -> what comes before the first description, and (names, description) of each that follows."""
    starts = [
        match
        for match in re.finditer(rf"(?:^|(?<=[.;)] ))({NAMES}): ", paragraph)
        if set(match[1].split(", ")) <= set(names)
    ]
    ends = [*[match.start() for match in starts], len(paragraph)][1:]
    before = paragraph[: starts[0].start()] if starts else paragraph
    return before.strip(), [
        (match[1].split(", "), paragraph[match.end() : end].strip()) for match, end in zip(starts, ends, strict=True)
    ]


def descriptions(text: str, names: Collection[str]) -> dict[str, str]:
    """name -> description, of those that a docstring describes; in Google's form too, whose lines are the same but
    indented."""
    lines = re.sub(r"\n(?= +[a-z_]\w*: )", "\n\n", text) if SECTION.search(text) else text
    return {
        name: told for paragraph in paragraphs(lines) for found, told in split(paragraph, names)[1] for name in found
    }


def markdown(text: str, names: Collection[str]) -> str:
    """A docstring as Markdown; `<` is no tag, and what is quoted as code stays so."""
    if SECTION.search(text):
        return text
    parts = []
    for paragraph in paragraphs(text):
        before, described = split(paragraph, names)
        parts += [before] * bool(before)
        if described:
            parts.append(
                "\n".join(f"- {', '.join(f'`{name}`' for name in found)}: {told}" for found, told in described)
            )
    return "\n\n".join(
        "`".join(piece if k % 2 else piece.replace("<", "&lt;") for k, piece in enumerate(part.split("`")))
        for part in parts
    )


try:
    from griffe import Class, Extension, Function, Object
except ModuleNotFoundError:  # what else is here needs no griffe
    pass
else:

    class Described(Extension):
        """Rewrites the docstrings that a build of the site reads."""

        def on_object(self, *, obj: Object, **_: object) -> None:
            if obj.docstring is None:
                return
            names: set[str] = set()
            if isinstance(obj, Function):
                names = {parameter.name for parameter in obj.parameters}
            elif isinstance(obj, Class):
                init = obj.members.get("__init__")
                names = {*obj.members, *({p.name for p in init.parameters} if isinstance(init, Function) else ())}
            obj.docstring.value = markdown(obj.docstring.value, names)
