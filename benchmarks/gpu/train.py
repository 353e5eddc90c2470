"""Train the shipped bundles' networks further on one GPU, all at once, in a given time, and bring the weights back in
small parts.

    python benchmarks/gpu/train.py --minutes 24 --cache CACHE --out RUNS --parts PARTS [--camus FOLDER] [--only f2i-224 ...]
    python benchmarks/gpu/train.py --steps 2 --few ...         # a rehearsal on a CPU: a handful of phantoms, two steps each

Phantoms are simulated by all cores first. Then every job is tried for a minute beside all the others, and gets as many
steps as its pace allows until the time is up, so that each learning rate falls to its end. A job that was stopped goes
on from its checkpoint with the steps it was given. Weights come back as half-precision safetensors, as one archive cut
into parts of at most 15 MiB: `cat PARTS/weights.tar.* | tar x`.

A machine that has torch alone needs the wheels of diffusers, monai, lpips, nibabel, pydicom, pydantic and what they
need themselves: python -m pip install --no-index --no-deps --target SITE WHEELS/*.whl, and PYTHONPATH=SITE:. with the
package's egg-info in the folder.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

PART = 15 * 2**20  # bytes
TRIED = 75.0  # s that each job's pace is taken over
SPARED = 0.9  # of the time left: validation, and jobs that fall behind their pace
LOG_EVERY = 50  # steps; `engine.loop.train_stage`'s


@dataclass(frozen=True)
class Job:
    """One stage of a configuration: which, with which settings, from which bundle, and how many processes load for
    it."""

    config: str
    stage: str
    settings: tuple[str, ...]
    workers: int
    start: str = "a4c-phantom"


CAMUS = "configs/kdm-a4c-camus.yaml"
OWN = "configs/kdm-a4c-112.yaml"
LARGE = "configs/kdm-a4c-224-from-112.yaml"
JOBS = {
    "f2i-224": Job(LARGE, "f2i", (), 3),
    "f2i-112": Job(OWN, "f2i", ("f2i.batch=24",), 2),
    "k2f-112": Job(OWN, "k2f", ("k2f.batch=32",), 2),
    "k2i-224": Job(LARGE, "k2i", (), 1),
    "a4c-segmenter": Job(CAMUS, "segmenter", ("segmenter.batch=24",), 4, "a4c"),
    "a4c-segmenter-wide": Job(
        CAMUS,
        "segmenter",
        ("segmenter.batch=24", "segmenter.lr=2e-3", "segmenter.widths=[24,40,80,112,160,24]"),
        3,
        "a4c",
    ),
    "a4c-judge": Job(CAMUS, "judge", ("judge.batch=24",), 3, "a4c"),
    "phantom-segmenter": Job(OWN, "segmenter", ("segmenter.batch=24",), 3),
}


def settings(job: Job, options: argparse.Namespace) -> list[str]:
    """All that a job's configuration is given."""
    counts = (8, 8, 8, 2) if options.few else (1500, 1500, 1000, 40)
    given = [
        f"data.{name}={count}"
        for name, count in zip(("patients", "procedural", "twins", "held_out"), counts, strict=True)
    ]
    given += [f"data.cache={options.cache}", "save_every=200", *job.settings, *options.set]
    if job.config == CAMUS:
        given += [f"{stage}.outlined=camus:{options.camus}" for stage in ("segmenter", "judge")]
    return given


def simulate(jobs: dict[str, Job], options: argparse.Namespace) -> None:
    """Make every store that the jobs learn from, each once."""
    from echokdm.methods.kdm.data import KDMData
    from echokdm.methods.train import read_config
    from echokdm.networks.segmenter import FINDS_AT

    for job in jobs.values():
        config = read_config(job.config, [*settings(job, options), f"data.workers={options.cores}"])
        finds = job.stage in ("segmenter", "judge")
        data = KDMData(config.model_copy(update={"size": FINDS_AT}) if finds else config)
        data.held_out()
        data.procedural()
        if job.stage == "judge":
            data.others()
        else:
            data.patients()
        if finds:
            data.outlined(getattr(config, job.stage))
        elif getattr(config, job.stage).twin_share > 0:
            data.twins()


