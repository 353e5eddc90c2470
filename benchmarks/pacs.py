"""The way through an archive and back, killed twice on each leg: every clip is there exactly once, and nothing of its
patient.

    python benchmarks/pacs.py [--clips 24] [--door dicomweb] [--seed 0]

Clips of simulated hearts, whose names, IDs, dates and UIDs are planted, are sent to Orthanc, fetched from it with a
salt, and what came out is sent to it again once it is empty: `echokdm send`, `fetch`, `send`, each ended twice by
SIGKILL when it has done a drawn number of clips, and then run to its end. Bars: on each leg every clip is there exactly
once; what was fetched has the bytes that `echokdm deid` gives the files, whose gate says which of them come out at all;
no planted string is in a name or byte of the folder, in what the commands said, or in any object then stored; nothing
is left beside the folder.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bars import Bars, machine
from kills import everything

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from orthanc import PLANTED, WANTING, Orthanc, planted, running

from echokdm.deid import deidentify_folder

SALT = b"salt of a benchmark"


class Commands:
    """Runs commands in a folder and keeps what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, b""

    def start(self, words: list[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", "from echokdm.cli.app import app; app()", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def kill(self, words: list[str], done: Callable[[], int], at: int) -> int:
        """Begin a command and end it by SIGKILL when `done()` is `at`; what it is then."""
        process = self.start(words)
        while process.poll() is None and done() < at:
            time.sleep(0.002)
        process.kill()
        self.said += process.communicate()[0]
        return done()

    def finish(self, words: list[str]) -> None:
        process = self.start(words)
        told = process.communicate()[0]
        self.said += told
        if process.returncode:
            raise SystemExit(f"`echokdm {words[0]}` failed: {told.decode()[-300:]}")


def leg(commands: Commands, name: str, words: list[str], done: Callable[[], int], moments: list[int]) -> float:
    """A command, killed at each of the moments, then run to its end; seconds of the last run."""
    for at in moments:
        print(f"      {name}: killed at {commands.kill(words, done, at)} clips", flush=True)
    began = time.perf_counter()
    commands.finish(words)
    return time.perf_counter() - began


def stored_once(orthanc: Orthanc, wanted: int) -> tuple[bool, str]:
    """Whether the archive holds so many objects, each by a UID of its own; in words."""
    uids = [ds.SOPInstanceUID for ds in orthanc.objects()]
    return len(uids) == len(set(uids)) == wanted, f"{len(uids)} objects of {len(set(uids))} UIDs"


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--clips", type=int, default=24, help="to make; some look to `deid` as if they had print, and are not taken"
    )
    options.add_argument("--door", choices=["dicomweb", "dimse"], default="dicomweb")
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = options.parse_args()
    if WANTING:
        raise SystemExit(f"The benchmark {WANTING}.")
    print(machine())
    bars, rng = Bars(), np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as context:
        root = Path(scratch)
        for name in ("orthanc", "work"):
            (root / name).mkdir()
        orthanc, commands = context.enter_context(running(root / "orthanc")), Commands(root / "work")
        url = orthanc.web if arguments.door == "dicomweb" else orthanc.dimse
        (root / "work" / "salt").write_bytes(SALT)
        planted(root / "export", arguments.clips)
        expected = deidentify_folder(root / "export", root / "expected", salt=SALT)
        print(
            f"      {arguments.clips} clips, of which `deid` takes {len(expected.outputs)}; door {arguments.door}",
            flush=True,
        )

        def moments(most: int) -> list[int]:
            return sorted(int(moment) for moment in rng.choice(np.arange(1, most), 2, replace=False))

        def in_archive() -> int:
            return len(json.loads(orthanc.get("instances")))

        def fetched() -> int:
            return len(list((root / "work").glob(".*/done/*.json")))

        leg(commands, "send", ["send", url, str(root / "export")], in_archive, moments(arguments.clips))
        bars.check(
            "sent: each clip is there exactly once",
            *stored_once(orthanc, arguments.clips),
            f"{arguments.clips} of each",
        )
        words = ["fetch", url, "out", "--query", "ModalitiesInStudy=US", "--salt", "salt", "--port", str(orthanc.port)]
        seconds = leg(commands, "fetch", words, fetched, moments(arguments.clips))
        ours, theirs = everything(root / "work" / "out"), everything(root / "expected")
        other = [
            name
            for name in sorted(ours.keys() | theirs.keys())
            if name != "quarantine.csv" and ours.get(name) != theirs.get(name)
        ]
        bars.check(
            "fetched: names and bytes other than `deid` gives the files",
            not other,
            f"{len(other)} of {len(theirs)}",
            "0",
        )
        left = sorted(path.name for path in (root / "work").iterdir())
        bars.check("left beside the folder", left == ["out", "salt"], ", ".join(left), "out, salt")
        orthanc.clear()
        leg(commands, "send again", ["send", url, "out"], in_archive, moments(len(expected.outputs)))
        bars.check(
            "sent again: each clip is there exactly once",
            *stored_once(orthanc, len(expected.outputs)),
            f"{len(expected.outputs)} of each",
        )
        told = [
            word
            for word in PLANTED
            if any(
                word.encode() in text
                for text in (commands.said, *orthanc.files(), *ours.values(), *(name.encode() for name in ours))
            )
        ]
        bars.check(
            "planted strings in any stored object, file, name or message",
            not told,
            ", ".join(told) or "none",
            f"none of {len(PLANTED)}",
        )
        print(f"      the last fetch took {seconds:.1f} s")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
