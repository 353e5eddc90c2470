"""Time and memory of `echokdm synth` on pydicom's 30-frame clip, from the shell, and of `echokdm --help`.

    python benchmarks/synth_time.py [--bundle B] [--patients 1] [--threads 2]

--patients is the number of runs; the fastest counts. --threads limits the commands' threads. Bars: at most 15 s, under 3 GB,
--help under 0.5 s.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import Bars, begin, parser


def measure(words: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """(seconds, peak GB of memory, what it printed) of one command. Raises SystemExit where it fails."""
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
    return seconds, used.ru_maxrss * unit / 1e9, text


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    arguments = parser(__doc__, 1, "number of runs").parse_args()
    print(begin(arguments))
    program = str(Path(sys.executable).with_name("echokdm"))
    environment = dict(os.environ)
    if arguments.threads:
        environment["OMP_NUM_THREADS"] = str(arguments.threads)
    bundle = Path(arguments.bundle).resolve() if Path(arguments.bundle).exists() else arguments.bundle
    runs = []
    for _ in range(max(arguments.patients, 1)):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(measure([program, "synth", "--demo", "--bundle", str(bundle), "--out", str(Path(folder) / "out")], environment))
    seconds, memory, printed = min(runs)
    print(printed.strip())
    helps = [measure([program, "--help"], environment)[0] for _ in range(5)]
    bars = Bars()
    bars.at_most(f"echokdm synth --demo, 30 frames, fastest of {len(runs)}, s from the shell", seconds, 15, 1)
    bars.check("its peak memory", max(run[1] for run in runs) < 3, f"{max(run[1] for run in runs):.2f} GB", "< 3 GB")
    bars.check("echokdm --help, fastest of 5", min(helps) < 0.5, f"{min(helps):.2f} s", "< 0.5 s")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
