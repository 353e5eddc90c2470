"""Patients and clips that are in two splits: inside the real set, inside the synthetic one, and from one to the
other."""

from collections.abc import Mapping, Sequence

from echokdm.cohort.audit.clips import Sketch

HELD_OUT = ("VAL", "TEST")

TWO_SPLITS = "{} patients with clips in two splits"
IDENTICAL = "{} clips that are identical to one of another split"
TRAINED = "synthetic TRAIN clips made from a patient of the real VAL or TEST split"
TESTED = "synthetic VAL or TEST clips made from a patient of the real TRAIN split"
COPIED = "synthetic TRAIN clips that copy a real clip of the VAL or TEST split"
SAME_HEART = "real clips that copy a clip of another patient"


def split_leaks(
    real: Sequence[Sketch], synthetic: Sequence[Sketch], sources: Mapping[str, str]
) -> dict[str, list[str]]:
    """Labels of the clips concerned by each kind of leak. sources: owner of a synthetic clip -> the real clips' owner,
    where known."""
    found: dict[str, list[str]] = {}
    for kind, clips in (("real", real), ("synthetic", synthetic)):
        found[TWO_SPLITS.format(kind)] = _in_two_splits(clips, [clip.owner for clip in clips])
        found[IDENTICAL.format(kind)] = _in_two_splits(clips, [clip.pixels for clip in clips])
    splits: dict[str, set[str]] = {}
    for clip in real:
        splits.setdefault(clip.owner, set()).add(clip.listed.split)
    found[TRAINED], found[TESTED] = [], []
    for clip in synthetic:
        theirs = splits.get(sources.get(clip.owner, ""), set())
        if clip.listed.split == "TRAIN" and theirs & set(HELD_OUT):
            found[TRAINED].append(clip.listed.label)
        if clip.listed.split in HELD_OUT and "TRAIN" in theirs:
            found[TESTED].append(clip.listed.label)
    return {kind: labels for kind, labels in found.items() if labels}


def _in_two_splits(clips: Sequence[Sketch], groups: Sequence[str]) -> list[str]:
    """One line a group whose clips are in more than one split: their labels."""
    members: dict[str, list[Sketch]] = {}
    for clip, group in zip(clips, groups, strict=True):
        members.setdefault(group, []).append(clip)
    return [
        " and ".join(f"{clip.listed.label} ({clip.listed.split})" for clip in same)
        for same in members.values()
        if len({clip.listed.split for clip in same if clip.listed.split}) > 1
    ]
