"""What a method learns from and is scored on: no frame twice in an item, directions kept, nobody in training and held
out at once."""

import functools
import zlib
from pathlib import Path

import numpy as np
import pytest
import small_sets
import torch

from echokdm.core.errors import DataError
from echokdm.data.frames import FrameData, FrameSource, fit_square
from echokdm.data.splits import HELD_OUT_SHARE, held_out_rows, training_rows

SIZE = 16
OPTIONAL = {"kitti": "h5py", "shapenet-chairs": "h5py", "camus": "nibabel"}


def source_of(adapter: str, root: Path, cache: Path, **settings) -> FrameSource:
    return FrameSource(FrameData(adapter=adapter, root=str(root), cache=str(cache), **settings), SIZE, 0)


def drawn(sets, steps: int = 6) -> list[dict]:
    return [sets[step, i] for step in range(steps) for i in range(len(sets))]


def repeats(items: list[dict]) -> int:
    """How many items show a frame twice."""
    return sum(len({frame.numpy().tobytes() for frame in item["frames"]}) < len(item["frames"]) for item in items)


@pytest.mark.parametrize(
    ("adapter", "count"),
    [
        ("deepfashion", 2),
        ("deepfashion", 4),
        ("market-1501", 3),
        ("ixmas", 2),
        ("ixmas", 3),
        ("voxceleb", 2),
        ("shapenet-chairs", 4),
        ("phantom-face", 4),
    ],
)
def test_no_frame_is_met_twice_in_an_item(adapter: str, count: int, tmp_path: Path) -> None:
    """With 8 frames kept, though the folders' sequences have 2 to 5, and some of their frames are alike."""
    pytest.importorskip(OPTIONAL.get(adapter, "numpy"))
    root = Path("1") if adapter.startswith("phantom") else small_sets.FOLDERS[adapter](tmp_path / "data")
    source = source_of(adapter, root, tmp_path / "cache")
    learned, held = drawn(source.train(count, 1)), drawn(source.held_out(count, 2))
    assert learned and held and repeats(learned) == repeats(held) == 0


@pytest.mark.parametrize("adapter", ["deepfashion", "market-1501"])
def test_listed_pairs_keep_their_direction(adapter: str, tmp_path: Path) -> None:
    """Each held-out pair comes once, `to` made of `from`; in training nothing is made into picture 0 of anybody, as the
    table says."""
    from echokdm.data.adapters import find_adapter

    root = small_sets.FOLDERS[adapter](tmp_path / "data")
    source, reader = source_of(adapter, root, tmp_path / "cache"), find_adapter(adapter)
    index = reader.index(root)
    sets, listed = (
        source.held_out(2, 0),
        index[index["split"] == "test"].sort_values("subject", kind="stable").to_dict("records"),
    )
    assert len(sets) == len(listed) == 18 and sets.directed
    assert sets.subjects.tolist() == [zlib.crc32(row["subject"].encode()) for row in listed]
    for i in (0, 4, 11, 17):
        begin, end = fit_square(reader.read(listed[i]).frames, SIZE)[0]
        target, given = sets[5, i]["frames"]
        assert (
            (target - end).abs().max() < 0.003
            and (given - begin).abs().max() < 0.003
            and (begin - end).abs().max() > 0.1
        )
    targets = {round(item["frames"][0].mean().item(), 4) for item in drawn(source.train(2, 3), 10)}
    assert len(targets) == 2 * 3  # of two people with four pictures


def test_further_sources_are_the_same_persons_other_pictures(tmp_path: Path) -> None:
    source = source_of("deepfashion", small_sets.deepfashion(tmp_path / "data"), tmp_path / "cache")
    pairs, triples = source.held_out(2, 0), source.held_out(4, 0)
    assert len(triples) == len(pairs) == 18
    for i in (0, 7, 17):
        assert torch.equal(triples[0, i]["frames"][:2], pairs[0, i]["frames"])
        everything = {
            f.numpy().tobytes()
            for j in range(18)
            if pairs.subjects[j] == pairs.subjects[i]
            for f in pairs[0, j]["frames"]
        }
        assert {f.numpy().tobytes() for f in triples[0, i]["frames"]} == everything
    with pytest.raises(DataError, match="5 different frames"):
        source.held_out(5, 0)


def test_a_picture_listed_as_its_own_source_is_passed_over(tmp_path: Path) -> None:
    root = small_sets.deepfashion(tmp_path / "data")
    with (root / "fasion-pairs-test.csv").open("a") as file:
        file.write("fashionWOMENDressesid0000000201_1front.jpg,fashionWOMENDressesid0000000201_1front.jpg\n")
    assert len(source_of("deepfashion", root, tmp_path / "cache").held_out(2, 0)) == 18


