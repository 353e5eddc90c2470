"""Kill commands at random moments: the same command, run again, gives the bytes of an undisturbed run, and nothing is
left over.

    python benchmarks/kills.py [--moments 20] [--commands deid,synth,augment,run] [--seed 0] [--bundle a4c-phantom]

`deid` (with a salt) of small moving fans; `synth` and `augment` of simulated hearts; `run` from simulated hearts to a
cohort. Each is begun `--moments` times, each time into a folder of its own, ended by SIGKILL and SIGTERM in turn at a
moment drawn evenly from an undisturbed run's duration, alone or with all its processes, and then run to its end. Bars:
no output's bytes and no name differ from the undisturbed run's, hidden ones included; SIGTERM ends it with 143 and one
sentence, unless it came before the command had begun or after its end. Left out are `run.log`, and of `synth` the page,
which tells timings.
"""

import argparse
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bars import Bars, machine
from deid_faults import echo, fan
from pydicom.uid import ExplicitVRLittleEndian

from echokdm.phantom.a4c import A4CPhantom

FPS, FIRST_SEED, FILES = 25.0, 9_500_000, 40
TIMED = re.compile(r"run\.log|report\.html")
PIPELINE = """
name: kills
stages:
  ingest: {{source: "phantom-heart:2", bundle: {bundle}, select: all}}
  keypoints: {{bundle: {bundle}, split: 100/0/0}}
  augment: {{bundle: {bundle}, per_clip: 1, tries: 1}}
"""


def prepare(folder: Path, bundle: str) -> dict[str, list[str]]:
    """The commands' words by name, run in `folder`, which gets their inputs; each writes to `out`."""
    (folder / "dicom").mkdir()
    for n in range(FILES):
        echo(fan(n), n, ExplicitVRLittleEndian).save_as(folder / "dicom" / f"{n}.dcm", enforce_file_format=True)
    (folder / "salt").write_bytes(b"salt of a benchmark")
    (folder / "clips").mkdir()
    for n, clip in enumerate(A4CPhantom(range(FIRST_SEED, FIRST_SEED + 2)).clip(FPS)):
        pixels = np.rint(clip.frames[:, 0].numpy() * 255).astype(np.uint8)
        np.savez_compressed(folder / "clips" / f"{n}.npz", frames=pixels, fps=clip.fps)
    (folder / "kills.yaml").write_text(PIPELINE.format(bundle=bundle))
    return {
        "deid": "deid ../dicom out --salt ../salt".split(),
        "synth": f"synth ../clips/0.npz --ef 40 --out out --bundle {bundle}".split(),
        "augment": f"augment ../clips out --per-clip 2 --tries 1 --bundle {bundle}".split(),
        "run": "run ../kills.yaml --out out".split(),
    }


def start(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    """A command in a process of its own, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", "from echokdm.cli.app import app; app()", *words],
        cwd=folder,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def everything(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, hidden or not: bytes by place, of a folder none."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: path.read_bytes() if path.is_file() and not TIMED.fullmatch(path.name) else b""
        for name, path in found.items()
    }


def disturb(words: list[str], folder: Path, number: int, after: float, whole: bool) -> tuple[int, str]:
    """Begin a command and send it a signal; its exit code and last line. whole: to all its processes."""
    process = start(words, folder)
    time.sleep(after)
    if process.poll() is None:
        send: Callable[[int], None] = functools.partial(os.killpg, process.pid) if whole else process.send_signal
        send(number)
    said = process.communicate()[1].strip().splitlines()
    return process.returncode, said[-1] if said else ""


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--moments", type=int, default=20, help="signals to each command; default 20")
    options.add_argument("--commands", default="deid,synth,augment,run", help="which; default all")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--bundle", default="a4c-phantom", help="trained weights: a shipped name or a folder")
    arguments = options.parse_args()
    print(machine())
    bars = Bars()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        commands = prepare(root, arguments.bundle)
        for name in arguments.commands.split(","):
            words, rng = commands[name], np.random.default_rng(arguments.seed)
            began = time.perf_counter()
            run = start(words, root / f"{name}-whole")
            said = run.communicate()[1]
            if run.returncode:
                raise SystemExit(f"The undisturbed {name} failed: {said.strip()[-200:]}")
            seconds = time.perf_counter() - began
            expected = everything(root / f"{name}-whole")
            other, unclean = [], []
            for moment in range(arguments.moments):
                folder, number = root / f"{name}-{moment}", (signal.SIGKILL, signal.SIGTERM)[moment % 2]
                after = float(rng.uniform(0, seconds))
                code, last = disturb(words, folder, number, after, bool(moment // 2 % 2))
                print(
                    f"      {name}, {signal.Signals(number).name} after {after:.1f} of {seconds:.1f} s: exit code {code}",
                    flush=True,
                )
                early = code in (0, -signal.SIGTERM)
                if (
                    number == signal.SIGTERM
                    and not early
                    and not (code == 128 + number and last.startswith("Stopped by SIGTERM"))
                ):
                    unclean.append(f"{after:.1f} s")
                start(words, folder).communicate()
                found = everything(folder)
                other += [
                    f"{after:.1f} s: {place}"
                    for place in sorted(expected.keys() | found.keys())
                    if expected.get(place) != found.get(place)
                ]
            bars.check(
                f"{name}: outputs of other bytes or names after {arguments.moments} kills",
                not other,
                f"{', '.join(other[:5]) or 'none'} of {len(expected)}",
                "none",
            )
            bars.check(
                f"{name}: SIGTERM without its sentence and exit code",
                not unclean,
                ", ".join(unclean[:5]) or "none",
                "none",
            )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
