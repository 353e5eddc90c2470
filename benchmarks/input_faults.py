"""Damaged inputs of every kind to the commands: one sentence and exit code 2, or a result; never a traceback, a hang or
a name.

    python benchmarks/input_faults.py [--count 3000] [--seed 0] [--kinds dicom,avi,...]

A simulated heart of eight frames as DICOM (native, RLE), AVI, MP4, GIF, NIfTI, .npz and a folder of PNGs, its outlines
as CSV and as NIfTI, key-points as .npy, an EchoNet folder's tables, a pipeline's and a configuration's YAML and a
bundle's JSON and weights are cut short, have bits flipped, runs overwritten, doubled or taken out, or text put in that
no reader expects; arrays get odd shapes and types too. Each goes to a command that reads it: `keypoints`, `synth`,
`generate`, `augment`, `validate`, `data check`, and `run` and `train`, which only plan. De-identifying is
`deid_faults.py`'s.

All inputs lie in a folder that is called like a patient, whose name stands where the formats hold names and remarks.
Bars: no exception but those that end in one sentence; no command takes 10 s of processor time or a minute; the process
stays below 2 GiB; no planted string is printed or written; no input is changed; where a command fails nothing of its
output is left.
"""

import argparse
import functools
import hashlib
import io
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from bars import Bars, machine
from deid_faults import NAME, NUMBER, echo, overwritten
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from echokdm.core.progress import track

PATIENT = f"{NAME.decode()}_{NUMBER.decode()}"
FIRST_SEED, FPS, FRAMES = 9_700_000, 16.0, 8
CPU_SECONDS, WALL_SECONDS, GIB = 10.0, 60.0, 2.0
TEXTS = (
    b"nan",
    b"-inf",
    b"1e999",
    b"9" * 400,
    b"-1",
    b"\0",
    b"\xff\xfe",
    b"[" * 3000,
    b"&a [*a]",
    b"!!python/object:os.system x",
    b"2024-99-99",
    b"../../../etc/passwd",
    b'"',
    b"\r\n",
    b"{}",
    b"null",
    b"0x7fffffffffffffff",
    b"1.2.3",
    "\u2764".encode(),
    b",,,,,,",
)
FEW = ["--frames", "2", "--steps", "1"]
Case = tuple[Path, list[str]]
"""The file to damage, in place, and a command's words."""


def prepare(folder: Path) -> dict[str, list[Case]]:
    """Sound inputs of every kind in `folder`: what may be damaged, and the commands that read it."""
    import nibabel
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from echokdm.io.write import write_avi, write_mp4
    from echokdm.methods.bundle import find_bundle
    from echokdm.phantom.a4c import A4CPhantom

    clip = A4CPhantom([FIRST_SEED]).clip(FPS)[0]
    frames = clip.frames[:FRAMES]
    gray = np.rint(frames[:, 0].numpy() * 255).astype(np.uint8)
    files = {
        kind: folder / f"{PATIENT}.{ending}"
        for kind, ending in {
            "dicom": "dcm",
            "rle": "rle.dcm",
            "avi": "avi",
            "mp4": "mp4",
            "gif": "gif",
            "nifti": "nii.gz",
            "npz": "npz",
            "png": "png",
        }.items()
    }
    for kind, syntax in (("dicom", ExplicitVRLittleEndian), ("rle", RLELossless)):
        echo(gray, 0, syntax).save_as(files[kind], enforce_file_format=True)
    write_avi(files["avi"], frames, FPS)
    write_mp4(files["mp4"], frames, FPS)
    pictures = [Image.fromarray(frame) for frame in gray]
    pictures[0].save(files["gif"], save_all=True, append_images=pictures[1:], duration=60, comment=NAME)
    image = nibabel.Nifti1Image(gray.transpose(2, 1, 0)[:, :, None], np.diag([0.8, 0.8, 1, 1]))
    image.header["descrip"] = PATIENT
    nibabel.save(image, files["nifti"])
    np.savez_compressed(files["npz"], frames=gray, fps=FPS, spacing_mm=(0.8, 0.8), remark=PATIENT)
    remark = PngInfo()
    remark.add_text("Comment", PATIENT)
    pictures[0].save(files["png"], pnginfo=remark)
    pages = folder / f"{PATIENT}_frames"
    pages.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(pages / f"{PATIENT}_{number}.png", pnginfo=remark)
    points = A4CPhantom([FIRST_SEED]).keypoints(np_phases(FPS, FRAMES))[0].numpy()
    clips = {
        kind: [(path, words) for words in (["keypoints", str(path)], ["synth", str(path), "--ef", "40", *FEW])]
        for kind, path in files.items()
        if kind != "png"
    }
    clips["frames"] = [(pages / f"{PATIENT}_3.png", ["keypoints", str(pages)])]
    clips["driving"] = [
        (files["avi"], ["synth", str(files["npz"]), "--driving", str(files["avi"]), *FEW]),
        (files["dicom"], ["augment", str(files["dicom"]), "{out}", "--per-clip", "1", "--steps", "1", "--tries", "1"]),
    ]
    return (
        clips
        | outlines(folder, files, gray, points)
        | tables(folder, files["avi"])
        | plans(folder)
        | bundles(folder, files["npz"], find_bundle("a4c-phantom"))
        | generated(folder, files["png"], points)
    )


