"""The clips that an audit compares: which there are, whose and in which split, and what of each is remembered.

No name of a file or a patient leaves this module: a clip is known by its number, or by the id that `echokdm augment`
gave it.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.errors import BundleError, ClipError, DataError
from echokdm.core.types import Clip
from echokdm.ops.clip_alignment import blur, pick_frames, texture

if TYPE_CHECKING:
    from echokdm.io.fan import Fan
    from echokdm.io.sector import Sector

    Found = tuple[Fan, tuple[float, float], tuple[float, float, float, float]]

QUERY_FRAMES = 16  # of a clip that is looked for in others
FEATURE_FRAMES = 4
STEP = 32  # textures are kept as whole 32nds in a byte
OURS = re.compile(r"SYN\d{6}")  # ids that `plan_cohort` gives, which can be no patient's name


@dataclass(frozen=True)
class Listed:
    """A clip of a folder. label: how it is told in reports. subject: whose heart, for comparison alone, never told.
    split: TRAIN, VAL, TEST or "" where unknown. edited: whether it is said to be its subject's own clip, edited."""

    path: Path
    label: str
    subject: str
    split: str
    edited: bool = False


@dataclass(frozen=True)
class Opened:
    """A clip in the model's frame. frames: (T, 1, 112, 112) in [0, 1], black outside sector (112, 112) bool. patient:
    as a DICOM tells it, hashed, else ""."""

    frames: Tensor
    sector: Tensor
    fps: float
    patient: str = ""


@dataclass(frozen=True)
class Query:
    """A clip to be looked for. texture: (S, 56, 56) int8 in parts of `STEP`, of frames at `times` (S,) s. picked: which
    frames."""

    texture: Tensor
    times: Tensor
    picked: list[int]


@dataclass(frozen=True)
class Sketch:
    """What is remembered of a clip.

    owner: whose heart, as best known. pixels: hash of all its pixels, by which a cohort names a subject. thumbnail: (1,
    784) of its mean picture, features: (1, 1536) of the segmenter, both followed by its mirror image's where it is a
    query: (2, ...).
    """

    listed: Listed
    owner: str
    pixels: str
    thumbnail: Tensor
    features: Tensor
    query: Query | None


def list_clips(root: str | Path, kind: str) -> list[Listed]:
    """The clips of an EchoNet-Dynamic folder by its FileList.csv, else every clip of a folder, and of those in it, in
    name order.

    kind: "real" or "synthetic", before the number in a label. Raises DataError: no folder, nothing in it, an unreadable
    table.
    """
    from echokdm.io.folder import clip_files

    root = Path(root)
    if (root / "FileList.csv").is_file():
        return _from_table(root, kind)
    files = clip_files(
        root, f"The folder of {kind} clips", "name one with clips, or with FileList.csv and Videos", DataError
    )
    return [Listed(file, f"{kind} {number}", f"{kind} {number}", "") for number, file in enumerate(files, 1)]


def _from_table(root: Path, kind: str) -> list[Listed]:
    from echokdm.cohort.validate import EDITED, NAME, SPLITS, SUBJECT
    from echokdm.data.adapters.folder import read_table, safe
    from echokdm.data.adapters.problems import Problems

    problems = Problems(NAME)
    table = read_table(root / "FileList.csv", ["FileName"], problems, text=["FileName", "Split", SUBJECT, EDITED])
    if table is None:
        raise DataError(f"FileList.csv of the {kind} clips can't be read as a table with a column FileName; mend it.")
    if not safe(table["FileName"], problems).all():
        raise DataError(
            f"FileList.csv of the {kind} clips lists a name that is empty or leads out of its folder; mend it."
        )
    if table.empty:
        raise DataError(f"FileList.csv of the {kind} clips lists no clip; name a folder with clips.")
    clips = []
    for number, row in enumerate(table.to_dict("records"), 1):
        name = re.sub(r"\.avi$", "", row["FileName"], flags=re.IGNORECASE)
        label = name if kind == "synthetic" and OURS.fullmatch(name) else f"{kind} {number}"
        split = row.get("Split", "").upper()
        clips.append(
            Listed(
                root / "Videos" / f"{name}.avi",
                label,
                row.get(SUBJECT) or f"{kind} {name}",
                split if split in SPLITS else "",
                row.get(EDITED) == "1",
            )
        )
    return clips


