"""Ray's workers: speed against one worker, memory of the driver, `kill -9` of a worker and of the driver, a full disk.

    python benchmarks/scale.py [workers] [memory] [kill] [disk] [--bundle B] [--patients 8] [--per-clip 4] [--pairs 3] [--steps 2]

`workers`: the same phantom cohort by one worker and by two, one thread each, in pairs; clips a second while all workers
are at work, so that the start of Ray, the loading of the bundle and the last clip of a worker that waits for the other
are left out, then with them. Bar: the median ratio >= 1.8; it needs two free cores. `memory`: peak of the driver (bytes
that are its own, and resident) at 100 and at 1,000 clips of a stand-in for the networks, in fresh processes. Bar:
within 5 %. `kill`: killed when the first clip is there and run again. Bar: every planned clip once, the bytes of an
undisturbed run. `disk`: the output on a small tmpfs, which takes the right to mount one. Bar: a clear stop; with room,
the same bytes. Without a name all four.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from bars import Bars, begin, parser

from echokdm.cohort.make import Making, augment_cohort
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.cohort.workers import ray_engine
from echokdm.core import defaults
from echokdm.core.errors import OutputError
from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED

PARTS = ("workers", "memory", "kill", "disk")
FPS = 8.0  # of the phantoms: short clips, so that many are made


class Timed:
    """A worker that tells with each result when it was begun and ended, and by which process."""

    def __init__(self, build: Any) -> None:
        self.worker = build()

    def __call__(self, item: Any) -> list[tuple[Any, int, float, float]]:
        told, begun = [], time.monotonic()
        for result in self.worker(item):
            told.append((result, os.getpid(), begun, time.monotonic()))
            begun = told[-1][3]
        return told


class Standin:
    """In the place of the networks: the source's picture again, and the same ventricle found in every frame."""

    components: dict[str, Any] = {}

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def __call__(self, source: torch.Tensor, start: torch.Tensor, targets: torch.Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(frames=source.expand(len(targets), -1, -1, -1))

    def segment(self, frames: torch.Tensor, *_: Any) -> tuple[np.ndarray, None]:
        return np.broadcast_to(self.mask, (len(frames), *self.mask.shape)), None


def phantom_files(folder: Path, count: int) -> list[Path]:
    """Held-out phantoms of one beat as files."""
    from echokdm.phantom.a4c import A4CPhantom

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.npz" for i in range(count)]
    for i, file in enumerate(files):
        clip = A4CPhantom([FIRST_SEED + i]).clip(FPS)[0]
        np.savez_compressed(file, frames=(clip.frames[:, 0].numpy() * 255).astype(np.uint8), fps=clip.fps)
    return files


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def once(folder: Path, plan: pd.DataFrame) -> bool:
    """Whether the finished cohort has every planned clip exactly once."""
    manifest, listed = pd.read_csv(folder / "manifest.csv"), pd.read_csv(folder / "FileList.csv")
    kept = manifest[manifest["accepted"] == 1]["id"].tolist()
    return (
        manifest["id"].tolist() == plan["id"].tolist()
        and listed["FileName"].tolist() == kept
        and sorted(path.stem for path in (folder / "Videos").iterdir()) == kept
    )


def compare_workers(bars: Bars, scratch: Path, options: Any) -> None:
    """Clips a second by two workers against one."""
    pipeline = load_pipeline(options.bundle)
    sources, _ = read_sources(phantom_files(scratch / "clips", options.patients), pipeline)
    plan = plan_cohort(sources, options.per_clip)
    ratios, walls, seconds = [], [], []
    for pair in range(options.pairs):
        rate, wall = {}, {}
        for count in (1, 2) if pair % 2 == 0 else (2, 1):
            told: list[tuple[int, float, float]] = []
            began = time.monotonic()
            with ray_engine(count) as engine:

                def timed(build: Any, items: Any, engine: Any = engine, told: Any = told) -> Any:
                    for result, *times in engine(partial(Timed, build), items):
                        told.append(tuple(times))
                        yield result

                out = scratch / f"out-{pair}-{count}"
                augment_cohort(
                    plan,
                    sources,
                    out,
                    Making(steps=options.steps, tries=1, tolerance=100),
                    bundle=pipeline,
                    engine=timed,
                )
            wall[count] = time.monotonic() - began
            rate[count] = steady_rate(pd.DataFrame(told, columns=["worker", "begun", "ended"]), count)
            seconds += [ended - begun for _, begun, ended in told] if count == 1 else []
        ratios.append(rate[2] / rate[1])
        walls.append(wall[1] / wall[2])
        print(
            f"      pair {pair + 1}: one worker {rate[1]:.3f} clips/s, two {rate[2]:.3f}, ratio {ratios[-1]:.2f}; with start-up and "
            f"tail {wall[1]:.0f} s and {wall[2]:.0f} s",
            flush=True,
        )
    frames = pd.read_csv(out / "FileList.csv")["NumberOfFrames"]
    size = np.mean([path.stat().st_size for path in (out / "Videos").iterdir()])
    print(
        f"      {len(plan)} clips of {frames.mean():.1f} frames, {options.steps} steps: {np.median(seconds):.2f} s a clip on one thread "
        f"(median), {np.median(seconds) / frames.mean():.2f} s a frame; {size / frames.mean() / 1024:.1f} KiB a frame of video"
    )
    print(f"      with start-up and tail: median ratio {np.median(walls):.2f}")
    bars.check(
        "two workers against one, clips a second, median of pairs",
        bool(np.median(ratios) >= 1.8),
        f"{np.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
        ">= 1.8",
    )


def steady_rate(clips: pd.DataFrame, workers: int) -> float:
    """Clips a second between the first moment when all workers work and the last; a clip that is cut by it counts in
    part."""
    each = clips.groupby("worker").agg(begun=("begun", "min"), ended=("ended", "max"))
    if len(each) != workers:
        return float("nan")
    start, end = each["begun"].max(), each["ended"].min()
    inside = (clips["ended"].clip(upper=end) - clips["begun"].clip(lower=start)).clip(lower=0)
    return float((inside / (clips["ended"] - clips["begun"])).sum() / (end - start))


def driver_memory(clips: int, folder: Path) -> None:
    """Make `clips` clips with the stand-in and print the driver's peaks, MiB, as JSON."""
    from echokdm.ops.ventricle import keypoints_to_mask

    pipeline = load_pipeline(defaults.BUNDLE)
    given, _ = read_sources(phantom_files(folder / "clips", 4), pipeline)
    source = given[0]
    standin = Standin(keypoints_to_mask(source.keypoints[source.open().ed], 112, 112))
    sources = [
        dataclasses.replace(given[i % len(given)], number=i + 1, keypoints=given[i % len(given)].keypoints.copy())
        for i in range(clips // 4)
    ]
    plan = plan_cohort(sources, 4)
    me, peaks, going = psutil.Process(), {"own": 0.0, "resident": 0.0}, threading.Event()

    def watch() -> None:
        while not going.wait(0.25):
            memory = me.memory_full_info()
            peaks["own"], peaks["resident"] = (
                max(peaks[k], v / 2**20) for k, v in (("own", memory.uss), ("resident", memory.rss))
            )

    with ray_engine(2) as engine:
        thread = threading.Thread(target=watch)
        thread.start()
        manifest = augment_cohort(
            plan, sources, folder / "out", Making(tries=1, tolerance=200), bundle=standin, engine=engine
        )
        going.set()
        thread.join()
    print(json.dumps(peaks | {"accepted": int(manifest["accepted"].sum())}))


def compare_memory(bars: Bars, scratch: Path) -> None:
    """The driver's peaks at 100 and 1,000 clips, each in a fresh process."""
    peaks = {}
    for clips in (100, 1000):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "--child", "memory", str(clips), str(scratch / str(clips))],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks[clips] = json.loads(done.stdout.splitlines()[-1])
        print(
            f"      {clips} clips: {peaks[clips]['own']:.0f} MiB of its own, {peaks[clips]['resident']:.0f} MiB resident; "
            f"{peaks[clips]['accepted']} accepted, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    bars.at_most("driver's own memory, 1,000 clips over 100", peaks[1000]["own"] / peaks[100]["own"], 1.05, 3)
    bars.at_most(
        "driver's resident memory, 1,000 clips over 100", peaks[1000]["resident"] / peaks[100]["resident"], 1.05, 3
    )


def cohort(folder: Path, out: Path, workers: int, bundle: str = defaults.BUNDLE) -> pd.DataFrame:
    """A small cohort of the phantoms in `folder`, by Ray where there are workers; returns its plan."""
    pipeline = load_pipeline(bundle)
    sources, _ = read_sources(sorted(folder.glob("*.npz")), pipeline)
    plan = plan_cohort(sources, 4)
    make = partial(augment_cohort, plan, sources, out, bundle=bundle, pipeline=pipeline, steps=1, tries=1, tolerance=20)
    if workers:
        with ray_engine(workers) as engine:
            make(engine=engine)
    else:
        make()
    return plan


def kill(bars: Bars, scratch: Path) -> None:
    """`kill -9` of a worker, then of the driver, as soon as one clip is there."""
    phantom_files(scratch / "clips", 3)
    plan = cohort(scratch / "clips", scratch / "alone", 0)
    whole = contents(scratch / "alone")
    for victim in ("worker", "driver"):
        out = scratch / victim
        driver = subprocess.Popen(
            [sys.executable, __file__, "--child", "cohort", str(scratch / "clips"), str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not list(out.glob("cohort-parts/SYN*.json")) and driver.poll() is None:
            time.sleep(0.05)
        family = psutil.Process(driver.pid).children(recursive=True)
        workers = [process for process in family if process.name().startswith("ray::MapWorker")]
        os.kill(workers[0].pid if victim == "worker" else driver.pid, signal.SIGKILL)
        code = driver.wait()
        _, alive = psutil.wait_procs(family, 60)
        made = len(list(out.glob("cohort-parts/SYN*.json")))
        state = "it went on and finished" if code == 0 else f"exit code {code}, {made} of {len(plan)} clips there"
        print(
            f"      kill -9 of a {victim}, with {len(workers)} workers: {state}; {len(alive)} processes of Ray left after a minute",
            flush=True,
        )
        cohort(scratch / "clips", out, 2)
        bars.check(
            f"after kill -9 of a {victim}: each clip once, the undisturbed run's bytes",
            bool(workers) and once(out, plan) and contents(out) == whole,
            f"{len(plan)} clips",
            "all",
        )


def disk(bars: Bars, scratch: Path) -> None:
    """The output on a tmpfs that is too small, then with room."""
    phantom_files(scratch / "clips", 3)
    cohort(scratch / "clips", scratch / "alone", 0)
    out = scratch / "small"
    out.mkdir()
    room = max(96, sum(map(len, contents(scratch / "alone").values())) // 2048)  # KiB, half of what is needed
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room}k", "none", str(out)], capture_output=True
    ).returncode:
        print("      not measured: no right to mount a tmpfs here")
        return
    try:
        said = "it did not stop"
        try:
            cohort(scratch / "clips", out, 2)
        except OutputError as error:
            said = str(error)
        print(f"      {room} KiB: {said}", flush=True)
        bars.check(
            "a full disk: a clear stop",
            "disk is full" in said and "goes on from there" in said,
            said.split(":")[0],
            "told",
        )
        subprocess.run(["mount", "-o", "remount,size=100m", str(out)], check=True)
        plan = cohort(scratch / "clips", out, 2)
        bars.check(
            "with room: each clip once, the undisturbed run's bytes",
            once(out, plan) and contents(out) == contents(scratch / "alone"),
            f"{len(plan)} clips",
            "all",
        )
    finally:
        subprocess.run(["umount", str(out)], check=True)


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 8, "phantom patients of the comparison of workers")
    options.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    options.add_argument("--per-clip", type=int, default=defaults.PER_CLIP)
    options.add_argument("--pairs", type=int, default=3)
    options.add_argument("--steps", type=int, default=defaults.STEPS)
    arguments = options.parse_args()
    parts = arguments.parts or PARTS
    if set(parts) - set(PARTS):
        options.error(f"the parts are {', '.join(PARTS)}")
    print(begin(arguments))
    bars = Bars()
    for part in parts:
        with tempfile.TemporaryDirectory() as scratch:
            run = {
                "workers": partial(compare_workers, options=arguments),
                "memory": compare_memory,
                "kill": kill,
                "disk": disk,
            }[part]
            run(bars, Path(scratch))
    return bars.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        name, *rest = sys.argv[2:]
        if name == "memory":
            driver_memory(int(rest[0]), Path(rest[1]))
        else:
            cohort(Path(rest[0]), Path(rest[1]), 2)
        raise SystemExit
    raise SystemExit(main())