def test_key_points_and_what_is_short_or_still(tmp_path: Path) -> None:
    """Key-points go with their pictures; a clip that stands still has no pair, one whose frames come twice has no pair
    of twins."""
    item = source_of("market-1501", small_sets.market(tmp_path / "people"), tmp_path / "cache").held_out(3, 0)[0, 0]
    assert item["keypoints"].shape == (3, 18, 2) and item["keypoints"].isfinite().all()
    source = source_of("voxceleb", small_sets.motion(tmp_path / "motion"), tmp_path / "cache")
    assert len(source.held_out(1, 0)) == 3 and len(source.held_out(2, 0)) == 2 and len(source.held_out(3, 0)) == 1
    still = tmp_path / "still"
    for split in ("train", "test"):
        for k in range(3):
            small_sets.picture(still / split / f"{split}#1" / f"{k}.png", 1, 32, 32)
    with pytest.raises(DataError, match="2 different frames"):
        source_of("voxceleb", still, tmp_path / "cache").train(2, 0)


@pytest.mark.parametrize("adapter", sorted(small_sets.FOLDERS))
def test_nobody_is_both_learned_from_and_held_out(adapter: str, tmp_path: Path) -> None:
    pytest.importorskip(OPTIONAL.get(adapter, "numpy"))
    from echokdm.data.adapters import find_adapter

    root = small_sets.FOLDERS[adapter](tmp_path / "data")
    index = find_adapter(adapter).index(root)
    splits = ("0", "1") if adapter == "echonet-pediatric" else ("train", "test")
    learned, held = training_rows(index, *splits), held_out_rows(index, *splits)
    assert len(learned) and len(held) and not set(learned["subject"]) & set(held["subject"])
    if set(index["split"]) == {"all"}:
        assert len(learned) + len(held) == len(index)


def test_subjects_without_splits_stay_where_they_are(tmp_path: Path) -> None:
    """Told by each one's name alone: other subjects beside it change nothing, and the share is about what it says."""
    import pandas as pd

    def index_of(count: int, splits: str = "all") -> pd.DataFrame:
        return pd.DataFrame(
            {"sequence": range(2 * count), "subject": [f"s{k // 2}" for k in range(2 * count)], "split": splits}
        )

    few, many = (set(held_out_rows(index_of(count), "train", "test")["subject"]) for count in (300, 1000))
    assert few == {subject for subject in many if int(subject[1:]) < 300}
    assert abs(len(many) / 1000 - HELD_OUT_SHARE) < 0.04
    for count in (2, 3, 5):
        assert 0 < len(held_out_rows(index_of(count), "train", "test")) < 2 * count
    assert len(training_rows(index_of(1), "train", "test")) == 2
    with pytest.raises(DataError, match="one subject alone"):
        held_out_rows(index_of(1), "train", "test")
    half = pd.concat([index_of(2), index_of(4, "test")[4:]])
    assert set(training_rows(half, "train", "test")["subject"]) == {"s0", "s1"}
    assert set(held_out_rows(half, "train", "test")["subject"]) == {"s2", "s3"}
    both = pd.concat([half, index_of(6, "train")[8:]])
    # what is in neither list is in neither part
    assert set(training_rows(both, "train", "test")["subject"]) == {"s4", "s5"}


@pytest.mark.parametrize(
    "splits", [{"split": "train", "held_out": "train"}, {"split": "all"}, {"split": "all", "held_out": "all"}]
)
def test_a_held_out_set_that_was_learned_from_is_refused(splits: dict, tmp_path: Path) -> None:
    source = source_of("market-1501", small_sets.market(tmp_path / "data"), tmp_path / "cache", **splits)
    assert len(source.train(2, 0)) == (36 if splits["split"] == "all" else 18)
    with pytest.raises(DataError, match="also in the training split|nothing in the split 'all'"):
        source.held_out(2, 0)


