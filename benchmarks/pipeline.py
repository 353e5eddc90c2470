"""Run a pipeline undisturbed, again, and killed in every stage: how long it takes, and whether its outputs are the same
bytes.

    python benchmarks/pipeline.py [--pipeline pipelines/a4c-phantom-smoke.yaml] [--keep FOLDER] [--after 2]

Bars: under 10 minutes; the second run under 10 s; after a `kill -9` in each stage, `--after` seconds after it began,
and a last run that goes to the end, every output has the bytes of the undisturbed run's. Left out are the log, the
training's own records of minutes (its log, events, done.json and the model card, which tells them) and the cache.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bars import Bars, machine

from echokdm.pipeline.plan import read_pipeline

TIMED = re.compile(r"run\.log|\.lock|cache/.*|[^/]+/([^/]+/)?(log\.txt|events\..*|done\.json)|[^/]+/bundle/README\.md")


def start(pipeline: Path, out: Path) -> subprocess.Popen[bytes]:
    """`echokdm run` in a process of its own."""
    command = [sys.executable, "-c", "from echokdm.cli.app import app; app()", "run", str(pipeline), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def seconds(pipeline: Path, out: Path) -> float:
    """How long a run to the end takes. Raises SystemExit where it fails."""
    began = time.perf_counter()
    if code := start(pipeline, out).wait():
        raise SystemExit(f"The run ended with exit code {code}: see {out / 'run.log'}")
    return time.perf_counter() - began


def kill_in(stage: str, pipeline: Path, out: Path, after: float) -> bool:
    """Start a run and kill it with all its children `after` seconds into a stage; False where it was over before."""
    run = start(pipeline, out)
    log = out / "run.log"
    while run.poll() is None and not (log.exists() and f"  {stage}: begins" in log.read_text()):
        time.sleep(0.02)
    time.sleep(after)
    over = f"  {stage}: done" in log.read_text()
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return not over


def outputs(out: Path) -> dict[str, bytes]:
    """Every output's bytes, by its place."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if not TIMED.fullmatch(name)}


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pipeline", type=Path, default=Path("pipelines/a4c-phantom-smoke.yaml"))
    options.add_argument("--keep", type=Path, help="a new folder for both runs; default: thrown away")
    options.add_argument("--after", type=float, default=2.0, help="seconds into a stage")
    arguments = options.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        out, bars = root / "run", Bars()
        bars.at_most("undisturbed, minutes", seconds(arguments.pipeline, out) / 60, 10, 1)
        bars.at_most("second run, seconds", seconds(arguments.pipeline, out), 10, 1)
        first = outputs(out)
        out.rename(root / "undisturbed")  # the same place for both, which the training's own configuration tells
        for step in read_pipeline(arguments.pipeline).steps:
            after = 0.0 if step.kind == "report" else arguments.after  # a page is written at once
            met = kill_in(step.name, arguments.pipeline, out, after)
            print(
                f"      killed in {step.name}, {after:g} s after it began" + ("" if met else ": it was done already"),
                flush=True,
            )
        seconds(arguments.pipeline, out)
        second = outputs(out)
        other = sorted({name for name in first.keys() | second.keys() if first.get(name) != second.get(name)})
        bars.check(
            "outputs with other bytes after the kills",
            not other,
            f"{', '.join(other[:5]) or 'none'} of {len(first)}",
            "none",
        )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