def open_clip(path: Path, salt: str, shown: bool = False, known: "dict[Path, Found] | None" = None) -> Opened:
    """A clip in the model's frame. salt: under which DICOM clips of one patient are known to be so.

    shown: its pixels are put out. known: sectors found before, without their masks, by path; the clip's own is added.

    Raises ClipError, and PrintError where it is to be shown and print may lie over its sector.
    """
    from echokdm.deid.gate import search_print
    from echokdm.io import Sector, find_sector, read_clip

    if not path.exists():
        raise ClipError("It is listed, and its file is missing.")
    clip = read_clip(path, salt=salt)
    if known is not None and path in known:
        sector = Sector.drawn(*known[path], clip.size)
    else:
        sector = find_sector(clip)
        if known is not None:
            known[path] = sector.fan, sector.step, sector.limits
    if shown:
        search_print(clip, sector)
    return in_model_frame(clip, sector, clip.subject if clip.meta.get("format") == "dicom" else "")


def in_model_frame(clip: Clip, sector: "Sector | None" = None, patient: str = "") -> Opened:
    """A clip as `Opened`. sector: the clip's, where it was found before. Raises ClipError where there is none to
    find."""
    from echokdm.io import find_sector, to_model_frame

    model = to_model_frame(clip, sector or find_sector(clip))
    return Opened(model.clip.frames[:], torch.from_numpy(np.asarray(model.sector_mask, bool)), clip.fps, patient)


def sketch(listed: Listed, clip: Opened, pipeline: Any, query: bool) -> Sketch:
    """What an audit remembers of a clip; query: whether it will be looked for in others. Raises BundleError without a
    segmenter."""
    picked = pick_frames(len(clip.frames), QUERY_FRAMES)
    seen = texture(clip.frames[picked], clip.sector)
    small = F.avg_pool2d(blur(seen.mean(0)[None, None], 1.0), 2)[0, 0]
    few = picked[:: max(1, len(picked) // FEATURE_FRAMES)][:FEATURE_FRAMES]
    ways = (False, True) if query else (False,)
    thumbnails = [F.normalize((small.flip(-1) if mirrored else small).flatten(), dim=0) for mirrored in ways]
    features = [_features(pipeline, clip.frames[few], clip.sector, mirrored) for mirrored in ways]
    pixels = np.rint(clip.frames.numpy() * 255).astype(np.uint8)
    kept = (
        Query((seen * STEP).round().clamp(-127, 127).to(torch.int8), torch.tensor(picked) / clip.fps, picked)
        if query
        else None
    )
    return Sketch(
        listed,
        clip.patient or listed.subject,
        hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest(),
        torch.stack(thumbnails),
        torch.stack(features),
        kept,
    )


@torch.no_grad()
def _features(pipeline: Any, frames: Tensor, sector: Tensor, mirrored: bool) -> Tensor:
    """The segmenter's narrowest layer, 96 channels at 7 x 7, averaged over frames and pooled to 4 x 4: (1536,)."""
    segmenter = getattr(pipeline, "segmenter", None)
    if segmenter is None:
        raise BundleError(
            f"This bundle has no segmenter, whose features an audit compares; pass --bundle {defaults.AUDIT_BUNDLE}."
        )
    device, found = next(segmenter.parameters()).device, []
    shown, inside = (v.flip(-1) if mirrored else v for v in (frames, sector))
    handle = segmenter.unet.down_4.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        segmenter(shown.to(device), inside.to(device)[None, None].expand(len(frames), -1, -1, -1))
    finally:
        handle.remove()
    return F.adaptive_avg_pool2d(found[0].float().mean(0), 4).flatten().cpu()
