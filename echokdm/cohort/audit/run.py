"""Does a synthetic cohort give its patients away? Copies of real clips, and patients in two splits.

A clip that is made from one frame of a patient looks like that patient's clip by design: what stands still in it is the
same. A copy moves alike too. So a clip counts as a copy by its motion agreement, the correlation of what changes from
frame to frame after both clips were aligned in space and time, and not by its likeness. A clip that was edited moves as
its source does, by design too: where its source is known, it is compared with all other patients alone.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from echokdm.cohort.audit.clips import Listed, Opened, Sketch, list_clips, open_clip, sketch
from echokdm.cohort.audit.controls import disguise
from echokdm.cohort.audit.leaks import COPIED, HELD_OUT, SAME_HEART, split_leaks
from echokdm.cohort.audit.result import COPY, PAIRS, Audit, CopyTest, Picture, copy_test
from echokdm.cohort.audit.search import CANDIDATES, Likeness, nearest, search
from echokdm.core import defaults
from echokdm.core.errors import DataError, EchoKDMError, PrintError
from echokdm.echo.bundle import Bundle, Progress, load_pipeline, quiet, weights_hash
from echokdm.ops.clip_alignment import Match

CONTROLS = 20  # copies that the audit plants itself
REFERENCE = 500  # real clips, at most, whose distance to other patients is measured
SHOWN = 6  # pairs as pictures

Open = Callable[..., Opened]  # `open_clip`, of a path and whether it is shown


def audit_cohort(
    real: str | Path,
    synth: str | Path,
    *,
    bundle: Bundle = defaults.AUDIT_BUNDLE,
    device: str = defaults.DEVICE,
    progress: Progress = quiet,
) -> Audit:
    """Compare every clip of the folder `synth` with the real clips of `real`.

    Each folder is in EchoNet-Dynamic's layout or any folder of clips. The reference is what real clips of VAL and TEST
    have in common with TRAIN's or, without splits, each patient's with the others'. bundle: whose segmenter gives the
    features. Memory grows by 0.1 MB a synthetic clip and 20 KB a real one, which is read twice.
    Raises DataError (no folder, nothing readable, one patient alone, twice the same folder), BundleError, ConfigError.
    """
    listed = list_clips(real, "real"), list_clips(synth, "synthetic")
    if Path(real).resolve() == Path(synth).resolve():
        raise DataError("The real and the synthetic folder are the same one; name two.")
    pipeline = load_pipeline(bundle, device, progress)
    # The salt tells patients of DICOM files apart, in this run alone.
    open_file: Open = partial(open_clip, salt=secrets.token_hex(16), known={})
    splits = {clip.split for clip in listed[0]}
    held_out = "TRAIN" in splits and bool(splits & set(HELD_OUT))
    compared = set(
        _spread([i for i, clip in enumerate(listed[0]) if not held_out or clip.split in HELD_OUT], REFERENCE)
    )
    controls: list[Sketch] = []

    def remember(place: int, item: Listed, clip: Opened) -> Sketch:
        if len(controls) * len(listed[0]) < CONTROLS * (place + 1):  # evenly spread over those that can be read
            controls.append(sketch(item, disguise(clip, len(controls)), pipeline, True))
        return sketch(item, clip, pipeline, place in compared)

    reals, lost = _read(listed[0], "real", open_file, remember, progress)
    owners = np.array([clip.owner for clip in reals])
    if len(set(owners)) < 2:
        raise DataError(
            "The real folder holds clips of one patient alone, and an audit compares patients; name a folder with more."
        )
    fakes, unread = _read(
        listed[1], "synthetic", open_file, lambda _, item, clip: sketch(item, clip, pipeline, True), progress
    )
    sources = _sources(fakes, reals)

    reference = [clip for clip in reals if clip.query]
    pool = np.array([not held_out or clip.listed.split == "TRAIN" for clip in reals])
    strangers = [pool & (owners != sources.get(clip.owner, "")) for clip in fakes] + [
        pool & (owners != clip.owner) for clip in reference
    ]
    own = [owners == sources.get(clip.owner, "") for clip in fakes]
    queries, likeness = [*fakes, *reference, *controls], Likeness(reals)
    wanted = [likeness.candidates(query, group) for query, group in zip([*fakes, *reference], strangers, strict=True)]
    wanted += [likeness.candidates(query, np.ones(len(reals), bool)) for query in controls]
    for i, query in enumerate(fakes):
        wanted[i] |= likeness.candidates(query, ~pool & ~own[i])
        if not (query.listed.edited and own[i].any()):
            wanted[i] |= likeness.candidates(query, own[i])
    matches = search(
        queries,
        wanted,
        lambda place: open_file(reals[place].listed.path),
        lambda done, count: progress(f"Comparing with real clip {done} of {count}"),
    )

    rows = [
        _row(queries[i], matches[i], reals, likeness, group, own[i] if i < len(fakes) else None)
        for i, group in enumerate(strangers)
        if matches[i]
    ]
    pairs, others = (pd.DataFrame(part, columns=PAIRS) for part in (rows[: len(fakes)], rows[len(fakes) :]))
    found = np.array([match[nearest(match)].motion for match in matches[len(strangers) :]])
    known = sum(clip.owner in sources for clip in fakes)
    record = {
        "real_clips": len(reals),
        "real_patients": len(set(owners)),
        "real_clips_unread": len(lost),
        "synthetic_clips": len(fakes),
        "synthetic_clips_of_known_source": known,
        "edited_clips": sum(clip.listed.edited for clip in fakes),
        "edited_clips_of_known_source": sum(clip.listed.edited and clip.owner in sources for clip in fakes),
        "reference_clips": len(others),
        "reference": "VAL and TEST against TRAIN"
        if held_out
        else "each patient against all others, as there is no held-out split",
        "copy_from_motion_agreement": COPY,
        "candidates_per_clip": f"{CANDIDATES} by pixels and {CANDIDATES} by features",
        "planted_copies": len(found),
        "bundle": pipeline.bundle_name,
        "weights_sha256": weights_hash(pipeline),
    }
    return Audit(
        pairs,
        others,
        split_leaks(reals, fakes, sources) | _copied_across(pairs, others),
        _tests(pairs, others),
        unread,
        found,
        _pictures(pairs, fakes, matches, reals, open_file),
        record,
    )


def _spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    return [places[round(i)] for i in np.linspace(0, len(places) - 1, min(most, len(places)))]


def _read(
    listed: Sequence[Listed],
    kind: str,
    open_file: Open,
    remember: Callable[[int, Listed, Opened], Sketch],
    progress: Progress,
) -> tuple[list[Sketch], list[str]]:
    """What is remembered of each clip, and the labels of those that can't be read. Raises DataError where none can."""
    clips, unread = [], []
    for place, item in enumerate(listed):
        progress(f"Reading {kind} clip {place + 1} of {len(listed)}")
        try:
            opened = open_file(item.path)
        except EchoKDMError:
            unread.append(item.label)
            continue
        clips.append(remember(place, item, opened))
    if not clips:
        raise DataError(f"None of the {len(unread)} {kind} clips can be read; name a folder of echo clips.")
    return clips, unread


