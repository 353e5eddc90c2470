"""The run's end of the worker: one request at a time, with a time limit; a worker that dies or hangs is replaced."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from echokdm.core.errors import EchoKDMError, OutputError
from echokdm.deid.reasons import Reason, Refusal

_START_SECONDS = 300.0


@dataclass(frozen=True)
class Limits:
    """seconds: for one file. memory: bytes that reading it may take; two GiB hold 150 colour frames of 1024 x 768
    pixels."""

    seconds: float = 300.0
    memory: int = 2 * 2**30


class Worker:
    """Runs `deidentify_file` in a process of its own. Use as a context manager."""

    def __init__(self, salt: bytes, shift_dates: bool, limits: Limits) -> None:
        self._settings = {"salt": salt.hex(), "shift_dates": shift_dates, "memory": limits.memory}
        self._seconds = limits.seconds
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def deidentify(self, source: Path, target: Path) -> dict[str, Any]:
        """What `deidentify_file` returns. Raises Refusal, also where the process died or the time was up, and
        OutputError."""
        process = self._process or self._start()
        try:
            self._say(process, {"source": str(source), "target": str(target)})
            line = self._answers.get(timeout=self._seconds)
        except queue.Empty:
            self._stop()
            target.unlink(missing_ok=True)
            raise Refusal(Reason.TOO_SLOW) from None
        except OSError:
            line = None
        answer = _parsed(line)
        if "done" in answer:
            return dict(answer["done"])
        if "output" in answer:
            raise OutputError(answer["output"])
        target.unlink(missing_ok=True)
        if "refused" in answer:
            raise Refusal(Reason[answer["refused"]])
        self._stop()
        raise Refusal(Reason.CRASHED)

    def _start(self) -> "subprocess.Popen[str]":
        package = str(Path(__file__).resolve().parents[2])
        # -P and not the current folder: what lies beside a patient's files is never imported.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "echokdm.deid.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
        )
        answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_collect, args=(process, answers), daemon=True).start()
        self._process, self._answers = process, answers
        try:
            self._say(process, self._settings)
            ready = "ready" in _parsed(answers.get(timeout=_START_SECONDS))
        except (queue.Empty, OSError):
            ready = False
        if not ready:
            self._stop()
            raise EchoKDMError(
                "The process that reads the files did not start: run `echokdm doctor` to see what is missing."
            )
        return process

    def _say(self, process: "subprocess.Popen[str]", what: dict[str, Any]) -> None:
        assert process.stdin is not None  # it is a pipe
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None  # it is a pipe
            with contextlib.suppress(OSError):  # what was left to be said has no reader
                self._process.stdin.close()
            self._process = None


def _collect(process: "subprocess.Popen[str]", answers: "queue.Queue[str | None]") -> None:
    """Lines of the process into the queue; None at its end."""
    assert process.stdout is not None  # it is a pipe
    with process.stdout:
        for line in process.stdout:
            answers.put(line)
    answers.put(None)


def _parsed(line: str | None) -> dict[str, Any]:
    """Nothing for no line, or for one that the process's end cut short."""
    try:
        return dict(json.loads(line or "{}"))
    except ValueError:
        return {}
