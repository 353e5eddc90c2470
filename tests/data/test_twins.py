"""Cached twins: the exact flow leads from one to the other, items are keyed and mirrored, and no wish is no motion."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import ConfigError
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.data.pairs import ALONE, Variety, mirror, phantom_store
from echokdm.data.twins import ERROR, FRAMES, TwinPairs, twin_store
from echokdm.methods.kdm.config import KDMConfig
from echokdm.methods.kdm.data import KDMData
from echokdm.ops.fill import warp_inside
from echokdm.ops.warp import sample_points


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return twin_store(folder / "twins", 3, first_seed=40), phantom_store(folder / "hearts", 2)


def twin_pairs(stores, share=1.0, variety=Variety()):
    return TwinPairs(stores[0], share, stores[1], None, 5, variety)


def test_the_cached_flows_lead_from_one_twin_to_the_other(stores):
    twins, _ = stores
    assert twins["image"].shape == (3, 2, FRAMES, 112, 112) and twins["flow"].shape == (3, 2, FRAMES, 2, 112, 112)
    assert (np.abs(np.diff(twins["ejection_fraction"][:], axis=1)) > 1).all()
    sector = torch.from_numpy(twins["sector"][:].copy())[:, None].expand(-1, FRAMES, -1, -1).reshape(-1, 1, 112, 112)
    for target in (0, 1):
        frames = (
            torch.from_numpy(twins["image"][:].astype(np.float32)).transpose(0, 1).reshape(2, -1, 1, 112, 112) / 255
        )
        made, wanted = frames[1 - target], frames[target]
        flow = torch.from_numpy(twins["flow"][:, target].reshape(-1, 2, 112, 112).astype(np.float32))
        assert (warp_inside(made, flow, sector) - wanted).square().sum() < 0.7 * (made - wanted).square().sum()


def test_an_item_depends_on_its_key_alone_and_some_are_a_frame_with_itself(stores):
    pairs = twin_pairs(stores)
    a, b = pairs[(3, 1)], twin_pairs(stores)[(3, 1)]
    assert all(torch.equal(a[name], b[name]) for name in a)
    items = [pairs[(0, i)] for i in range(80)]
    still = [item for item in items if not item["flow"].any()]
    assert 1 <= len(still) <= 16
    for item in still:
        assert torch.equal(item["source"], item["target"]) and torch.equal(
            item["source_keypoints"], item["target_keypoints"]
        )
        assert item["keypoint_error"].tolist() == [float(ERROR[0]), 0.0]
    assert {tuple(item["keypoint_error"].tolist()) for item in items} == {tuple(ERROR.tolist()), (float(ERROR[0]), 0.0)}


def test_either_twin_is_edited_into_the_other(stores):
    """The cavity of the one that pumps more is the smaller: both signs of what is asked for are drawn."""
    items = [twin_pairs(stores)[(1, i)] for i in range(30)]
    spread = [float(item["target_keypoints"].std() - item["source_keypoints"].std()) for item in items]
    assert min(spread) < -0.3 and max(spread) > 0.3


def test_as_many_hearts_are_twins_as_are_asked_for_in_the_form_of_the_others(stores):
    items = [twin_pairs(stores, 0.5)[(2, i)] for i in range(60)]
    alone = [torch.equal(item["keypoint_error"], ALONE) for item in items]
    assert 18 < sum(alone) < 42
    assert len({tuple((name, value.shape, value.dtype) for name, value in sorted(item.items())) for item in items}) == 1
    torch.utils.data.default_collate(items)


def test_a_mirrored_twin_is_still_consistent(stores):
    pairs = twin_pairs(stores, variety=Variety(gray_jitter=0.0))
    item = next(item for item in (pairs[(0, k)] for k in range(20)) if item["flow"].abs().max() > 2)
    for one in (item, mirror(item, A4C_BLOODPOOL_40)):
        target, source, flow = one["target_keypoints"][None], one["source_keypoints"][None], one["flow"][None]
        assert (target + sample_points(flow, target) - source).norm(dim=-1).median() < 0.5 * (target - source).norm(
            dim=-1
        ).median()
        assert (source[0, :20, 0] < source[0, 20:, 0].flip(0)).float().mean() > 0.8, (
            "first ends lie on the image's left"
        )


def test_a_stage_that_asks_for_twins_needs_some():
    with pytest.raises(ConfigError, match="data.twins"):
        KDMData(KDMConfig(name="none")).twins()
