"""The segmenter's training stage learns a drawn ventricle and repeats itself from its seed."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from echokdm.core.seeding import derive_seed, generator
from echokdm.engine.loop import LoopSettings, train_stage
from echokdm.methods.kdm.segmentation import AugmentedClips, SegmenterStage, lv_dice
from echokdm.networks.segmenter import Segmenter
from echokdm.ops.warp import pixel_grid

SIZE = 48
X, Y = pixel_grid(SIZE, SIZE)[0]


class Drawn(Dataset):
    """Dark ellipses in bright walls."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        g = generator(*key)
        cx, cy, a, b = (torch.rand(4, generator=g) * torch.tensor([8, 8, 4, 6]) + torch.tensor([20, 20, 6, 9])).tolist()
        r = (((X - cx) / a).square() + ((Y - cy) / b).square()).sqrt()
        label = torch.where(r < 1, 1, torch.where(r < 1.5, 2, 0))
        image = torch.tensor([0.3, 0.05, 0.8])[label] + 0.05 * torch.randn(SIZE, SIZE, generator=g)
        three = (3, -1, -1)
        return {
            "image": image.clamp(0, 1)[None].expand(three),
            "label": label[None].expand(three),
            "sector": torch.ones(1, SIZE, SIZE),
        }


def test_items_depend_on_their_key_alone() -> None:
    data = AugmentedClips(Drawn(), seed=4, empty=None)
    first = data[(3, 1)]
    data[(9, 9)]
    again = data[(3, 1)]
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["image"], data[(3, 2)]["image"])
    assert first["label"].dtype == torch.int64 and first["label"].shape == (2, SIZE, SIZE)
    assert first["told"].all() and len(first["told"]) == 6


def test_heartless_share() -> None:
    class Empty(Dataset):
        def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
            return {**Drawn()[key], "label": torch.zeros(3, SIZE, SIZE, dtype=torch.int64)}

    data = AugmentedClips(Drawn(), seed=4, empty=Empty(), empty_share=0.3)
    heartless = sum(int(not (data[(0, i)]["label"] == 1).any()) for i in range(200))
    assert 35 < heartless < 90


def test_outlined_share_and_what_their_labels_tell_of() -> None:
    class Outlined(Dataset):
        def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
            return {**Drawn()[key], "told": torch.tensor([True, True, True, True, False, False])}

    data = AugmentedClips(Drawn(), seed=4, outlined=Outlined(), outlined_share=0.7)
    outlined = sum(int(not data[(0, i)]["told"].all()) for i in range(200))
    assert 115 < outlined < 165


def test_training_learns_the_drawn_ventricle(tmp_path: Path) -> None:
    torch.manual_seed(derive_seed(0))
    stage = SegmenterStage(
        AugmentedClips(Drawn(), seed=0),
        held_out=Drawn(),
        validated=20,
        batch_size=8,
        network=Segmenter(6, (8, 8, 16, 16, 16, 8)),
    )
    before = stage.validate()["segmenter/dice"]
    train_stage(stage, tmp_path, steps=60, settings=LoopSettings("no", device="cpu"))
    assert stage.validate()["segmenter/dice"] > max(0.6, before + 0.2)


def test_dice_of_known_overlap() -> None:
    a, b = torch.zeros(2, 4, 4, dtype=torch.int64), torch.zeros(2, 4, 4, dtype=torch.int64)
    a[0, :2], b[0, 1:3] = 1, 1
    assert lv_dice(a, b).tolist() == [0.5, 1.0]
