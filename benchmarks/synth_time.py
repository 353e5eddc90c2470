"""Time and memory of `echokdm synth` on pydicom's 30-frame clip, from the shell, and of `echokdm --help`.

    python benchmarks/synth_time.py [--bundle B] [--patients 1] [--threads 2] [--busy 1]

--patients is the number of runs; the fastest counts. --threads limits the commands' threads. --busy: after each run one
more beside so many processes of one thread each that multiply matrices. Bars: at most 15 s, under 3 GB, --help under
0.5 s; beside busy processes at most twice the time, and the same bytes. Processor seconds stand beside each time, since
idle is what else runs on the machine.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bars import Bars, begin, machine, parser

MADE = ("synth.mp4", "synth.dcm", "keypoints.csv")
BUSY = "import numpy\na = numpy.ones((500, 500))\nwhile True: a @ a"


class Run(NamedTuple):
    """Of one command: seconds by the clock and of the processors, peak GB of memory, what it printed, and the bytes of
    what it made."""

    seconds: float
    processor: float
    memory: float
    printed: str
    made: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s by the clock, {self.processor:.1f} s of the processors"


def measure(words: list[str], environment: dict[str, str]) -> Run:
    """One command, from the shell. Raises SystemExit where it fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(words, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(words[:2])} failed with exit code {process.returncode}:\n{text}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e9, text)


def synth(words: list[str], environment: dict[str, str]) -> Run:
    """`echokdm synth` into a folder that goes again."""
    with tempfile.TemporaryDirectory() as folder:
        run = measure([*words, "--out", str(Path(folder) / "out")], environment)
        return run._replace(made=tuple((Path(folder) / "out" / name).read_bytes() for name in MADE))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute beside, one thread each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", BUSY], env=environment) for _ in range(count)]
    try:
        time.sleep(1)  # until they multiply
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 1, "number of runs")
    options.add_argument("--busy", type=int, default=0, help="processes beside; default 0")
    arguments = options.parse_args()
    print(begin(arguments))
    program = [sys.executable, "-m", "echokdm"]
    environment = dict(os.environ)
    if arguments.threads:
        environment["OMP_NUM_THREADS"] = str(arguments.threads)
    bundle = Path(arguments.bundle).resolve() if Path(arguments.bundle).exists() else arguments.bundle
    words = [*program, "synth", "--demo", "--bundle", str(bundle)]
    runs, beside = [], []
    for _ in range(max(arguments.patients, 1)):
        runs.append(synth(words, environment))
        print(f"      alone: {runs[-1]}; {machine()}", flush=True)
        if arguments.busy:
            with busy(arguments.busy):
                beside.append(synth(words, environment))
            print(f"      beside {arguments.busy} busy: {beside[-1]}; {machine()}", flush=True)
    fastest = min(runs)
    print(fastest.printed.strip())
    helps = [measure([*program, "--help"], environment).seconds for _ in range(5)]
    bars, memory = Bars(), max(run.memory for run in runs)
    bars.at_most(f"echokdm synth --demo, 30 frames, fastest of {len(runs)}, s from the shell", fastest.seconds, 15, 1)
    bars.check("its peak memory", memory < 3, f"{memory:.2f} GB", "< 3 GB")
    if beside:
        bars.at_most(
            f"beside {arguments.busy} busy, fastest over fastest alone", min(beside).seconds / fastest.seconds, 2, 2
        )
        bars.check(
            "the same bytes in all runs", len({run.made for run in runs + beside}) == 1, ", ".join(MADE), "the same"
        )
    bars.check("echokdm --help, fastest of 5", min(helps) < 0.5, f"{min(helps):.2f} s", "< 0.5 s")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
