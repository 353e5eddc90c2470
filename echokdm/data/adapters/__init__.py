"""Data sets: what an adapter is, and how one is found. Every adapter, ours too, is an entry point of
`echokdm.adapters`."""

from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from echokdm.core.plugins import ADAPTERS, Plugin, find, survey

if TYPE_CHECKING:
    import pandas as pd

    from echokdm.core.types import Sequence

Row = Mapping[str, Any]
"""A record of an index: `index.iloc[i]`, or an item of `index.to_dict("records")`."""


@runtime_checkable
class Adapter(Protocol):
    """A family of data sets on disk.

    name: as registered. schema: the name of its key-points' schema, several with " or " between, "" where it has none.
    what: the layout in a few words. one_size: whether all pictures of a folder must have one size.
    """

    name: str
    schema: str
    what: str
    one_size: bool

    def index(self, root: str | PathLike[str]) -> "pd.DataFrame":
        """One row a sequence, no frame loaded: sequence (unique), subject, split, path, and columns of labels.

        split is "train", "val", "test", a fold's number, or "all" where the folder has no splits. Columns whose name
        starts with "_" are the adapter's own, for `read`. Where a sequence is a pair of pictures, the second to be made
        of the first, the columns "from" and "to" name them: the same name is the same picture. Where examples are
        listed for a picture, the columns "ref1" and "ref2" name their sequences, or are "". Raises DataError that names
        every problem of the folder at once.
        """

    def read(self, row: Row) -> "Sequence":
        """The sequence of one row of the index, checked; nothing else is loaded. Raises ClipError or GeometryError."""


def fault_of(adapter: Any) -> str:
    """Why an object is no adapter, "" where it is one."""
    if isinstance(adapter, type):
        return f"{adapter.__name__} is a class; register an object of it"
    lacking = [name for name in ("name", "schema", "what", "one_size", "index", "read") if not hasattr(adapter, name)]
    return f"it lacks {', '.join(lacking)}" if lacking else ""


def find_adapter(name: str) -> Adapter:
    """The adapter registered as `name`. Raises ConfigError, with the nearest name, where there is none or it can't be
    had."""
    return find(ADAPTERS, name, fault_of)


def survey_adapters() -> list[Plugin]:
    """Every registered adapter, sorted by name, or why it is not available."""
    return survey(ADAPTERS, fault_of)
