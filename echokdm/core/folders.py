"""What lies in a folder, by names alone; and which of it, at any depth, is to be a clip: one answer for every command
and data set."""

import os
from collections.abc import Iterator
from pathlib import Path

IMAGES = (".png", ".jpg", ".jpeg")
BESIDE = (".csv", ".txt", ".md", ".json", ".html", ".pdf", ".xml", ".yaml")
"""Endings of what may lie beside clips without being one."""

OUTLINES, WRITTEN = "keypoints.csv", "-keypoints"
"""What `echokdm keypoints` writes; and how the folder's name ends after a clip's, so that beside it it is known for
that clip's."""

_WRITTEN = (
    {OUTLINES, "measures.json"},
    {OUTLINES, "run.json"},
    {"generated.mp4", "run.json"},
    {"manifest.csv", "run.json"},
    {"cohort-parts"},
)
"""What lies together in folders that keypoints, synth, generate and augment write, the last of them half done too."""


def listing(folder: Path) -> dict[str, bool]:
    """Names in a folder, sorted, without hidden ones -> whether each is a folder; empty where there is no such
    folder."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except OSError:
        return {}
    return dict(sorted(found.items()))


def candidates(folder: Path) -> Iterator[Path]:
    """Files that are to be clips, by their names alone, and folders that hold nothing but pictures, at any depth in
    order of their names.

    Linked folders are not entered, since they may loop, nor are those that `echokdm` wrote, an output of this very
    command among them.
    """
    for name, is_folder in listing(folder).items():
        path = folder / name
        if not is_folder:
            if not name.lower().endswith(BESIDE):
                yield path
        elif is_written(path):
            continue
        elif is_frames(path):
            yield path
        elif not path.is_symlink():
            yield from candidates(path)


def is_frames(folder: Path) -> bool:
    """Whether a folder holds pictures and nothing else."""
    entries = listing(folder)
    return bool(entries) and all(not is_folder and name.lower().endswith(IMAGES) for name, is_folder in entries.items())


def is_written(folder: Path) -> bool:
    """Whether `echokdm` made the folder's clips and masks, which are no source."""
    there = listing(folder).keys()
    return OUTLINES in there and folder.name.endswith(WRITTEN) or any(there >= marks for marks in _WRITTEN)
