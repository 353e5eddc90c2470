"""Echo clips with a planted patient: a small fan that moves, and a header that is full of names, identifiers and
dates."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy import ndimage

from echokdm.deid import words

HEIGHT, WIDTH, APEX, HALF, NEAR, FAR = 120, 160, (80, 6), 40, 6, 100
US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"


@pytest.fixture(autouse=True)
def _search_anew(monkeypatch):
    """Here the search itself is tested."""
    monkeypatch.setattr("echokdm.deid.marks.find_words", words.find_words)


def inside_fan(margin=0.0):
    """(H, W) bool, `margin` pixels wider on all sides."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    x, y = x - APEX[0], y - APEX[1] + margin / np.sin(np.radians(HALF))
    radius = np.hypot(x, y)
    return (np.abs(np.degrees(np.arctan2(x, y))) <= HALF) & (radius >= NEAR - margin) & (radius <= FAR + 3 * margin)


def fan(seed=0, frames=10):
    """(T, H, W) uint8: flickering speckle in a fan, black around it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    gain = (0.35 + 0.2 * np.sin(x / 18) * np.cos(y / 14)) * inside_fan()
    speckle = np.stack([ndimage.gaussian_filter(rng.rayleigh(1, (HEIGHT, WIDTH)), 0.8) for _ in range(frames)])
    return np.round((gain * speckle).clip(0, 1) * 255).astype(np.uint8)


def letters(text, x, y, size=11):
    """(H, W) bool: text with its upper left corner at (x, y)."""
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).text((x, y), text, fill=255, font=ImageFont.load_default(size))
    return np.asarray(image) > 110


def burn(pixels, *shapes, value=230, frames=slice(None)):
    """A copy of (T, H, W[, 3]) pixels with the shapes, (H, W) bool, drawn into the frames named."""
    burned = pixels.copy()
    for shape in shapes:
        burned[frames] = np.where(shape[..., None] if pixels.ndim == 4 else shape, np.uint8(value), burned[frames])
    return burned


def echo(pixels, **tags):
    """A data set of (T, H, W) or (T, H, W, 3) uint8 pixels; a tag given as None is left out."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality = US_MULTIFRAME, "US"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape[:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if pixels.ndim == 4 else (1, "MONOCHROME2")
    if pixels.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.FrameTime, ds.FrameIncrementPointer = "25", 0x00181063
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
    for name, value in tags.items():
        if value is not None:
            setattr(ds, name, value)
        elif name in ds:
            delattr(ds, name)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.get("SOPInstanceUID", "1.2.3"),
    )
    return ds


@pytest.fixture(scope="session")
def scene():
    """The functions above, by name."""
    return {"fan": fan, "inside_fan": inside_fan, "letters": letters, "burn": burn, "echo": echo}
