"""De-identify damaged files: none may stop the run, and none may bring anything of its patient out.

    python benchmarks/deid_faults.py [--count 2000] [--seed 0]

Echo clips of a small moving fan, native, RLE and JPEG 2000, each with a patient in its header, are cut short, have bits
flipped, bytes overwritten, elements or their lengths swapped or made absurd, sizes declared that no machine holds, or
unpack to a thousand times what they are. Among them are sound ones. Bars: every file is put out or quarantined with a
reason; every sound one is put out; no byte of a name or an identifier, and no pixel beside the fan, is; no file takes
10 s; the process that reads them stays below 2 GiB.
"""

import argparse
import csv
import functools
import resource
import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from bars import Bars, machine
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from scipy import ndimage

from echokdm.deid import Limits, deidentify_folder
from echokdm.deid.identity import Pseudonyms

SALT = b"salt of a benchmark"
HEIGHT, WIDTH, FRAMES = 96, 128, 8
NAME, NUMBER = b"KOWALSKI", b"48151623"
SOUND_EVERY = 20


def inside_fan() -> np.ndarray:
    """(H, W) bool."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    x, y = x - 64, y - 4
    return (np.abs(np.degrees(np.arctan2(x, y))) <= 40) & (np.hypot(x, y) >= 5) & (np.hypot(x, y) <= 84)


def fan(seed: int) -> np.ndarray:
    """(T, H, W) uint8: flickering speckle in the fan, and a white bar that stands for burned-in text above it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    gain = (0.35 + 0.2 * np.sin(x / 14) * np.cos(y / 11)) * inside_fan()
    speckle = np.stack([ndimage.gaussian_filter(rng.rayleigh(1, (HEIGHT, WIDTH)), 0.8) for _ in range(FRAMES)])
    pixels = np.round((gain * speckle).clip(0, 1) * 255).astype(np.uint8)
    pixels[:, 3:9, 4:40] = 240
    return pixels