def _sources(fakes: Sequence[Sketch], reals: Sequence[Sketch]) -> dict[str, str]:
    """Owner of a synthetic clip -> owner of real clips: `augment` names a subject by its first clip's pixels, others by
    the same name."""
    by_pixels, owners = {clip.pixels: clip.owner for clip in reals}, {clip.owner for clip in reals}
    found = {clip.owner: by_pixels.get(clip.owner, clip.owner) for clip in fakes}
    return {owner: source for owner, source in found.items() if source in owners}


def _row(
    clip: Sketch,
    matches: dict[int, Match],
    reals: Sequence[Sketch],
    likeness: Likeness,
    strangers: np.ndarray,
    own: np.ndarray | None,
) -> list[Any]:
    """The values of `PAIRS` for one clip. strangers, own: which real clips (R,) are other patients' in the pool, and
    its source's."""
    features = likeness.features(clip)
    best = nearest(matches)
    match, theirs = matches[best], reals[best].listed
    other = {place: found for place, found in matches.items() if strangers[place]}
    closest = max(other, key=lambda place: other[place].appearance) if other else None
    beside = (
        [None, None, None, None]
        if closest is None
        else [
            reals[closest].listed.label,
            other[closest].motion,
            1 - other[closest].appearance,
            1 - float(features[strangers].max()),
        ]
    )
    source = "unknown" if own is None or not own.any() else "yes" if own[best] else "no"
    return [
        clip.listed.label,
        clip.listed.split,
        clip.listed.edited,
        match.motion >= COPY,
        theirs.label,
        theirs.split,
        source,
        match.motion,
        1 - match.appearance,
        1 - float(features[best]),
        match.placement.mirrored,
        *beside,
    ]


