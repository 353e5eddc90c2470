"""The stage `keypoints`: kept clips to an EchoNet-Dynamic folder with 40 key-points in every frame."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from echokdm.cohort.folder import CohortFolder, labels_of
from echokdm.cohort.plan import Source, read_sources, split_subjects
from echokdm.core.errors import ClipError, ConfigError
from echokdm.core.naming import called
from echokdm.io.atomic import atomic_file
from echokdm.pipeline.ingest import kept_clips
from echokdm.pipeline.options import Keypoints
from echokdm.pipeline.records import Figures
from echokdm.pipeline.work import Work

COLUMNS = ("id", "clip", "file", "subject", "split", "frames", "ef", "low", "high", "reason")
POINTS = "Keypoints"
SPLITS = {"train": "TRAIN", "val": "VAL", "valid": "VAL", "validation": "VAL", "test": "TEST"}


def find_keypoints(work: Work) -> Figures:
    """Videos/, FileList.csv, VolumeTracings.csv and manifest.csv of the clips in which a ventricle was found;
    Keypoints/<id>.npz holds keypoints (T, 40, 2) px of the frame of S px that the bundle draws, found (T,), sector (S,
    S), image (T, S, S) uint8, searched, see `ingest`, and, where the bundle can tell, confidence (T,).

    Raises ClipError where no clip can be used.
    """
    from echokdm.echo.derive import load_pipeline
    from echokdm.methods.bundle import bundle_hash, find_bundle

    options = work.step.options
    assert isinstance(options, Keypoints)
    ingested = Path(work.reads["clips"])
    clips = kept_clips(ingested)
    names = [clip["clip"] for clip in clips]
    splits = _splits(clips, options.split, work.seed)
    record = {
        "real": True,
        "fingerprint": work.step.fingerprint,
        "bundle_sha256": bundle_hash(find_bundle(work.reads["bundle"])),
    }
    folder = CohortFolder(work.folder, record, COLUMNS)
    if not folder.begin():
        pipeline = load_pipeline(work.reads["bundle"], work.device)
        for clip in work.track(clips, len(clips), "finding key-points"):
            if folder.part(clip["clip"]) is None:
                _one(folder, clip, splits[clip["subject"]], ingested, pipeline)
        folder.merge(names)
    table = read_table(work.folder)
    used = table[table["reason"] == ""]
    if used.empty:
        raise ClipError(
            f"A ventricle that moves was found in none of the {len(table)} clips; the first: {table['reason'].iloc[0]}"
        )
    work.say(f"{len(used)} of {len(table)} clips have key-points")
    return {
        "clips": len(used),
        "subjects": used["subject"].nunique(),
        "without a ventricle": len(table) - len(used),
        "mean EF, percent": round(float(used["ef"].mean()), 1),
        **{f"clips in {split}": int(count) for split, count in used["split"].value_counts().sort_index().items()},
    }


def read_table(folder: Path) -> pd.DataFrame:
    """manifest.csv of this stage. Raises ConfigError where the folder is no result of it."""
    try:
        table = pd.read_csv(folder / "manifest.csv", dtype={"id": str, "subject": str, "reason": str, "file": str})
        return table.fillna({"reason": ""})[list(COLUMNS)]
    except (OSError, KeyError, ValueError):
        raise ConfigError(
            f"{called('The folder', folder)} holds no clips with key-points: name a stage of kind keypoints."
        ) from None


def read_keypointed(folder: Path, splits: tuple[str, ...]) -> list[Source]:
    """The sources of a cohort: the clips of some splits, their key-points known. Raises ConfigError where there is
    none."""
    table = read_table(folder)
    rows = table[(table["reason"] == "") & table["split"].isin(splits)]
    if rows.empty:
        raise ConfigError(
            f"No clip with key-points is in the split {' or '.join(splits)}: change the shares of the stage keypoints."
        )
    sources = []
    for row in rows.itertuples():
        with np.load(folder / POINTS / f"{row.id}.npz", allow_pickle=False) as arrays:
            sources.append(
                Source(
                    (folder / row.file).resolve(),
                    int(row.clip),
                    arrays["keypoints"],
                    arrays["found"],
                    row.subject,
                    float(row.ef),
                    (float(row.low), float(row.high)),
                    confidence=arrays.get("confidence"),
                    searched=bool(arrays["searched"]),
                    size=len(arrays["sector"]),
                )
            )
    return sources


def _splits(clips: list[dict[str, str]], shares: str, seed: int) -> dict[str, str]:
    """Each subject's split: the data set's own, or drawn."""
    own = {clip["subject"]: SPLITS.get(clip["split"].lower(), "") for clip in clips}
    drawn = split_subjects(sorted({subject for subject, split in own.items() if not split}), shares, seed)
    return {subject: split or drawn[subject] for subject, split in own.items()}


def _one(folder: CohortFolder, clip: dict[str, str], split: str, ingested: Path, pipeline: Any) -> None:
    """A clip's video, labels and key-points, then its part; a part alone where no ventricle was found."""
    name, file = clip["clip"], ingested / clip["file"]
    # One patient's clips share a subject, which says nothing of the patient but that.
    subject = hashlib.blake2b(clip["subject"].encode(), digest_size=8, person=b"echokdm-real").hexdigest()
    row: dict[str, Any] = {
        "id": name,
        "clip": int(name[1:]),
        "file": Path(os.path.relpath(file, folder.root)).as_posix(),
        "subject": subject,
        "split": split,
        "frames": int(clip["frames"]),
        "ef": None,
        "low": None,
        "high": None,
        "reason": "",
    }
    try:
        # The stage before has searched it, or was told not to.
        source = read_sources([file], pipeline, allow_print=True)[0][0]
        source = dataclasses.replace(source, subject=subject, searched=clip["searched"] == "1")
    except ClipError as error:
        folder.finish_clip(name, row | {"reason": str(error)})
        return
    derived = source.open()
    model = derived.model.clip
    labels = labels_of(derived.keypoints, derived.ed, derived.es, model.spacing_mm)
    with atomic_file(folder.root / POINTS / f"{name}.npz") as temporary, temporary.open("wb") as target:
        sure: dict[str, Any] = {} if source.confidence is None else {"confidence": source.confidence}
        image = np.rint(model.frames[:][:, 0].numpy() * 255).astype(np.uint8)
        np.savez_compressed(
            target,
            keypoints=source.keypoints,
            found=source.found,
            searched=source.searched,
            sector=derived.model.sector_mask,
            image=image,
            **sure,
        )
    row |= {"ef": source.ef, "low": source.limits[0], "high": source.limits[1]}
    folder.finish_clip(name, row, model, labels, split, subject)
