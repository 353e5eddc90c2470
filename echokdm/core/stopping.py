"""Signals that ask a command to end (SIGTERM, SIGHUP) become an exception, so that what is half done is cleared away as
after Ctrl-C."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP
_ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(BaseException):
    """The command was asked to end. A BaseException, so that nothing takes it for a fault of its own."""


class Stop:
    """The first signal that came while a command ran; later ones must not disturb the clearing away. number: None while
    none came."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._process, self._waiting, self._due = os.getpid(), 0, False

    def come(self, number: int, _: FrameType | None) -> None:
        """The handler: raises Stopped, or lets the end of `undisturbed` do so."""
        if os.getpid() != self._process:  # one forked from it ends as it would have
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.number is None:
            self.number, self._due = number, bool(self._waiting)
            if not self._due:
                raise Stopped

    def wait(self, more: int) -> None:
        """Count the blocks that wait; raises what became due when the last has ended."""
        self._waiting += more
        if self._due and not self._waiting:
            self._due = False
            raise Stopped


_current = Stop()  # of the command that runs; outside of one nothing comes


@contextmanager
def stoppable() -> Iterator[Stop]:
    """In the block SIGTERM and SIGHUP raise Stopped, once; one that is ignored, as under nohup, stays so. Only the main
    thread can."""
    global _current
    outer, _current = _current, Stop()
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _ASKING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, _current.come)
        yield _current
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _current = outer


@contextmanager
def undisturbed() -> Iterator[None]:
    """A stop that comes in the block is raised at its end: for moves and clearing away that must not stay half done."""
    stop = _current
    stop.wait(1)
    try:
        yield
    finally:
        stop.wait(-1)


@contextmanager
def own_handlers() -> Iterator[None]:
    """What the block sets for these signals, as libraries do that it starts, is undone."""
    before = {number: signal.getsignal(number) for number in _ASKING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