def echo(pixels: np.ndarray, number: int, syntax: str) -> pydicom.Dataset:
    """A data set with a patient of its own."""
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.3.1", "US"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (
        f"1.2.999.{NUMBER.decode()}.{n}.{number}" for n in (1, 2, 3)
    )
    ds.PatientName, ds.PatientID = f"{NAME.decode()}^Jan", f"{NUMBER.decode()}-{number}"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.FrameTime = "25"
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
    if syntax != ExplicitVRLittleEndian:
        ds.compress(syntax, generate_instance_uid=False)
    return ds


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """The file's beginning; half of the time within the header."""
    return data[: int(rng.integers(1, 1500 if rng.random() < 0.5 else len(data)))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """One to 32 bits, mostly in the header, where they do more."""
    damaged = bytearray(data)
    for _ in range(2 ** int(rng.integers(0, 6))):
        damaged[int(rng.integers(132, 1200 if rng.random() < 0.8 else len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwritten(data: bytes, rng: np.random.Generator) -> bytes:
    """A run of random bytes, or of one byte, somewhere."""
    at, length = int(rng.integers(0, len(data))), int(rng.integers(1, 5000))
    block = rng.bytes(length) if rng.random() < 0.5 else bytes([int(rng.choice([0, 0xFF, 0xFE]))]) * length
    return data[:at] + block + data[at + length :]


def absurd_size(data: bytes, rng: np.random.Generator) -> bytes:
    """Rows, Columns, NumberOfFrames or bits that no machine holds, or that the pixels contradict."""
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    sizes = {
        "Rows": [0, 1, 65535, HEIGHT + 1],
        "Columns": [0, 65535, WIDTH * 2],
        "NumberOfFrames": [-5, 0, 2**31 - 1, 10**11, 9, 3000],
        "BitsAllocated": [0, 1, 16, 64, 65535],
        "SamplesPerPixel": [0, 3, 4, 65535],
        "BitsStored": [0, 16, 255],
    }
    for keyword in rng.choice(list(sizes), int(rng.integers(1, 4)), replace=False):
        setattr(ds, str(keyword), int(rng.choice(sizes[str(keyword)])))
    file = pydicom.filebase.DicomBytesIO()
    ds.save_as(file)
    return file.getvalue()


def absurd_length(data: bytes, rng: np.random.Generator) -> bytes:
    """An element's length, or a fragment's, beyond the file's end or undefined."""
    marks = [data.find(mark) for mark in (b"UI", b"PN", b"IS", b"US", b"OB\0\0", b"\xfe\xff\x00\xe0")]
    at = int(rng.choice([mark for mark in marks if mark > 0]))
    value = struct.pack("<I", int(rng.choice([0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, len(data), 1])))
    return data[: at + 4] + value + data[at + 8 :]


def swapped_tags(data: bytes, rng: np.random.Generator) -> bytes:
    """Two elements under each other's tag, or with each other's value."""
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    one, other = (ds[tag] for tag in rng.choice(np.array(sorted(ds.keys())), 2, replace=False))
    with pydicom.config.disable_value_validation(), warnings.catch_warnings(action="ignore"):
        if rng.random() < 0.5:
            one.tag, other.tag = other.tag, one.tag
            ds[one.tag], ds[other.tag] = one, other
        else:
            one._value, other._value = other._value, one._value
        file = pydicom.filebase.DicomBytesIO()
        try:
            ds.save_as(file)
        except (AttributeError, TypeError, ValueError, NotImplementedError, OSError, struct.error):
            return absurd_length(data, rng)  # no writer takes every swap
    return file.getvalue()


def bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """A few MB that unpack to gigabytes: a deflated data set, RLE frames of zeros, or a JPEG 2000 stream of its own
    size."""
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax == JPEG2000Lossless:
        at = data.find(b"\xff\x4f\xff\x51")
        side = struct.pack(">I", int(rng.choice([20_000, 60_000, 2**31 - 1])))
        return data[: at + 8] + side * 2 + data[at + 16 :]
    side, frames = 2048, int(rng.choice([60, 2000]))
    ds.Rows = ds.Columns = side
    ds.NumberOfFrames = frames
    file = pydicom.filebase.DicomBytesIO()
    if syntax == RLELossless:
        ds.PixelData = pydicom.encaps.encapsulate(
            [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * (side * side // 128)] * 60
        )
        ds.save_as(file)
        return file.getvalue()
    del ds.PixelData
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(file)
    head = file.getvalue()
    start = 128 + 4 + 12 + struct.unpack("<I", head[140:144])[0]
    packer = zlib.compressobj(1, wbits=-15)
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, min(side * side * frames, 2**32 - 2))
    packed = packer.compress(zlib.decompress(head[start:], -15) + pixels) + packer.flush(zlib.Z_FULL_FLUSH)
    return head[:start] + packed + zeros() * min(frames, 300) + packer.flush()


@functools.cache
def zeros() -> bytes:
    """Eight MiB of zeros as a piece of a deflated stream."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(bytes(2**23)) + packer.flush(zlib.Z_FULL_FLUSH)


FAULTS: tuple[Callable[[bytes, np.random.Generator], bytes], ...]
FAULTS = (cut, flipped, absurd_size, absurd_length, overwritten, swapped_tags, bomb)


def make_files(folder: Path, count: int, seed: int) -> list[int]:
    """`count` files; returns the numbers of the sound ones."""
    syntaxes = (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
    pixels = [fan(n) for n in range(3)]
    coded = [[echo(fan_pixels, 0, syntax) for syntax in syntaxes] for fan_pixels in pixels]
    sound = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        ds = coded[number % 3][number // 3 % 3]
        # The patient changes from file to file, as damage to one must not be blamed on another.
        for keyword, level in (("SOPInstanceUID", 1), ("StudyInstanceUID", 2), ("SeriesInstanceUID", 3)):
            setattr(ds, keyword, f"1.2.999.{NUMBER.decode()}.{level}.{number}")
        ds.PatientID = f"{NUMBER.decode()}-{number}"
        file = pydicom.filebase.DicomBytesIO()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(file, enforce_file_format=True)
        data = file.getvalue()
        if number % SOUND_EVERY == 0:
            sound.append(number)
        else:
            data = FAULTS[number % len(FAULTS)](data, rng)
        (folder / f"{NAME.decode()}_{number:06d}.dcm").write_bytes(data)
    return sound


def main() -> int:
    """Make the files, run, and compare; the exit code is 1 where a bar is missed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=2000, help="files; default 2000")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "in"), Path(place, "out")
        source.mkdir()
        sound = make_files(source, given.count, given.seed)
        ends = [time.perf_counter()]
        summary = deidentify_folder(
            source, out, salt=SALT, limits=Limits(seconds=60), progress=lambda *_: ends.append(time.perf_counter())
        )
        # With the first file the process starts.
        slowest = float(np.diff(ends)[1:].max())
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"{machine()}: {given.count} files, {ends[-1] - ends[0]:.0f} s")
        for sentence, number in summary.reasons():
            print(f"{number:6d}  {sentence}")
        # A damaged JPEG 2000 stream may still decode, blurred, and the fan's own border with it.
        outside = ~ndimage.binary_dilation(inside_fan(), iterations=4)
        leaks = beside = 0
        uids = set()
        for name in summary.outputs:
            ds = pydicom.dcmread(out / name)
            uids.add(ds.SOPInstanceUID)
            beside += int(ds.pixel_array.shape[1:] != outside.shape or ds.pixel_array[:, outside].any())
        for path in out.rglob("*"):
            leaks += path.is_file() and any(word in path.read_bytes() for word in (NAME, NUMBER, str(source).encode()))
        rows = list(csv.reader((out / "quarantine.csv").read_text().splitlines()))[1:]
        lost = sum(
            Pseudonyms(SALT).uid("instance", f"1.2.999.{NUMBER.decode()}.1.{number}") not in uids for number in sound
        )
    bars = Bars()
    bars.at_most("files neither put out nor quarantined", given.count - len(summary.outputs) - len(rows), 0, 0)
    bars.at_most(f"of {len(sound)} sound files not put out", lost, 0, 0)
    bars.at_most(f"of {len(summary.outputs)} outputs with pixels beside the fan", beside, 0, 0)
    bars.at_most("files put out with a name, a number or a path of the input", leaks, 0, 0)
    bars.at_most("GiB of memory that reading took at most", memory, 2, 2)
    bars.at_most("seconds of the slowest file", slowest, 10, 1)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
