"""Cached training pairs: filled once and resumed, keyed by (seed, step, i), mirrored with key-points and flow."""

import numpy as np
import pytest
import torch

from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.data.pairs import FRAMES, PAIRS, FlowPairs, Variety, mirror, phantom_store, procedural_store, swing
from echokdm.data.store import ArrayStore
from echokdm.ops.fill import warp_inside
from echokdm.ops.warp import sample_points


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return phantom_store(folder / "hearts", 3), procedural_store(folder / "leaves", 6)


def test_a_store_goes_on_where_it_was_stopped(tmp_path):
    layout = {"x": ((2,), "float32")}
    made = []

    def produce(rows, fail_at=None):
        if fail_at in rows:
            raise KeyboardInterrupt
        made.extend(rows)
        return {"x": np.array([[r, r * r] for r in rows], np.float32)}

    with pytest.raises(KeyboardInterrupt):
        ArrayStore(tmp_path, 10, layout, {}).fill(lambda rows: produce(rows, 6), 2, "")
    store = ArrayStore(tmp_path, 10, layout, {}).fill(produce, 2, "")
    assert made == list(range(10)) and store.done == 10
    assert store["x"][7].tolist() == [7, 49]
    assert ArrayStore(tmp_path, 10, layout, {"seed": 1}).done == 0, "another origin must not reuse the rows"


def test_cached_flow_explains_the_cached_frames(stores):
    """Warping the source by the cached flow comes nearer to the target than the source itself, from ED to ES."""
    hearts, _ = stores
    images = torch.from_numpy(hearts["image"][:, :2].astype(np.float32)) / 255
    flow, sector = (
        torch.from_numpy(hearts["flow"][:, 0].astype(np.float32)),
        torch.from_numpy(hearts["sector"][:].copy())[:, None],
    )
    assert hearts["pair"][:, 0].tolist() == [[1, 0]] * 3
    moved = (warp_inside(images[:, :1], flow, sector) - images[:, 1:]).square() * sector
    still = (images[:, :1] - images[:, 1:]).square() * sector
    assert moved.sum() < 0.8 * still.sum()


def test_an_item_depends_on_its_key_alone_and_has_a_heart_or_none(stores):
    pairs = FlowPairs(*stores, 4, Variety(procedural=0.5))
    a, b = pairs[(3, 1)], FlowPairs(*stores, 4, Variety(procedural=0.5))[(3, 1)]
    assert all(torch.equal(a[k], b[k]) for k in a)
    items = [pairs[(0, i)] for i in range(40)]
    hearts = [bool(i["has_keypoints"]) for i in items]
    assert 8 < sum(hearts) < 32
    assert all((i["source_keypoints"].abs().sum() > 0) == bool(i["has_keypoints"]) for i in items)


def test_how_far_valves_are_open_is_told_of_most_hearts_and_pairs_that_open_or_shut_them_can_be_had(stores):
    opening = stores[0]["opening"]
    assert (opening[:, :2] == 0).all() and opening.max() > 0.5  # shut at end-diastole and end-systole
    pairs = FlowPairs(stores[0], None, seed=0)
    told = [float(pairs[(0, i)]["valve_opening"]) for i in range(80)]
    assert 3 < told.count(0.5) < 30 and set(told) <= {0.5, *opening.flatten().tolist()}
    changing = FlowPairs(stores[0], None, 0, Variety(valves=1.0))
    plain, sought = (np.mean([float(data[(0, i)]["valve_opening"]) for i in range(80)]) for data in (pairs, changing))
    assert sought > plain + 0.1


def test_a_mirrored_item_is_still_consistent(stores):
    pairs = FlowPairs(stores[0], None, 0, Variety(gray_jitter=0.0))
    item = next(item for item in (pairs[(0, k)] for k in range(9)) if item["flow"].abs().max() > 1)
    for one in (item, mirror(item, A4C_BLOODPOOL_40)):
        target, source, flow = one["target_keypoints"][None], one["source_keypoints"][None], one["flow"][None]
        assert (target + sample_points(flow, target) - source).norm(dim=-1).median() < 1.0
        assert (source[0, :20, 0] < source[0, 20:, 0].flip(0)).float().mean() > 0.8, (
            "first ends lie on the image's left"
        )
    assert torch.equal(mirror(mirror(item, A4C_BLOODPOOL_40), A4C_BLOODPOOL_40)["flow"], item["flow"])


def test_a_swung_item_moves_the_heart_as_stated(stores):
    item = FlowPairs(stores[0], None, 0, Variety(gray_jitter=0.0))[(0, 0)]
    moved = swing(item, 3.0, -1.0, 0.0)
    shift = moved["target_keypoints"] - item["target_keypoints"]
    inner = shift.norm(dim=-1).argsort(descending=True)[:8]  # those beyond the fading margin at the sector's edge
    assert torch.allclose(shift[inner], torch.tensor([3.0, -1.0]).expand(8, 2), atol=0.2)
    target, source = moved["target_keypoints"][None], item["source_keypoints"][None]
    before = (
        item["target_keypoints"][None] + sample_points(item["flow"][None], item["target_keypoints"][None]) - source
    ).norm(dim=-1)
    after = (target + sample_points(moved["flow"][None], target) - source).norm(dim=-1)
    assert (after - before).abs().median() < 0.3


def test_the_layout_is_as_stated(stores):
    hearts, leaves = stores
    assert hearts["image"].shape == (3, FRAMES, 112, 112) and hearts["flow"].shape == (3, PAIRS, 2, 112, 112)
    assert leaves["flow"].shape == (6, 2, 112, 112)
    assert (hearts["image"][:][~np.broadcast_to(hearts["sector"][:][:, None], hearts["image"].shape)] == 0).all()


def test_several_processes_simulate_the_same_phantoms(tmp_path):
    one, two = (procedural_store(tmp_path / str(workers), 33, 32, workers=workers) for workers in (0, 2))
    assert all(np.array_equal(one[name], two[name]) for name in ("source", "target", "flow", "sector"))
    assert two.done == 33
