"""`listen`: clips that an archive or a scanner sends, each de-identified as it arrives."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echokdm.core.errors import ArchiveError, EchoKDMError
from echokdm.deid import Batch, Summary, begin_batch
from echokdm.pacs.archive import untold
from echokdm.pacs.receiver import NOT_UNDERSTOOD, STORED, Station, receiving

_LOOK_SECONDS = 0.2


class _Gate:
    """Takes what arrives, one file after another, in whichever thread it arrives."""

    def __init__(self, batch: Batch, progress: Callable[[int, int], None] | None) -> None:
        self._batch, self._progress, self._lock = batch, progress, threading.Lock()
        self._open, self._last = True, time.monotonic()
        self._taken = self._refused = 0
        self.fault: EchoKDMError | OSError | None = None

    def keep(self, uid: str, content: bytes) -> int:
        """The status of C-STORE: a sender is told that an object is stored once what is left of it is on the disk."""
        with self._lock:
            if not self._open:
                return NOT_UNDERSTOOD
            try:
                refused = (
                    self._batch.take((uid, hashlib.sha256(content).digest()), lambda: self._brought(content))
                    is not None
                )
            except (EchoKDMError, OSError) as error:
                self.fault = error
                return NOT_UNDERSTOOD
            self._taken += not refused
            self._refused += refused
            if self._progress is not None:
                self._progress(self._taken, self._refused)
            self._last = time.monotonic()
            return NOT_UNDERSTOOD if refused else STORED

    def is_idle(self, seconds: float) -> bool:
        """Whether nothing is being taken, and nothing was for so long."""
        return not self._lock.locked() and time.monotonic() - self._last >= seconds

    def close(self) -> None:
        """Take nothing more, once what is being taken is done."""
        with self._lock:
            self._open = False

    @contextmanager
    def _brought(self, content: bytes) -> Iterator[Path]:
        file = self._batch.arrivals / f"{secrets.token_hex(4)}.dcm"
        try:
            file.write_bytes(content)
            yield file
        finally:
            file.unlink(missing_ok=True)


@untold()
def listen(
    out: str | os.PathLike[str],
    station: Station | None = None,
    *,
    idle: float | None = None,
    salt: bytes | None = None,
    shift_dates: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Receive ultrasound by C-STORE until Ctrl-C, or until nothing came for `idle` seconds; then put out what was
    received.

    out, salt, shift_dates: as `deidentify_folder` takes them; with a salt, what a run that was killed had received is
    put out with the rest. A sender is told of an object that is refused, and of none that it is stored before it is
    de-identified. progress: called with (how many were taken, how many refused).

    Raises ConfigError where the port is taken, ArchiveError where nothing came, OutputError as `deidentify_folder`
    does.
    """
    with begin_batch(Path(out), salt=salt, shift_dates=shift_dates) as batch:
        batch.take_kept()
        gate = _Gate(batch, progress)
        with suppress(KeyboardInterrupt), receiving(station or Station(), gate.keep):
            while gate.fault is None and (idle is None or not gate.is_idle(idle)):
                time.sleep(_LOOK_SECONDS)
        gate.close()
        if gate.fault is not None:
            raise gate.fault
        if not len(batch):
            raise ArchiveError(
                "Nothing came: check that the sender knows this station by the AE title, host and port of --aet, --host and "
                "--port, and that the port can be reached from it."
            )
        return batch.put_out()
