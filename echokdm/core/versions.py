"""Of what outputs are made."""

import sys
from importlib.metadata import version

NAMED = "echokdm", "torch", "diffusers", "numpy"


def versions() -> dict[str, str]:
    """Of Python and of the packages that an output's bytes follow from, for run.json."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in NAMED}}
