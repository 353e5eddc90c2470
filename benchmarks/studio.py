"""How quickly `echokdm studio` answers: a preview while the mouse moves, the full picture when it is let go; and memory
over 200 drags.

    python benchmarks/studio.py [--bundle B] [--patients 12] [--threads 2]

On pydicom's clip, 320 x 240, and on the echotracker clip at its own size, 1024 x 768, where ECHOKDM_TEST_DATA names it.
--patients is the number of steps of each kind; the median counts, and the slowest stands beside it. A preview is all
that the page waits for but the way to it: the plan, the picture, its JPEG, the curves. Processor seconds stand beside
each, since idle is what else runs on the machine. Bars: a preview at most 150 ms, the full picture of one frame at most
1.5 s, and at most 64 MB more after 200 drags than after the first 20.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bars import TEST_DATA, Bars, begin, parser, real_clips

from echokdm.studio.edits import Change
from echokdm.studio.heart import Settings, open_heart
from echokdm.studio.session import Session, Threads
from echokdm.studio.told import preview

DRAGS, WARM, GROWTH_MB = 200, 20, 64.0
POINT, EF = 10, 45.0


@contextmanager
def opened(path: Path, settings: Settings) -> Iterator[Session]:
    """A session of a clip, its first result made."""
    with tempfile.TemporaryDirectory() as folder:
        threads = Threads()
        session = Session(open_heart(path, settings), Path(folder), threads)
        wait(lambda: session.making.result is not None)
        yield session
        session.close()
        threads.close()


def wait(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.005)


def pulled(session: Session, frame: int, by: float) -> Change:
    """A point of a frame pulled to the left, as the page asks for it."""
    asked = session.asked
    x, y = asked.source.heart.model.to_source(asked.trajectory.keypoints[frame, POINT])
    return Change.model_validate(
        {"frame": frame, "move": {"picture": "result", "frame": frame, "point": POINT, "to": (x - by, y)}}
    )


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of the processors, all threads of this process together."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - busy


def full_picture(session: Session, change: Change) -> tuple[float, float]:
    """Seconds from a step to the pixels of the frame that is looked at; the clip's further frames are not waited
    for."""

    def step() -> None:
        session.change(change)
        wait(lambda: session.making.pixels is not None)

    return seconds(step)


def resident_mb() -> float:
    """Memory of this process now, MB."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def report(bars: Bars, what: str, times: list[tuple[float, float]], bar: float) -> None:
    clock, busy = zip(*times, strict=True)
    told = (
        f"{what}, s, median of {len(times)} (slowest {max(clock):.3f}; of the processors {statistics.median(busy):.3f})"
    )
    bars.at_most(told, statistics.median(clock), bar, 3)


def main() -> int:
    arguments = parser(__doc__, 12, "steps of each kind").parse_args()
    print(begin(arguments))
    from echokdm.echo.bundle import load_pipeline

    settings, bars = Settings(load_pipeline(arguments.bundle)), Bars()
    clips = {"pydicom": real_clips()["pydicom"]}
    if TEST_DATA:
        clips["echotracker"] = Path(TEST_DATA) / "echo" / "a4c_echotracker.mp4"
    steps = range(arguments.patients)
    for name, path in clips.items():
        with opened(path, settings) as session:
            frames = len(session.asked.trajectory.frames)
            session.change(Change.model_validate({"wishes": {"ef": EF}}))  # a drag on top of another wish plans most
            wait(lambda: session.making.result is not None)  # noqa: B023
            preview(session, pulled(session, 0, 1))
            drags = [seconds(lambda i=i: preview(session, pulled(session, i % frames, 1 + i % 5))) for i in steps]  # noqa: B023
            report(bars, f"{name}: preview of a drag", drags, 0.15)
            slides = [Change.model_validate({"frame": i % frames, "wishes": {"ef": 30.0 + i % 20}}) for i in steps]
            report(
                bars,
                f"{name}: preview of the EF slider",
                [seconds(lambda c=c: preview(session, c)) for c in slides],
                0.15,
            )  # noqa: B023
            pictures = [full_picture(session, pulled(session, 3 * i % frames, 1)) for i in steps]
            report(bars, f"{name}: full picture of one frame", pictures, 1.5)
            if name == "pydicom" and sys.platform == "linux":
                sizes = []
                for i in range(DRAGS):
                    session.change(pulled(session, i % frames, 0.5 if i % 2 else -0.5))
                    if i % 10 == 9:
                        wait(lambda: session.making.pixels is not None)  # noqa: B023
                    sizes.append(resident_mb())
                bars.at_most(
                    f"{name}: memory, MB, after {DRAGS} drags over that after {WARM} ({sizes[WARM - 1]:.0f})",
                    sizes[-1] - sizes[WARM - 1],
                    GROWTH_MB,
                    1,
                )
    return bars.close()


if __name__ == "__main__":
    sys.exit(main())
