"""Words in pictures, by the network that finds text for PP-OCR, which rapidocr's wheel carries (Apache-2.0); offline, on ONNX Runtime."""

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from echokdm.core.errors import SearchError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_NETWORK = "PP-OCRv6_det_small.onnx"
_STEP = 32  # its sides are multiples of this
# Of a tile the network takes some 300 bytes a pixel. Tiles overlap by a word or the better part of one.
_TILE, _OVERLAP = (1088, 1440), 192

# What PP-OCR takes for text (rapidocr's config.yaml), and from which mean over a patch and which pixels in it.
_TEXT, _SURE, _LEAST = 0.3, 0.8, 12
# The network sees letters in hearts as well, but as patches nearly as high as wide: in benchmarks/deid_text.py words are longer than this
# times their height and fill their box.
_LONG, _FULL = 2.5, 0.7

_END = 4  # frames at the clip's ends, where print that fades is seen whole
_NARROW = 480  # px; in a sector narrower than this print of 10 pixels is read with more certainty at twice its size


def find_words(frames: np.ndarray, mask: np.ndarray, steady: list[np.ndarray]) -> bool:
    """Whether a word lies over the mask in any frame.

    frames: (T, H, W) uint8. mask: (H, W) bool. steady: pictures (H, W) of what stays for long. Outside the mask each pixel is taken from
    the nearest inside, since the sector's edge is a shape that the network would read. Raises SearchError where the network is missing or
    fails.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    frames, steady, kept = frames[:, *box], [one[box] for one in steady], mask[box]
    nearest = tuple(ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True))
    coarse = _halved(kept[None].astype(np.float32))[0] == 1
    fine = _doubled(kept[None])[0] if kept.shape[1] < _NARROW else None

    def seen(picture: np.ndarray) -> bool:
        return (_holds_word(picture, kept) or _holds_word(_halved(picture), coarse)
                or fine is not None and _holds_word(_doubled(picture), fine))

    for one in [*steady, *(part.min(0) for part in (frames[:_END], frames[-_END:]))]:
        picture = np.stack([one[nearest].astype(np.float32)] * 3)
        if seen(picture) or _holds_word(picture.transpose(0, 2, 1), kept.T):
            return True
    # Of the frames every second one and the last; what is in one between them alone is in the changes towards it and from it.
    if any(seen(picture[:, *nearest]) for picture in _threes(frames[i] for i in range((len(frames) - 1) % 2, len(frames), 2))):
        return True
    # At half the size the leaflets of a valve that opens look like a word here.
    return any(_holds_word(picture[:, *nearest], kept) for picture in _threes(_changes(frames)))


def _changes(frames: np.ndarray) -> Iterator[np.ndarray]:
    """(h, w) for each second frame: twice the greater of the changes towards it and from it, which leave little behind a word."""
    for middle in range(1, len(frames), 2):
        part = frames[middle - 1 : middle + 2].astype(np.float32)
        yield (2 * np.abs(np.diff(part, axis=0)).max(0)).clip(0, 255)


def _threes(pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """(3, h, w) float32: the network takes three pictures for the colours of one."""
    while three := list(islice(pictures, 3)):
        yield np.stack((three * 3)[:3]).astype(np.float32)


def _holds_word(picture: np.ndarray, kept: np.ndarray) -> bool:
    """Whether some word of a (3, H, W) picture lies where `kept`, (H, W) bool, is."""
    for top, left in ((y, x) for y in _starts(kept.shape[0], _TILE[0]) for x in _starts(kept.shape[1], _TILE[1])):
        tile = np.s_[top : top + _TILE[0], left : left + _TILE[1]]
        text = _text(picture[:, *tile])
        labels, count = ndimage.label((text > _TEXT) & kept[tile])
        if not count:
            continue
        sure = (ndimage.mean(text, labels, np.arange(1, count + 1)) >= _SURE) & (np.bincount(labels.ravel())[1:] >= _LEAST)
        boxes = ndimage.find_objects(labels)
        if any(_is_word(labels[boxes[i]] == i + 1) for i in np.flatnonzero(sure)):
            return True
    return False


def _starts(length: int, tile: int) -> range:
    return range(0, max(length - _OVERLAP, 1), tile - _OVERLAP)


def _is_word(patch: np.ndarray) -> bool:
    """Whether a patch is long and full, whichever way it lies: a box of sides a and b has variances a^2 / 12 and b^2 / 12."""
    spread = np.cov(np.nonzero(patch)) + np.eye(2) / 12  # of pixels, not of points
    short, long = np.sqrt(12 * np.linalg.eigvalsh(spread))
    return bool(long >= _LONG * short and patch.sum() >= _FULL * short * long)


def _text(picture: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1], how likely each pixel of a (3, H, W) picture is one of text, by PP-OCR's own scaling."""
    height, width = picture.shape[1:]
    padded = np.pad(picture, ((0, 0), (0, -height % _STEP), (0, -width % _STEP)), mode="edge")
    network = _network()
    try:
        return network.run(None, {network.get_inputs()[0].name: (padded / 127.5 - 1)[None].astype(np.float32)})[0][0, 0, :height, :width]
    except Exception:  # ONNX Runtime raises types of its own
        raise SearchError from None


@cache
def _network() -> "InferenceSession":
    """Once for a process, with torch's number of threads. rapidocr is not imported, since it configures logging and may download."""
    from importlib.util import find_spec
    from pathlib import Path

    try:
        import onnxruntime
        import torch

        spec = find_spec("rapidocr")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = torch.get_num_threads(), 1, 4
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(spec.submodule_search_locations[0]) / "models" / _NETWORK
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception:  # not installed, damaged, or for another machine
        raise SearchError from None


def _halved(picture: np.ndarray) -> np.ndarray:
    """(C, H // 2, W // 2) means of two by two pixels."""
    even = picture[:, : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _doubled(picture: np.ndarray) -> np.ndarray:
    """(C, 2 H, 2 W)."""
    return picture.repeat(2, 1).repeat(2, 2)
