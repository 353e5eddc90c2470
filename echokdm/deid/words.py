"""Words in pictures, by the network that finds text for PP-OCR, which rapidocr's wheel carries (Apache-2.0); offline,
on ONNX Runtime."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from echokdm.core.errors import SearchError
from echokdm.core.frames import LongFrames, each

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_NETWORK = "PP-OCRv6_det_small.onnx"
_STEP = 32  # its sides are multiples of this
# Of a tile the network takes some 300 bytes a pixel. Tiles overlap by a word or the better part of one.
_TILE, _OVERLAP = (1088, 1440), 192

# What PP-OCR takes for text (rapidocr's config.yaml), and the pixels of a patch.
_TEXT, _LEAST = 0.3, 12
# From which mean over a patch it is one: of pictures of many frames, where real clean clips of benchmarks/deid_text.py
# reach .73 (fine strokes of them .66), of single frames, where a fine line of the probe's echo reaches .77, of what
# differs between frames, where leaflets and specks reach .84, and those of phantoms of 112 px .90, and of what flashes
# in one frame, both with and without what is usual, where real clips reach .63.
_SURE, _SURE_OF_ONE, _SURE_OF_CHANGES, _SURE_OF_FLASH = 0.75, 0.85, 0.92, 0.8
# The network sees letters in hearts as well, but as patches nearly as high as wide: in benchmarks/deid_text.py words
# are longer than this times their height and fill their box.
_LONG, _FULL = 2.5, 0.7

_END = 4  # frames at the clip's ends, where print that fades is seen whole
_TIMES = 3  # what differs from the frames around it is shown with so much more contrast
_TOGETHER = 4  # frames in one gray picture of what is brief: it is dark but for flicker
_FLASHES = 3  # frames between the ends whose flashes are shown one by one
# A word's place, rows and columns, and the gray levels by which it has to differ, on average, from what was there
# before or after to be shown at all: words of a contrast of 40 levels do so by 10, or, as thin and small as
# benchmarks/deid_text.py draws them, by 4.
_PLACE, _LEAST_CHANGE = (16, 48), 3
# a pixel's greatest flickers of which all are taken for tissue's; what comes and goes at once does so once or twice
_USUAL = 3


def find_words(
    frames: np.ndarray | LongFrames,
    sector: np.ndarray,
    mask: np.ndarray,
    lasting: list[tuple[np.ndarray, np.ndarray]],
    changes: np.ndarray,
) -> bool:
    """Whether a word lies over the mask, or reaches into it, in any frame.

    frames: (T, H, W) uint8. sector: (H, W) bool, of which mask, (H, W) bool, is the part that is to be kept. lasting:
    (darkest, brightest) (H, W) of what stays for long. changes: (H, W), by how much something came or went that then
    stayed. Outside the sector each pixel is taken from the nearest inside, since the sector's edge is a shape that the
    network would read. Raises SearchError where the network is missing or fails.
    """
    rows, columns = np.flatnonzero(sector.any(1)), np.flatnonzero(sector.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    frames, kept, seen = each(frames, lambda some: some[:, *box]), mask[box], sector[box]
    nearest = tuple(ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True))
    parts = np.stack([seen, kept])
    halves = _halved(parts.astype(np.float32)) == 1
    text = partial(_text, _network())

    def picture(few: Iterable[np.ndarray]) -> np.ndarray:
        """(3, h, w): the network takes three grays for colours; of other kinds in one picture, one would hide what is
        in the other."""
        return np.stack(list(islice(cycle(few), 3))).astype(np.float32)[:, *nearest]

    def is_read(few: Iterable[np.ndarray], sure: float, large: bool = True) -> bool:
        """Upright, turned by 90 degrees, or, where it may be large, as a word at half the size."""
        shown = picture(few)
        return (
            _holds_word(text, shown, parts, sure)
            or _holds_word(text, shown.transpose(0, 2, 1), parts.transpose(0, 2, 1), sure)
            or (large and _holds_word(text, _halved(shown), halves, sure))
        )

    first, last = frames[:_END].min(0), frames[-_END:].min(0)
    if any(
        is_read(few, _SURE) for few in [*((one[box],) for pair in lasting for one in pair), (first, last, frames[-1])]
    ):
        return True
    fine = (ndimage.white_tophat(last, 3), ndimage.black_tophat(frames[-_END:].max(0), 3))
    if any(is_read((_shown(strokes),), _SURE, large=False) for strokes in fine):
        return True
    if _change(changes[box]) >= _LEAST_CHANGE and is_read((_shown(changes[box]),), _SURE_OF_CHANGES):
        return True
    usual, flashes = _flicker_and_flashes(frames)
    for t in flashes:
        flicker = _flicker(frames, t)  # a leaflet that looks like a word in one way doesn't in the other
        if all(is_read((_shown(seen),), _SURE_OF_FLASH, large=False) for seen in (_above(flicker, usual), flicker)):
            return True
        if is_read((frames[t],), _SURE_OF_ONE):
            return True
    grays = (_shown(above) for above in _brief(frames, usual) if _change(above) >= _LEAST_CHANGE)
    return any(is_read(few, _SURE_OF_CHANGES) for few in iter(lambda: list(islice(grays, 3)), []))


def _flicker_and_flashes(frames: np.ndarray | LongFrames) -> tuple[np.ndarray, list[int]]:
    """((h, w) uint8, by how much a pixel flickers more than once or twice; the frames with most beyond that in a word's
    place).

    The ends are told by one side alone, so that tissue flashes most in them: they are apart from the order of the
    others.
    """
    greatest = np.zeros((_USUAL, *frames.shape[1:]), np.uint8)
    for flicker in _flickers(frames):
        for kept in greatest:
            kept[:], flicker = np.maximum(kept, flicker), np.minimum(kept, flicker)
    usual = greatest[-1]
    most = np.array([_change(_above(flicker, usual)) for flicker in _flickers(frames)])
    inner = 1 + np.argsort(most[1:-1])[: -_FLASHES - 1 : -1]
    return usual, [int(t) for t in dict.fromkeys((*inner, 0, len(most) - 1)) if most[t] >= _LEAST_CHANGE]


def _change(difference: np.ndarray) -> float:
    """The greatest mean over a word's place, upright or turned."""
    return max(
        float(ndimage.uniform_filter(difference.astype(np.float32), place).max()) for place in (_PLACE, _PLACE[::-1])
    )


