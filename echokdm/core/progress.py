"""Bars on stderr that fit a terminal of 80 columns: what is done, how many of how many, and the time that is left."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
BAR = 16  # characters; with counts, two times and a label of 30 less than 80


def progress_bar(*, figures: bool = False, transient: bool = True, disable: bool = False) -> "Progress":
    """A rich Progress on stderr: label, bar, counts, time gone, time left.

    figures: each task has a field "figures" too, text that is cut off where the line ends, so that counts and times
    never are.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    def whole() -> Column:
        return Column(no_wrap=True)

    columns = [
        TextColumn("{task.description}", table_column=whole()),
        BarColumn(BAR),
        MofNCompleteColumn(table_column=whole()),
        TimeElapsedColumn(table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
    ]
    if figures:
        columns.append(
            TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        )
    return Progress(*columns, console=Console(stderr=True), transient=transient, expand=figures, disable=disable)


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that is gone when they are done. total: their number, where they don't tell it."""
    with progress_bar() as shown:
        yield from shown.track(items, total=total, description=label)
