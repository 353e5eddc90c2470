"""How the command line says what went wrong or stopped it: one sentence, and with --debug where, but never what was
read."""

import errno
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from echokdm.core.errors import EchoKDMError
from echokdm.core.naming import names_shown
from echokdm.core.quiet import quiet
from echokdm.core.stopping import stoppable

OWN_FAULT, BAD_INPUT = 1, 2
SHOW_NAMES = "--show-names"
WORDS = "echokdm.words"


class OneSentence(TyperGroup):
    """Turns the package's errors into one line on stderr and exit code 2; any other, which is a fault of its own, into
    one and 1.

    A signal that stops the command becomes a line and 128 + its number.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = list(args)
        # An option of all commands, taken wherever it stands.
        return super().parse_args(ctx, sorted(args, key=lambda word: word != SHOW_NAMES))

    def invoke(self, ctx: Any) -> Any:
        with quiet(), stoppable() as stop:
            try:
                return super().invoke(ctx)
            except BaseException as error:
                if stop.number is not None:  # whatever it became on its way, at a terminal that is gone perhaps
                    end(stop.number)
                self._tell(ctx, error)
                raise

    def _tell(self, ctx: typer.Context, error: BaseException) -> None:
        """Leave with a sentence on an error, but for what is to go on: typer's own, Ctrl-C, a reader of the output that
        has gone."""
        if isinstance(error, EchoKDMError):
            if ctx.params.get("debug"):
                tell_trace(error)
            fail(" ".join(str(error).split()), BAD_INPUT)
        if isinstance(error, Exception):
            is_typers = type(error).__module__.split(".")[0] in ("click", "typer")
            if is_typers and isinstance(message := getattr(error, "message", None), str) and not names_shown():
                vars(error)["message"] = withhold(message, ctx.meta[WORDS])
            if is_typers or isinstance(error, OSError) and error.errno == errno.EPIPE:  # who read the output has gone
                return
            if ctx.params.get("debug"):
                tell_trace(error)
            where = list(trace_lines(error))[-1].strip()
            fail(
                f"Something went wrong that should not have ({type(error).__name__}, {where}): please report it with what "
                "`echokdm --debug` and the rest of the command print.",
                OWN_FAULT,
            )


def withhold(message: str, words: Iterable[str]) -> str:
    """A message of the parser of the command line, which quotes what was typed, without it: a path may carry a
    patient's name."""
    for part in {part for word in words for part in (word, word.partition("=")[2])}:
        if part and not part.startswith("-"):
            message = message.replace(repr(part), "'...'")
    return re.sub(r"(unexpected extra argument\S*) \(.*\)", r"\1", message, flags=re.DOTALL)


def end(number: int) -> NoReturn:
    """Say that a signal stopped the command, and leave as a shell expects it."""
    with suppress(OSError):
        typer.echo(
            f"Stopped by {Signals(number).name}: nothing half done is left; the same command goes on where it kept what was "
            "done, or begins anew.",
            err=True,
        )
    raise typer.Exit(128 + number)


def fail(message: str, code: int) -> NoReturn:
    """Print `Error: message` on stderr and leave with that exit code."""
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)


def trace_lines(error: BaseException) -> Iterator[str]:
    """Where an error was raised, the outermost call first: files within their packages, lines and functions, no value
    and no path."""
    for frame in traceback.extract_tb(error.__traceback__):
        parts = Path(frame.filename).parts
        package = next(
            (i for i in range(len(parts) - 1, -1, -1) if parts[i] in ("echokdm", "site-packages")), len(parts) - 1
        )
        yield f"  {'/'.join(parts[package:])}:{frame.lineno} in {frame.name}"


def tell_trace(error: BaseException | None) -> None:
    """Print on stderr the kinds of an error and of those that led to it, each with its trace. Their texts may quote a
    file: left out."""
    while error is not None:
        typer.echo(f"{type(error).__name__}, raised at", err=True)
        for line in trace_lines(error):
            typer.echo(line, err=True)
        error = error.__cause__ or error.__context__