def _brief(frames: np.ndarray | LongFrames, usual: np.ndarray) -> Iterator[np.ndarray]:
    """(h, w) for some frames each: what is in one of them and neither in the one before nor in the one after, beyond
    the usual flicker."""
    flickers = _flickers(frames)
    while some := list(islice(flickers, _TOGETHER)):
        yield _above(np.max(some, 0), usual)


def _flickers(frames: np.ndarray | LongFrames) -> Iterator[np.ndarray]:
    """(h, w) uint8 of each frame: by how much it is brighter, or darker, than both of its neighbours; at the ends, than
    the next two."""
    return (_flicker(frames, t) for t in range(len(frames)))


def _flicker(frames: np.ndarray | LongFrames, t: int) -> np.ndarray:
    last = len(frames) - 1
    one, other = (t - 1, t + 1) if 0 < t < last else (1, 2) if t == 0 else (last - 1, last - 2)
    frame, near, far = frames[t], frames[min(one, last)], frames[min(abs(other), last)]
    return np.maximum(_above(frame, np.maximum(near, far)), _above(np.minimum(near, far), frame))


def _above(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(a, b) - b


def _shown(difference: np.ndarray) -> np.ndarray:
    return np.minimum(_TIMES * difference.astype(np.int16), 255)


def _holds_word(
    text_of: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, parts: np.ndarray, sure: float
) -> bool:
    """Whether some word of a (3, H, W) picture lies in one part and reaches into the other, (2, H, W) bool. sure: its
    least mean."""
    seen, kept = parts
    for top, left in ((y, x) for y in _starts(kept.shape[0], _TILE[0]) for x in _starts(kept.shape[1], _TILE[1])):
        tile = np.s_[top : top + _TILE[0], left : left + _TILE[1]]
        text = text_of(picture[:, *tile])
        labels, count = ndimage.label((text > _TEXT) & seen[tile])
        if not count:
            continue
        likely = (ndimage.mean(text, labels, np.arange(1, count + 1)) >= sure) & (
            np.bincount(labels[kept[tile]], minlength=count + 1)[1:] >= _LEAST
        )
        boxes = ndimage.find_objects(labels)
        if any(_is_word(labels[boxes[i]] == i + 1) for i in np.flatnonzero(likely)):
            return True
    return False


def _starts(length: int, tile: int) -> range:
    return range(0, max(length - _OVERLAP, 1), tile - _OVERLAP)


def _is_word(patch: np.ndarray) -> bool:
    """Whether a patch is long and full, whichever way it lies: a box of sides a and b has variances a^2 / 12 and b^2 /
    12."""
    spread = np.cov(np.nonzero(patch), bias=True) + np.eye(2) / 12  # of pixels, not of points
    short, long = np.sqrt(12 * np.linalg.eigvalsh(spread))
    return bool(long >= _LONG * short and patch.sum() >= _FULL * short * long)


def _text(network: "InferenceSession", picture: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1], how likely each pixel of a (3, H, W) picture is one of text, by PP-OCR's own scaling."""
    height, width = picture.shape[1:]
    padded = np.pad(picture, ((0, 0), (0, -height % _STEP), (0, -width % _STEP)), mode="edge")
    try:
        return network.run(None, {network.get_inputs()[0].name: (padded / 127.5 - 1)[None].astype(np.float32)})[0][
            0, 0, :height, :width
        ]
    except Exception:  # ONNX Runtime raises types of its own
        raise SearchError from None


def _network() -> "InferenceSession":
    """With torch's number of threads. rapidocr is not imported, since it configures logging and may download.

    Its memory is one piece that goes with it: taken and given back tensor by tensor, it leaves gaps that grow with a
    clip's length.
    """
    from importlib.util import find_spec
    from pathlib import Path

    try:
        import onnxruntime
        import torch

        spec = find_spec("rapidocr")
        if spec is None or not spec.submodule_search_locations:
            raise ImportError
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = (
            torch.get_num_threads(),
            1,
            4,
        )
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(spec.submodule_search_locations[0]) / "models" / _NETWORK
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception:  # not installed, damaged, or for another machine
        raise SearchError from None


def _halved(picture: np.ndarray) -> np.ndarray:
    """(C, H // 2, W // 2) means of two by two pixels."""
    even = picture[:, : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4
