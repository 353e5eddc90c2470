"""De-identify sixty clips with a patient planted wherever a file has room, and look for the patient in every byte that
was written.

    python benchmarks/deid.py [--keep FOLDER]

Clips: pydicom's A4C DICOM, the echotracker clip of ECHOKDM_TEST_DATA, and phantoms on screens of three layouts; gray,
RGB and YBR, 8 and 16 bits, six transfer syntaxes, with and without regions. Names, numbers, dates and UIDs are planted
in every attribute of the dictionary, in private and nested ones, overlays, file names, preambles and after the pixels,
and burned in: in corners, along the sector's edge (up to 8 px into it), in an ECG strip, over the sector for the whole
clip, of 110 to 255 levels, or for a while, of 160 or more. Nine files can't be masked.
Bars: no planted string in anything written or said; no pixel of print left; nothing that can't be masked is put out;
all that is clean, or has print in its corners alone, is.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pydicom
from bars import Bars, machine
from deid_hospital import DATE, NAME, NUMBER, WORDS, Planted, files, write
from PIL import Image

from echokdm.deid.folder import list_inputs
from echokdm.deid.identity import Pseudonyms

SALT = b"salt of a benchmark"
COMMAND = "import typer; from echokdm.cli.deid import deid; app = typer.Typer(); app.command()(deid); app()"


def said_of(*arguments: object) -> bytes:
    """What the command says on both streams, and its traceback where it has one."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", COMMAND, *map(str, arguments)], capture_output=True, check=False
    )
    return done.stdout + done.stderr


def unpacked(path: Path) -> bytes:
    """A file's bytes, and what its elements or pixels decode to."""
    data = path.read_bytes()
    if path.suffix == ".dcm":
        ds = pydicom.dcmread(path)
        return data + str(ds).encode() + str(ds.file_meta).encode() + ds.pixel_array.tobytes()
    if path.suffix == ".png":
        with Image.open(io.BytesIO(data)) as picture:
            return data + str(picture.info).encode() + picture.tobytes()
    return data


def found_in(data: bytes) -> list[str]:
    """Planted strings in UTF-8 or UTF-16."""
    return [word for word in WORDS if any(word.encode(code) in data for code in ("utf-8", "utf-16-le", "utf-16-be"))]


def print_left(path: Path, planted: Planted) -> int:
    """Pixels of print that are not black in some frame."""
    pixels = pydicom.dcmread(path).pixel_array
    return int(pixels[:, planted.ink].any(0).sum())


def main() -> int:
    """Write the files, run the command, look."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--keep", type=Path, help="a new folder for the files and what came of them; default: thrown away"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        source, out, salt = place / f"{NAME}_{DATE}", place / "out", place / "salt"
        source.mkdir(parents=True)
        salt.write_bytes(SALT)
        planted = {}
        for number, file in enumerate(files()):
            path = source / f"{NAME}_{NUMBER}_{number:03d}.dcm"
            write(file, path, number)
            planted[path] = file
        started = time.perf_counter()
        said = said_of(source, out, "--salt", salt)
        seconds = time.perf_counter() - started
        said += said_of(source, out, "--salt", salt) + said_of(source / f"{NAME}.dcm", place / "other")
        outputs = {
            pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID: path
            for path in sorted(out.glob("subject-*/*.dcm"))
        }
        uid = Pseudonyms(SALT).uid
        passed = {
            path: outputs.get(uid("instance", f"1.2.999.{NUMBER}.1.{number}")) for number, path in enumerate(planted)
        }
        quarantine = dict(line.split(",", 1) for line in (out / "quarantine.csv").read_text().splitlines()[1:])
        reasons = {path: quarantine.get(str(number), "") for number, path in enumerate(list_inputs(source)[0], 1)}
        written = {path.relative_to(out).as_posix(): unpacked(path) for path in out.rglob("*") if path.is_file()}
        leaks = [
            f"{word} in {name}"
            for name, data in {**written, "what was said": said, "names": " ".join(written).encode()}.items()
            for word in found_in(data)
        ]
        left = {path: print_left(target, planted[path]) for path, target in passed.items() if target is not None}
    looked_at = sum(map(len, written.values())) / 2**20
    print(f"{machine()}: {len(planted)} files, {seconds:.0f} s, {len(written)} written, {looked_at:.0f} MiB looked at")
    for kind in dict.fromkeys(file.kind for file in planted.values()):
        of_kind = [path for path, file in planted.items() if file.kind == kind]
        refused = Counter(reasons[path] for path in of_kind if passed[path] is None)
        print(
            f"      {kind}: {len(of_kind) - refused.total()} of {len(of_kind)} put out, "
            f"{sum(left.get(path, 0) for path in of_kind)} px of print left",
            "".join(f"; {n} {why}" for why, n in refused.items()),
        )
    for path, count in left.items():
        if count:
            file = planted[path]
            print(
                f"      left in {path.stem[-3:]} ({file.kind}, {file.pixels.shape[1]} rows): {count} of {file.ink.sum()} px"
            )
    bars = Bars()
    bars.at_least("files", len(planted), 60, 0)
    bars.check(
        "planted strings in bytes, decoded elements, pixels, names and messages",
        not leaks,
        "; ".join(leaks[:3]) or "none",
        "none",
    )
    bars.at_most("pixels of print left", sum(left.values()), 0, 0)
    put_out = {
        answer: [passed[path] is not None for path, file in planted.items() if file.must_pass is answer]
        for answer in (True, False)
    }
    bars.at_most("files put out that can't be masked", sum(put_out[False]), 0, 0)
    bars.at_most(
        f"of {len(put_out[True])} files without print in the sector, not put out", put_out[True].count(False), 0, 0
    )
    bars.at_most(
        "files neither put out nor quarantined",
        sum(passed[path] is None and not reasons[path] for path in planted),
        0,
        0,
    )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