def np_phases(fps: float, count: int) -> Any:
    """Phases (1, T) of the first frames of the phantom's clip."""
    import torch

    from echokdm.phantom.a4c import A4CPhantom

    beat = 60 / float(A4CPhantom([FIRST_SEED]).heart_rate[0])
    return (torch.arange(count) / fps / beat)[None]


def outlines(folder: Path, files: dict[str, Path], gray: np.ndarray, points: np.ndarray) -> dict[str, list[Case]]:
    """The ventricle's outlines for `keypoints --keypoints`."""
    import nibabel
    import torch

    from echokdm.ops.render import fill_polygon

    masks = fill_polygon(torch.from_numpy(points).float(), *gray.shape[1:])[:, 0].round().numpy().astype(np.uint8)
    labels, csv = folder / f"{PATIENT}_gt.nii.gz", folder / f"{PATIENT}.csv"
    nibabel.save(nibabel.Nifti1Image(masks.transpose(2, 1, 0)[:, :, None], np.diag([0.8, 0.8, 1, 1])), labels)
    rows = [
        f"{PATIENT}.avi,{x1:.2f},{y1:.2f},{x2:.2f},{y2:.2f},0"
        for (x1, y1), (x2, y2) in zip(points[0], points[0][::-1], strict=True)
    ]
    csv.write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "\n".join([f"{PATIENT}.avi,56,20,56,90,0", *rows[:20]]) + "\n")
    return {
        kind: [(path, ["keypoints", str(files["npz"]), "--keypoints", str(path)])]
        for kind, path in (("masks", labels), ("csv", csv))
    }


def tables(folder: Path, video: Path) -> dict[str, list[Case]]:
    """An EchoNet folder of one clip, for `validate` and `data check`."""
    root = folder / "echonet"
    (root / "Videos").mkdir(parents=True)
    shutil.copy(video, root / "Videos" / f"{PATIENT}.avi")
    listed, traced = root / "FileList.csv", root / "VolumeTracings.csv"
    listed.write_text(
        "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"
        f"{PATIENT},55.1,40.2,90.3,112,112,16,8,TRAIN\n"
    )
    rows = [f"{PATIENT}.avi,{40 + i},{20 + i},{70 - i},{24 + i},{frame}" for frame in (0, 4) for i in range(21)]
    traced.write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "\n".join(rows) + "\n")
    commands = (["validate", str(root)], ["data", "check", "echonet-dynamic", str(root)])
    return {"tables": [(path, words) for path in (listed, traced) for words in commands]}


def plans(folder: Path) -> dict[str, list[Case]]:
    """A pipeline and a configuration, of the shipped ones."""
    shipped = Path(__file__).resolve().parents[1]
    pipeline, config = folder / f"{PATIENT}.yaml", folder / f"{PATIENT}_train.yaml"
    pipeline.write_text(
        (shipped / "pipelines" / "a4c-phantom-smoke.yaml").read_text().replace("configs/", f"{shipped}/configs/")
    )
    shutil.copy(shipped / "configs" / "kdm-a4c-112.yaml", config)
    return {"yaml": [(pipeline, ["run", str(pipeline), "--dry-run"]), (config, ["train", str(config), "--dry-run"])]}


