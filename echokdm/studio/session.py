"""What one tab works on: a clip, the history of its edits in a file, and the result as far as it is made."""

import math
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from time import monotonic, sleep
from zipfile import ZipFile, ZipInfo

import numpy as np

from echokdm.core.errors import ConfigError, EchoKDMError
from echokdm.echo.plan import Trajectory
from echokdm.echo.synthesis import Synthesis
from echokdm.ops.m_mode import m_mode
from echokdm.report.synthesis import write_synthesis
from echokdm.studio.edits import Change, Edit, History, read_history, write_history
from echokdm.studio.heart import OUTLINES, Heart, Outlined, frame_of

_PAUSE_S = 0.5  # after a preview, in which the whole clip is not worked on: the mouse comes first
FAILED = "Something went wrong that should not have: undo the last step, or open the clip again."


class Superseded(Exception):
    """What is being made is no longer asked for."""


@dataclass
class Making:
    """The result of one edit, as far as it is made.

    key: the edit's. first: the frame that is made before all others, and its pixels (C, H, W). share: of the frames
    that are made. error: one sentence on why there will be none.
    """

    key: str
    first: int
    pixels: np.ndarray | None = None
    share: float = 0.0
    result: Synthesis | None = None
    error: str = ""


@dataclass(frozen=True)
class Asked:
    """An edit and what follows from it at once, before any picture is made."""

    edit: Edit
    source: Outlined
    trajectory: Trajectory


class Threads:
    """A server's two threads that make pictures: single frames at once, and whole clips after them."""

    def __init__(self) -> None:
        self.first, self.whole = ThreadPoolExecutor(1, "first-frame"), ThreadPoolExecutor(1, "whole-clip")

    def close(self) -> None:
        """Take no more work; what runs is not waited for."""
        for pool in (self.first, self.whole):
            pool.shutdown(wait=False, cancel_futures=True)


