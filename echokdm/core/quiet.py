"""Keep libraries from telling what they read: their warnings and logs quote paths and values of headers, which may name
a patient."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(library: str = "") -> Iterator[None]:
    """Within it a library's logger says nothing, or with no library none does, and there are no warnings."""
    logger, disabled = logging.getLogger(library or None), logging.root.manager.disable
    level = logger.level
    if library:
        logger.setLevel(logging.CRITICAL + 1)
    else:  # of all, whatever level and handlers of its own one has
        logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
        logging.disable(disabled)
