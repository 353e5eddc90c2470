"""The JSON of a bundle: small, and of small numbers."""

import json
import math
from pathlib import Path
from typing import Any

from echokdm.core.errors import BundleError, EchoKDMError
from echokdm.core.files import check_plain

_LONGEST = 2**16  # bytes
# No number of a configuration is greater; a network of more channels or layers would be built for hours before its
# weights are looked at.
_GREATEST = 2**16


def read_json(path: Path) -> dict[str, Any]:
    """A bundle's small JSON. Raises BundleError where it is missing, long, no mapping, or holds a number that no bundle
    has."""
    try:
        if check_plain(path, BundleError).stat().st_size > _LONGEST:
            raise ValueError
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not _is_sane(values):
            raise ValueError
    except EchoKDMError:
        raise
    except Exception as error:
        raise BundleError(
            f"The file {path.parent.name}/{path.name} of the bundle is missing or damaged ({type(error).__name__}); install "
            "or train it again."
        ) from None
    return values


def _is_sane(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_sane(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_sane(item) for item in value)
    return not isinstance(value, (int, float)) or math.isfinite(value) and abs(value) <= _GREATEST