def test_evaluate_refuses_what_was_learned_from(tmp_path: Path) -> None:
    """A bundle that learned from every row says so in its configuration, and no part of them measures it."""
    import yaml

    from echokdm.evaluation.run import evaluate
    from echokdm.methods.train import train_config

    root = small_sets.ixmas(tmp_path / "data")
    tiny = {
        "points": 4,
        "downscale": 2,
        "keypoint_widths": [8, 8],
        "motion_widths": [8, 8],
        "field_width": 8,
        "solver": "euler",
        "solver_steps": 1,
        "appearance_widths": [8, 8],
        "generator_width": 8,
        "generator_widest": 8,
        "generator_downs": 1,
        "generator_blocks": 1,
        "steps": 1,
        "batch": 1,
        "references": 0,
        "fewest_references": 0,
        "backbone": "own",
        "scales": [1],
    }
    values = {
        "method": "evolution",
        "name": "tiny",
        "size": 32,
        "animator": tiny,
        "data": {"adapter": "ixmas", "root": str(root), "frames": 3, "cache": str(tmp_path / "cache"), "split": "all"},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    bundle = train_config(tmp_path / "tiny.yaml", out=tmp_path / "run")
    with pytest.raises(DataError, match="also in the training split"):
        evaluate(bundle, f"ixmas:{root}", show=False)


@pytest.mark.parametrize("frames", [2, 4, 9])
def test_pairs_of_real_clips_are_of_two_moments(frames: int, tmp_path: Path) -> None:
    """`clip_store` draws each frame once; a clip that has fewer than it keeps has pairs of those alone."""
    from echokdm.core.errors import ConfigError
    from echokdm.data.clip_store import clip_store

    store = clip_store(tmp_path / "store", small_sets.keypoint_clips(tmp_path, 6, frames), "TRAIN", 112)
    for row in range(6):
        for target, source in store["pair"][row]:
            assert not np.array_equal(store["image"][row, target], store["image"][row, source])
    with np.load(tmp_path / "Keypoints" / "c0.npz") as first:
        still = {name: first[name] for name in ("keypoints", "sector")} | {
            "image": first["image"][:1].repeat(frames, 0)
        }
    np.savez(tmp_path / "Keypoints" / "c0.npz", **still)
    with pytest.raises(ConfigError, match="no motion to learn"):
        clip_store(tmp_path / "again", tmp_path, "TRAIN", 112)


def test_celeba_hq_has_no_two_pictures_of_one_face(tmp_path: Path) -> None:
    source = source_of("celeba-hq", small_sets.conditioned(tmp_path / "data", conditions=False), tmp_path / "cache")
    assert len(source.train(1, 0)) + len(source.held_out(1, 0)) == 6
    with pytest.raises(DataError, match="2 different frames"):
        source.train(2, 0)


@functools.cache
def pictures_of(root: Path) -> dict[int, torch.Tensor]:
    """The 24 pictures of `small_sets.conditioned` at the tests' size."""
    from echokdm.io.read import read_clip

    return {k: fit_square(read_clip(root / "images" / f"{k}.png").frames[:], SIZE)[0][0] for k in range(24)}


def picture_numbers(frames: torch.Tensor, root: Path) -> list[int]:
    """Which of those pictures these frames are, mirrored or not."""
    known = pictures_of(root)
    return [
        min(known, key=lambda k: min(float((known[k] - side).abs().mean()) for side in (frame, frame.flip(-1))))
        for frame in frames
    ]


def test_examples_are_of_other_subjects_and_those_listed_come_first(tmp_path: Path) -> None:
    """Of 24 pictures k has the examples k + 1 and k + 2, held-out ones too; training never shows a held-out picture."""
    root = small_sets.conditioned(tmp_path / "data", 24)
    source = source_of("lsun-churches", root, tmp_path / "cache")
    held = source.held_out(1, 0, others=2)
    asked = [picture_numbers(held[3, i]["frames"], root)[0] for i in range(len(held))]
    assert 2 <= len(held) < 12 and len(set(asked)) == len(held)
    for i, k in enumerate(asked):
        assert picture_numbers(held[3, i]["other_frames"], root) == [(k + 1) % 24, (k + 2) % 24]
        assert held[0, i]["other_conditions"].shape == (2, 3, SIZE, SIZE)
    learned = source.train(1, 0, others=1)
    seen = set()
    for item in drawn(learned, 8):
        target, example = picture_numbers(torch.cat([item["frames"], item["other_frames"]]), root)
        assert target not in asked and example not in asked and target != example
        listed = {(target + 1) % 24, (target + 2) % 24} - set(asked)
        assert example in listed or not listed
        seen.add((target, example))
    assert len({target for target, _ in seen}) < len(seen)  # either of the two


def test_without_a_list_examples_are_drawn_from_other_subjects(tmp_path: Path) -> None:
    source = source_of("celebv-hq", small_sets.celebv(tmp_path / "data"), tmp_path / "cache")
    sets = source.train(1, 0, others=1)
    subject = {
        frame.tobytes(): s
        for row, s in zip(sets.store["image"], sets.store["subject"].tolist(), strict=True)
        for frame in row[:5]
    }
    for item in drawn(sets, 10):
        target, example = ((item[name][0] * 255).round().byte() for name in ("frames", "other_frames"))
        one, other = (
            next(s for side in (f, f.flip(-1)) if (s := subject.get(side.numpy().tobytes()))) for f in (target, example)
        )
        assert one != other
    with pytest.raises(DataError, match="2 other subjects are needed"):
        source.held_out(1, 0, others=2)


def test_a_picture_is_not_its_own_example(tmp_path: Path) -> None:
    root = small_sets.conditioned(tmp_path / "data", 24, references=False)
    (root / "references.csv").write_text("key,ref1,ref2\n" + "".join(f"{k},{k},{(k + 1) % 24}\n" for k in range(24)))
    source = source_of("lsun-churches", root, tmp_path / "cache")
    held = source.held_out(1, 0, others=1)
    for i in range(len(held)):
        k, example = picture_numbers(torch.cat([held[0, i]["frames"], held[0, i]["other_frames"]]), root)
        assert example == (k + 1) % 24


def test_the_names_of_a_pairs_pictures_are_no_labels(tmp_path: Path) -> None:
    from echokdm.data.adapters import find_adapter

    adapter = find_adapter("deepfashion")
    row = adapter.index(small_sets.deepfashion(tmp_path / "data")).iloc[0]
    assert row["sequence"] == f"train/{row['from']}>{row['to']}" and not {"from", "to"} & set(adapter.read(row).labels)