def bundles(folder: Path, clip: Path, shipped: Path) -> dict[str, list[Case]]:
    """Files of a bundle that are read to find a ventricle."""
    copy = folder / "bundle"
    shutil.copytree(shipped, copy)
    names = (
        "model_index.json",
        "segmenter/config.json",
        "segmenter/diffusion_pytorch_model.safetensors",
        "k2f/config.json",
    )
    return {"bundle": [(copy / name, ["keypoints", str(clip), "--bundle", str(copy)]) for name in names]}


def generated(folder: Path, picture: Path, points: np.ndarray) -> dict[str, list[Case]]:
    """A picture and key-points for `generate`."""
    at, to = folder / "at.npy", folder / "to.npy"
    np.save(at, points[:1])
    np.save(to, points[3:5])
    words = [
        "generate",
        "--bundle",
        "a4c-phantom",
        "--source",
        str(picture),
        "--source-keypoints",
        str(at),
        "--keypoints",
        str(to),
        "--whole",
        "--steps",
        "1",
    ]
    return {"generate": [(path, words) for path in (picture, at, to)]}


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """One to 32 bits, half of the time within the first 400 bytes."""
    damaged = bytearray(data)
    for _ in range(2 ** int(rng.integers(0, 6))):
        damaged[int(rng.integers(0, min(400, len(data)) if rng.random() < 0.5 else len(data)))] ^= 1 << int(
            rng.integers(8)
        )
    return bytes(damaged)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The file's beginning, or nothing."""
    return data[: int(rng.integers(0, len(data)))]


def moved(data: bytes, rng: np.random.Generator) -> bytes:
    """A run taken out, or put in twice."""
    first, last = np.sort(rng.integers(0, len(data), 2))
    return data[:first] + data[last:] if rng.random() < 0.5 else data[:last] + data[first:]


def texts(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three of TEXTS, over what is there or between."""
    for _ in range(int(rng.integers(1, 4))):
        at, text = int(rng.integers(0, len(data))), TEXTS[int(rng.integers(len(TEXTS)))]
        data = data[:at] + text + data[at + (len(text) if rng.random() < 0.5 else 0) :]
    return data


def number_changed(data: bytes, rng: np.random.Generator) -> bytes:
    """In text: one of its numbers by one of TEXTS; elsewhere as `texts`."""
    runs = [i for i in range(1, min(len(data), 20_000)) if 48 <= data[i] <= 57 and not 48 <= data[i - 1] <= 57]
    if not runs:
        return texts(data, rng)
    first = int(rng.choice(runs))
    last = first
    while last < len(data) and 48 <= data[last] <= 57:
        last += 1
    return data[:first] + TEXTS[int(rng.integers(len(TEXTS)))] + data[last:]


def odd_arrays(data: bytes, rng: np.random.Generator) -> bytes:
    """Of .npz and .npy: arrays of other shapes, types and values."""
    loaded = np.load(io.BytesIO(data))
    arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"": loaded}
    name = str(rng.choice(list(arrays)))
    array = arrays[name]
    numbers = array if array.dtype.kind in "biuf" else np.zeros(array.shape)
    odd: list[Callable[[], np.ndarray]] = [
        lambda: array[..., None],
        lambda: array.reshape(-1)[:0],
        lambda: numbers.astype(float) * np.nan,
        lambda: np.array("9" * 5000),
        lambda: numbers.astype(complex),
        lambda: array.astype("datetime64[s]") if array.dtype.kind in "iu" else array.astype("S8"),
        lambda: array.reshape(-1),
        lambda: np.broadcast_to(array, (3, *array.shape)),
        lambda: numbers.astype(float) * 1e300,
        lambda: numbers.astype("<f2"),
        lambda: np.zeros(3, [("a", "i4"), ("b", "f8")]),
        lambda: -numbers.astype(float),
    ]
    file = io.BytesIO()
    changed = odd[int(rng.integers(len(odd)))]()
    if name:
        np.savez_compressed(file, **(arrays | {name: changed}))
    else:
        np.save(file, changed)
    return file.getvalue()


WOUNDS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    flipped,
    cut,
    overwritten,
    moved,
    texts,
    number_changed,
    odd_arrays,
)


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
