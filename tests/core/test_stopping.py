"""SIGTERM and SIGHUP: an exception, once, and never in the midst of clearing away."""

import os
import signal

import pytest

from echokdm.core.stopping import Stopped, own_handlers, stoppable, undisturbed

ASKING = (signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", ASKING)
def test_a_signal_raises_once_and_the_handlers_come_back(number: int) -> None:
    before = [signal.getsignal(n) for n in ASKING]
    cleared = []
    with pytest.raises(Stopped), stoppable() as stop:
        try:
            os.kill(os.getpid(), number)
        finally:
            for again in ASKING:
                os.kill(os.getpid(), again)
            with undisturbed():
                cleared.append(1)
            cleared.append(2)
    assert stop.number == number and cleared == [1, 2] and [signal.getsignal(n) for n in ASKING] == before


def test_clearing_away_is_finished_first() -> None:
    steps = []
    with pytest.raises(Stopped), stoppable():
        with undisturbed():
            with undisturbed():
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("inner")
            steps.append("outer")
        steps.append("after")
    assert steps == ["inner", "outer"]


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stoppable() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_forked_from_it_ends_as_it_would_have() -> None:
    with stoppable():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


def test_a_librarys_handlers_do_not_stay() -> None:
    with pytest.raises(Stopped), stoppable():
        with own_handlers():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
