"""Count what leaks between what a method is shown and what it is asked for, over every adapter and phantom.

    python benchmarks/leaks.py [--draws 20]

A small folder is made for each adapter (`tests/small_sets.py`; with clips shorter than what is kept of them, frames
that come twice, and a clip that stands still), a few identities for each phantom. Of the training and the held-out
split, items of a target and one, two and three sources are drawn: in how many is the target one of its sources, or a
source met twice, pixel by pixel? In how many items of a picture and its exemplar of another subject are both the same?
How many subjects of the held-out part are learned from? Then the pairs that KDM's stages draw from its stores of
phantoms and clips; of its twins (`data/twins.py`) a share are a frame with itself on purpose, so they are not counted.
Bar: 0 of each.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from bars import Bars, machine  # noqa: E402
from small_sets import FOLDERS, keypoint_clips  # noqa: E402

from echokdm.core.errors import DataError  # noqa: E402
from echokdm.data.adapters import survey_adapters  # noqa: E402
from echokdm.data.clip_store import clip_store  # noqa: E402
from echokdm.data.frame_sets import FrameSets  # noqa: E402
from echokdm.data.frames import FrameData, FrameSource  # noqa: E402
from echokdm.data.pairs import phantom_store  # noqa: E402
from echokdm.data.posed import posed_store  # noqa: E402
from echokdm.data.store import ArrayStore  # noqa: E402

SIZE = 32  # px; frames are compared as they are kept
IDENTITIES = "3"
SOURCES = (1, 2, 3)
FOLDS = {"echonet-pediatric": {"split": "0", "held_out": "1"}}


def repeated(sets: FrameSets, draws: int) -> tuple[int, int]:
    """(items that show a frame twice, items), `draws` of each sequence or pair."""
    items = [sets[step, i] for step in range(draws) for i in range(len(sets))]
    return sum(len({frame.numpy().tobytes() for frame in item["frames"]}) < len(item["frames"]) for item in items), len(
        items
    )


def copied(sets: FrameSets, draws: int) -> tuple[int, int]:
    """(items whose exemplar is the target, items)."""
    items = [sets[step, i] for step in range(draws) for i in range(len(sets))]
    return sum(bool((item["frames"][0] == item["other_frames"]).flatten(1).all(1).any()) for item in items), len(items)


def check_adapter(bars: Bars, name: str, root: str, cache: Path, draws: int) -> None:
    """The verdicts of one data set."""
    source = FrameSource(FrameData(adapter=name, root=root, cache=str(cache), **FOLDS.get(name, {})), SIZE, 0)
    twice, items, most = 0, 0, 0
    for count in SOURCES:
        try:
            for sets in (source.train(1 + count, 0), source.held_out(1 + count, 1)):
                found = repeated(sets, draws)
                twice, items, most = twice + found[0], items + found[1], count
        except DataError:  # its sequences have no more frames that differ
            break
    what = f"up to {most} sources" if most else "single pictures, no pairs"
    bars.check(f"{name}: items that show a frame twice", twice == 0, f"{twice} of {items} ({what})", "0")
    copies = items = 0
    for part in (source.train, source.held_out):
        try:
            found = copied(part(1, 0, others=1), draws)
            copies, items = copies + found[0], items + found[1]
        except DataError:  # one subject alone, and no list of examples
            pass
    bars.check(f"{name}: exemplars that are the target", copies == 0, f"{copies} of {items}", "0")
    learned, held = (set(part(1, 0).subjects.tolist()) for part in (source.train, source.held_out))
    bars.check(
        f"{name}: held-out subjects that are learned from",
        not learned & held,
        f"{len(learned & held)} of {len(held)}",
        "0",
    )


def check_store(bars: Bars, name: str, store: ArrayStore) -> None:
    """Pairs of one store that are a frame with itself."""
    same = sum(
        np.array_equal(store["image"][row, target], store["image"][row, source])
        for row in range(store.count)
        for target, source in store["pair"][row]
    )
    bars.check(f"{name}: pairs of a frame with itself", same == 0, f"{same} of {store['pair'][..., 0].size}", "0")


def main() -> int:
    """Make the folders, draw, print the verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--draws", type=int, default=20, help="items of each sequence or pair, split and number of sources; default 20"
    )
    draws = options.parse_args().draws
    print(machine())
    bars, left_out = Bars(), []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for plugin in survey_adapters():
            phantom = plugin.name.startswith("phantom-")
            if plugin.value is None or not (phantom or plugin.name in FOLDERS):
                left_out.append(plugin.name)
                continue
            root = IDENTITIES if phantom else str(FOLDERS[plugin.name](base / plugin.name))
            check_adapter(bars, plugin.name, root, base / "cache", draws)
        check_store(bars, "KDM, hearts", phantom_store(base / "hearts", 8, 112))
        for kind in ("face", "body"):
            check_store(bars, f"KDM, {kind}", posed_store(base / kind, kind, 8, SIZE))  # type: ignore[arg-type]
        for frames in (3, 12):
            made = keypoint_clips(base / f"clips{frames}", 8, frames)
            check_store(bars, f"KDM, clips of {frames} frames", clip_store(base / f"store{frames}", made, "TRAIN", 112))
    bars.check("adapters left out", not left_out, ", ".join(left_out) or "none", "none")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
