"""Damaged inputs of every kind to the commands: one sentence and exit code 2, or a result; never a traceback, a hang or
a name.

    python benchmarks/input_faults.py [--count 3000] [--seed 0] [--kinds dicom,avi,...]

A simulated heart of eight frames as DICOM (native, RLE), AVI, MP4, GIF, NIfTI, .npz and a folder of PNGs, its outlines
as CSV and as NIfTI, key-points as .npy, an EchoNet folder's tables, a pipeline's and a configuration's YAML and a
bundle's JSON and weights are cut short, have bits flipped, runs overwritten, doubled or taken out, or text put in that
no reader expects; arrays get odd shapes and types too (`damaged_inputs.py`). Each goes to a command that reads it:
`keypoints`, `synth`, `generate`, `augment`, `validate`, `data check`, and `run` and `train`, which only plan.
De-identifying is `deid_faults.py`'s.

All inputs lie in a folder that is called like a patient, whose name stands where the formats hold names and remarks.
Bars: no exception but those that end in one sentence; no command takes 10 s of processor time or a minute; the process
stays below 2 GiB; no planted string is printed or written; no input is changed; where a command fails nothing of its
output is left.
"""

import argparse
import functools
import hashlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bars, machine
from damaged_inputs import PATIENT, WOUNDS, prepare
from deid_faults import NAME, NUMBER

from echokdm.core.progress import track

CPU_SECONDS, WALL_SECONDS, GIB = 10.0, 60.0, 2.0