class Session:
    """One tab's work. folder: its own and private, for its file and for what an export writes on its way."""

    def __init__(self, heart: Heart, folder: Path, threads: Threads) -> None:
        self.heart, self.folder = heart, folder
        self._threads, self._lock = threads, RLock()
        self._asked = self._follow(self.history.edit, heart.outlined(self.history.edit))
        self._making, self._tried = Making("", 0), -math.inf
        self._make(self._asked.trajectory.es)

    @property
    def history(self) -> History:
        """As the session's file has it."""
        return read_history(self.folder / "session.json")

    @property
    def asked(self) -> Asked:
        """What is shown."""
        return self._asked

    @property
    def making(self) -> Making:
        """Its result."""
        return self._making

    def trial(self, change: Change) -> Asked:
        """What a change would ask for, without making it a step: for a preview. Raises GeometryError or ConfigError."""
        now, self._tried = self._asked, monotonic()
        edit = self.heart.changed(now.edit, now.source, change)
        return self._follow(
            edit, now.source if edit.outlines == now.edit.outlines else self.heart.outlined(edit, now.source)
        )

    def change(self, change: Change) -> None:
        """Make a change a step of the history, and begin with its result. Raises GeometryError or ConfigError, and
        nothing is changed."""
        with self._lock:
            edit = self.heart.changed(self._asked.edit, self._asked.source, change)
            self._keep(self.history.then(edit), change.frame)

    def undo(self, steps: int, frame: int) -> None:
        """Undo so many steps or, negative, do them again. frame: of the result, that is looked at."""
        with self._lock:
            self._keep(self.history.back(steps), frame)

    def _keep(self, history: History, frame: int) -> None:
        now, edit = self._asked, history.edit
        asked = self._follow(edit, now.source if edit.outlines == now.edit.outlines else self.heart.outlined(edit))
        write_history(self.folder / "session.json", history)
        self._asked = asked
        self._make(min(frame, len(asked.trajectory.frames) - 1))

    def _follow(self, edit: Edit, source: Outlined) -> Asked:
        return Asked(edit, source, self.heart.trajectory(edit, source))

    # The result

    def _make(self, frame: int) -> None:
        if self._making.key != self._asked.edit.key:
            self._making = Making(self._asked.edit.key, frame)
            self._threads.first.submit(self._make_first, self._making, self._asked)

    def _make_first(self, making: Making, asked: Asked) -> None:
        def work() -> None:
            making.pixels = self.heart.frame(asked.source, asked.trajectory, making.first)
            self._threads.whole.submit(self._make_whole, making, asked)

        self._guarded(making, work)

    def _make_whole(self, making: Making, asked: Asked) -> None:
        def made(share: float) -> None:
            making.share = share
            while monotonic() - self._tried < _PAUSE_S and self._making is making:
                sleep(_PAUSE_S / 5)
            if self._making is not making:
                raise Superseded

        def work() -> None:
            making.result = self.heart.make(asked.edit, asked.source, made)

        self._guarded(making, work)

    def _guarded(self, making: Making, work: Callable[[], None]) -> None:
        """Work in a thread, whose errors would else be seen by nobody."""
        try:
            if self._making is making:
                work()
        except Superseded:
            pass
        except EchoKDMError as error:
            making.error = str(error)
        except Exception:
            making.error = FAILED

    def close(self) -> None:
        """Stop making what nobody asks for any more, and remove the folder."""
        self._making = Making("", 0)
        shutil.rmtree(self.folder, ignore_errors=True)

    # What is looked at and taken away

    def source_frame(self, frame: int) -> np.ndarray:
        """(C, H, W) of the source, in the phase of the result's frame, black outside the sector. Raises GeometryError:
        no such frame."""
        asked = self._asked
        pick = int(frame_of(asked.trajectory, frame, asked.trajectory.frames))
        return np.asarray(asked.source.heart.clip.frames[pick]) * np.asarray(asked.source.heart.sector.mask)

    def result_frame(self, frame: int) -> tuple[np.ndarray, bool]:
        """(C, H, W) of the result as far as it is made, else its preview; and whether it is made. Raises GeometryError:
        no such frame."""
        making, asked = self._making, self._asked
        frame_of(asked.trajectory, frame, asked.trajectory.frames)
        if making.result is not None:
            return np.asarray(making.result.clip.frames[frame]), True
        if making.pixels is not None and frame == making.first:
            return making.pixels, True
        return self.heart.preview(asked.source, asked.trajectory, frame), False

    def m_modes(self) -> tuple[np.ndarray, np.ndarray]:
        """Brightness (L, N) in [0, 1] along the line of source and result. Raises ConfigError where the result isn't
        made yet."""
        asked, result = self._asked, self._result()
        line, real = self.heart.line(asked.edit, asked.source, asked.trajectory), result.real_frames()
        assert real is not None  # a still is not opened
        return m_mode(real, line), m_mode(result.clip.frames, line)

    def export(self) -> Path:
        """A zip of all that `synth` writes, and of the outlines that its command takes; the caller removes it.

        Raises ConfigError where the result isn't made yet, OutputError.
        """
        asked, result = self._asked, self._result()
        given = result.source.given
        command = self.heart.command(asked.edit, "FILE" if given else None)
        line = None if asked.edit.m_mode is None else self.heart.line(asked.edit, asked.source, asked.trajectory)
        file = self.folder / f"{secrets.token_hex(8)}.zip"
        with TemporaryDirectory(dir=self.folder) as folder:
            out = write_synthesis(result, Path(folder) / "synth", command=command, m_mode_line=line)
            if given:
                self.heart.write_outlines(asked.edit, out / OUTLINES)
            with ZipFile(file, "w") as archive:
                for path in sorted(out.iterdir()):
                    # dated 1980: the same bytes each time
                    archive.writestr(ZipInfo(f"synth/{path.name}"), path.read_bytes())
        return file

    def outlines(self) -> bytes:
        """The source's outlines as a file for `--keypoints`."""
        with TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / OUTLINES
            self.heart.write_outlines(self._asked.edit, file)
            return file.read_bytes()

    def _result(self) -> Synthesis:
        if self._making.error:
            raise ConfigError(self._making.error)
        if self._making.result is None:
            raise ConfigError("The clip is still being made: wait until it is whole.")
        return self._making.result
