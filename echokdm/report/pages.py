"""Self-contained pages of HTML: no link leaves one, and every picture is inside."""

import base64
from typing import Any


def render(template: str, **values: Any) -> str:
    """A page from one of the package's templates; every value is escaped, one that is missing is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    env = Environment(
        loader=PackageLoader("echokdm.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return env.get_template(template).render(**values)


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Bytes of a media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