def fingerprint(folder: Path) -> str:
    """Of every name and byte in it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def work(pipe: Connection, home: str) -> None:
    """Run what comes through the pipe, in this process: ([words], what is planted) -> exit code, exception, leaks."""
    import torch
    from typer.testing import CliRunner

    from echokdm.cli.app import app
    from echokdm.cohort import make
    from echokdm.echo import bundle, derive, synthesis
    from echokdm.evaluation import run

    torch.set_num_threads(1)
    plain, kept = bundle.load_pipeline, functools.cache(bundle.load_pipeline)

    def load(name: Any, *rest: Any, **more: Any) -> Any:
        """What ships is loaded once; a folder, which may be damaged, each time."""
        return (kept if isinstance(name, str) and "/" not in name else plain)(name, *rest, **more)

    for module in (bundle, derive, synthesis, make, run):
        module.load_pipeline = load
    os.chdir(home)
    printed = open(Path(home, "printed"), "w+b")  # noqa: SIM115  (for as long as the process lives)
    for number in (1, 2):
        os.dup2(printed.fileno(), number)
    pipe.send(None)
    while True:
        words = pipe.recv()
        printed.seek(0)
        printed.truncate()
        began = time.process_time()
        result = CliRunner().invoke(app, words)
        spent = time.process_time() - began
        raised = result.exception
        fault = "" if raised is None or isinstance(raised, SystemExit) else f"{type(raised).__name__}: {raised}"[:200]
        printed.seek(0)
        pipe.send(
            (
                result.exit_code,
                fault,
                result.output.encode() + printed.read(),
                spent,
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            )
        )


class Worker:
    """A process that runs commands until one hangs it."""

    def __init__(self, home: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, str(home)), daemon=True)
        self.process.start()
        self.pipe.recv()

    def run(self, words: list[str]) -> tuple[int, str, bytes, float, float] | None:
        """None where it took too long; the process is gone then."""
        self.pipe.send(words)
        try:
            if self.pipe.poll(WALL_SECONDS):
                return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return -1, "the process died", b"", 0.0, 0.0
        self.process.kill()
        return None


def main() -> int:
    """Damage, run, judge; the exit code is 1 where a bar is missed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=3000, help="damaged inputs; default 3000")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--kinds", default="", help="only these, such as avi,yaml; default all")
    given = options.parse_args()
    faults: dict[str, list[str]] = {name: [] for name in ("raised", "slow", "printed", "written", "changed", "left")}
    codes: Counter[tuple[str, int]] = Counter()
    memory, planted = 0.0, (NAME, NUMBER)
    with tempfile.TemporaryDirectory() as place:
        home, source = Path(place, "work"), Path(place, PATIENT)
        home.mkdir()
        source.mkdir()
        kinds = {
            kind: cases for kind, cases in prepare(source).items() if not given.kinds or kind in given.kinds.split(",")
        }
        worker = Worker(home)
        for kind, cases in kinds.items():  # what is sound is taken
            for _, words in cases:
                out = home / "out"
                done = worker.run(command(words, out))
                if done is None or done[0] not in (0, 3) and kind != "tables":
                    raise SystemExit(
                        f"A sound {kind} is refused by {words[0]}: {done and (done[0], done[1], done[2][-300:])}"
                    )
                shutil.rmtree(out, ignore_errors=True)
        for number in track(range(given.count), label="damaged inputs"):
            rng = np.random.default_rng([given.seed, number])
            kind = list(kinds)[number % len(kinds)]
            path, words = kinds[kind][int(rng.integers(len(kinds[kind])))]
            whole, wounds = path.read_bytes(), WOUNDS if path.suffix in (".npz", ".npy") else WOUNDS[:-1]
            wound = wounds[int(rng.integers(len(wounds)))]
            path.write_bytes(wound(whole, rng))
            before, out = fingerprint(source), home / "out"
            done = worker.run(command(words, out))
            where = f"{number} ({kind}, {wound.__name__}, {words[0]})"
            if done is None or done[1] == "the process died":
                faults["slow" if done is None else "raised"].append(where)
                worker = Worker(home)
            else:
                code, fault, said, spent, most = done
                codes[kind, code] += 1
                if fault or b"Traceback" in said:
                    faults["raised"].append(f"{where} {fault}")
                if spent > CPU_SECONDS:
                    faults["slow"].append(f"{where} {spent:.0f} s")
                if any(word in said for word in planted):
                    faults["printed"].append(where)
                memory = max(memory, most)
                faults["left"] += [where] if code not in (0, 3) and out.exists() else []
            found = [file for file in home.rglob("*") if file.name != "printed"]
            if any(
                word in str(file.relative_to(home)).encode() + (file.read_bytes() if file.is_file() else b"")
                for file in found
                for word in planted
            ):
                faults["written"].append(where)
            if {file.name for file in home.iterdir()} - {"out", "printed"}:
                faults["left"].append(where)
            faults["changed"] += [where] if fingerprint(source) != before else []
            path.write_bytes(whole)
            for file in home.iterdir():
                if file.name != "printed":
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
        worker.process.kill()
    print(f"{machine()}: {given.count} damaged inputs")
    for (kind, code), count in sorted(codes.items()):
        print(f"{count:6d}  {kind}, exit code {code}")
    bars = Bars()
    names = {
        "raised": "tracebacks",
        "slow": f"commands of over {CPU_SECONDS:.0f} s of processor time or {WALL_SECONDS:.0f} s in all",
        "printed": "planted strings printed",
        "written": "planted strings written",
        "changed": "inputs changed",
        "left": "failed commands with something left",
    }
    for name, what in names.items():
        bars.check(
            what,
            not faults[name],
            f"{len(faults[name])}{': ' if faults[name] else ''}{'; '.join(faults[name][:8])}",
            "none",
        )
    bars.at_most("GiB of memory at most", memory, GIB, 2)
    return bars.close()


def command(words: list[str], out: Path) -> list[str]:
    """Words with the place of the output, where the command has one."""
    if "{out}" in words:
        return [str(out) if word == "{out}" else word for word in words]
    return [*words, "--out", str(out)] if words[0] in ("keypoints", "synth", "generate") else words


if __name__ == "__main__":
    raise SystemExit(main())
