"""Sound inputs of every kind that a command reads, and the ways in which `input_faults.py` damages them."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from deid_faults import NAME, NUMBER, echo, overwritten
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

PATIENT = f"{NAME.decode()}_{NUMBER.decode()}"
FIRST_SEED, FPS, FRAMES = 9_700_000, 16.0, 8
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