def start(
    name: str, job: Job, steps: int, out: Path, options: argparse.Namespace, minutes: float | None = None
) -> subprocess.Popen:
    """Train a job in a process of its own; what it says goes to `out`/NAME.txt."""
    given = [f"{job.stage}.steps={steps}", f"data.workers={0 if options.few else job.workers}", *settings(job, options)]
    code = (
        f"from echokdm.methods.train import train_config; train_config({job.config!r}, {job.stage!r}, {job.start!r}, "
        f"{str(out / name)!r}, {given!r}, max_minutes={minutes!r})"
    )
    out.mkdir(parents=True, exist_ok=True)
    with open(out / f"{name}.txt", "w") as said:
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


def pace(folder: Path) -> float:
    """Steps a second between the first and the last line of a stage's log; 0 where there are not two."""
    lines = (
        [line.split() for line in (folder / "log.txt").read_text().splitlines()]
        if (folder / "log.txt").exists()
        else []
    )
    if len(lines) < 2:
        return 0.0
    (first, began), (last, ended) = ((int(line[1]), float(line[2])) for line in (lines[0], lines[-1]))
    return (last - first) / max(ended - began, 1.0)


def fit_steps(jobs: dict[str, Job], options: argparse.Namespace, ends: float) -> dict[str, int]:
    """How many steps each job can do until `ends`, from its pace beside all the others; kept, so that what goes on
    keeps its schedule."""
    kept = Path(options.out) / "steps.json"
    if kept.exists():
        return json.loads(kept.read_text())
    tried = Path(options.out) / "tried"
    running = [start(name, job, 1_000_000, tried, options, TRIED / 60) for name, job in jobs.items()]
    for process in running:
        process.wait()
    left = SPARED * (ends - time.time())
    steps = {name: max(LOG_EVERY, int(pace(tried / name / job.stage) * left)) for name, job in jobs.items()}
    kept.write_text(json.dumps(steps))
    return steps


def pack(jobs: dict[str, Job], options: argparse.Namespace) -> None:
    """The trained components and their logs as one archive in parts."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, job in jobs.items():
            folder = Path(options.out) / name
            for part in (
                folder / "bundle" / job.stage,
                folder / job.stage / "done.json",
                folder / job.stage / "log.txt",
            ):
                if part.exists():
                    archive.add(part, f"{name}/{part.name}")
    Path(options.parts).mkdir(parents=True, exist_ok=True)
    packed = held.getvalue()
    for k, begin in enumerate(range(0, len(packed), PART)):
        (Path(options.parts) / f"weights.tar.{k:02d}").write_bytes(packed[begin : begin + PART])


def main() -> int:
    """Parse the command line, simulate, train, pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=24.0, help="until all is trained and packed; default 24")
    parser.add_argument("--steps", type=int, help="of every job, in place of what the time allows")
    parser.add_argument("--few", action="store_true", help="a handful of phantoms: a rehearsal")
    parser.add_argument("--cache", default="runs/cache", help="folder of the simulated phantoms")
    parser.add_argument("--out", default="runs/gpu", help="folder of the runs")
    parser.add_argument("--parts", default="runs/gpu/parts", help="folder of the archive's parts")
    parser.add_argument("--camus", help="folder of CAMUS; without it nothing that learns from it is trained")
    parser.add_argument("--only", nargs="+", choices=JOBS, help="of the jobs")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of every job, as of echokdm train"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="processes that simulate")
    options = parser.parse_args()
    ends = time.time() + 60 * options.minutes
    can = [name for name, job in JOBS.items() if options.camus or job.config != CAMUS]
    jobs = {name: JOBS[name] for name in can if options.only is None or name in options.only}
    simulate(jobs, options)
    print(f"simulated, {(ends - time.time()) / 60:.1f} minutes left", flush=True)
    steps = {name: options.steps for name in jobs} if options.steps else fit_steps(jobs, options, ends)
    print(f"steps {steps}", flush=True)
    running = {name: start(name, job, steps[name], Path(options.out), options) for name, job in jobs.items()}
    failed = [name for name, process in running.items() if process.wait() != 0]
    pack(jobs, options)
    print(f"{(ends - time.time()) / 60:.1f} minutes left; not trained: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