def _copied_across(pairs: pd.DataFrame, reference: pd.DataFrame) -> dict[str, list[str]]:
    """Leaks that only the clips themselves tell."""
    across = pairs[pairs["copy"] & (pairs["split"] == "TRAIN") & pairs["nearest_split"].isin(HELD_OUT)]
    same = reference[reference["other_motion_agreement"] >= COPY]
    found = {
        COPIED: list(across["clip"]),
        SAME_HEART: [f"{a} and {b}" for a, b in zip(same["clip"], same["other_patient"], strict=True)],
    }
    return {kind: labels for kind, labels in found.items() if labels}


def _tests(pairs: pd.DataFrame, reference: pd.DataFrame) -> list[CopyTest]:
    """C_T in both spaces, of distances to other patients than a clip's own."""
    spaces = ("pixels", "other_pixel_distance"), ("features", "other_feature_distance")
    values = [
        (space, *(table[column].dropna().to_numpy(float) for table in (pairs, reference))) for space, column in spaces
    ]
    return [copy_test(space, ours, theirs) for space, ours, theirs in values if len(ours) and len(theirs)]


def _pictures(
    pairs: pd.DataFrame,
    fakes: Sequence[Sketch],
    matches: Sequence[dict[int, Match]],
    reals: Sequence[Sketch],
    open_file: Open,
) -> list[Picture]:
    made = []
    for place in pairs["motion_agreement"].sort_values(ascending=False, kind="stable").index[:SHOWN]:
        query, best = fakes[place].query, nearest(matches[place])
        assert query is not None
        match = matches[place][best]
        chosen = _spread(range(len(query.picked)), 8)
        synthetic = _shown(fakes[place].listed.path, open_file, [query.picked[k] for k in chosen])[:, 0]
        real = _shown(reals[best].listed.path, open_file, [match.frames[k] for k in chosen])
        laid = match.placement.at(2).apply(synthetic).clamp(0, 1)[:, None]
        row = pairs.loc[place]
        title = (
            f"{row['clip']} and {row['nearest']}: motion agreement {match.motion:.2f}, pixel distance {1 - match.appearance:.2f}"
            f"{', a copy' if row['copy'] else ''}{', made from this patient' if row['from_own_source'] == 'yes' else ''}"
        )
        made.append(Picture(title, row["clip"], row["nearest"], laid, real))
    return made


def _shown(path: Path, open_file: Open, picked: list[int]) -> Tensor:
    """Frames (K, 1, 112, 112) of a clip for a picture; black where print may lie over its sector."""
    try:
        return open_file(path, shown=True).frames[picked]
    except PrintError:
        return torch.zeros(len(picked), 1, defaults.FRAME_SIZE, defaults.FRAME_SIZE)
