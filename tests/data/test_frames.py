"""Frames of any data set as items: one size, key-points that follow, the same item whatever came before."""

import pytest
import torch

from echokdm.core.errors import ConfigError, DataError
from echokdm.core.schemas import IBUG_68
from echokdm.data.adapters import find_adapter
from echokdm.data.frames import FrameData, FrameSource, fit_square
from echokdm.phantom.face import FacePhantom


def spot(width, height, x, y):
    """A picture that is its own map: red is x, green is y, in shares of 100 px; and one key-point."""
    ys, xs = torch.meshgrid(torch.arange(height) / 100, torch.arange(width) / 100, indexing="ij")
    return torch.stack([xs, ys, 0 * xs])[None], torch.tensor([[[float(x), float(y)]]])


@pytest.mark.parametrize(("width", "height", "size"), [(64, 64, 32), (40, 80, 20), (30, 20, 60)])
def test_keypoints_follow_the_picture_into_the_square(width, height, size):
    image, points = spot(width, height, 13, 11)
    square_image, square = fit_square(image, size)
    x, y = square.points(points)[0, 0].tolist()
    assert square_image.shape[2:] == (size, size)
    found = square_image[0, :2, round(y), round(x)] * 100
    assert torch.allclose(found, torch.tensor([13.0, 11.0]), atol=max(width, height) / size)


def test_a_picture_is_cut_around_keypoints_even_beyond_its_border():
    image, _ = spot(80, 60, 0, 0)
    around = torch.tensor([[[60.0, 10.0], [78.0, 28.0], [float("nan")] * 2]])
    made, square = fit_square(image, 36, around, margin=0.5)
    placed = square.points(around)[0, :2]
    assert torch.allclose(placed, torch.tensor([[8.5, 8.5], [26.5, 26.5]]), atol=1.0)
    at = made[0, :2, round(float(placed[0, 1])), round(float(placed[0, 0]))] * 100
    assert torch.allclose(at, torch.tensor([60.0, 10.0]), atol=1.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return FrameSource(FrameData(root="3", frames=4, cache=str(tmp_path_factory.mktemp("cache"))), 64, 0)


def test_items_hold_frames_keypoints_and_another_subject(source):
    data = source.train(3, seed=5, others=2)
    item = data[(7, 1)]
    assert (
        item["frames"].shape == (3, 3, 64, 64)
        and item["keypoints"].shape == (3, 68, 2)
        and item["conditions"].shape == (3, 3, 64, 64)
    )
    assert item["other_frames"].shape == (2, 3, 64, 64) and not torch.equal(item["other_frames"][0], item["frames"][0])
    assert source.schema is IBUG_68 and len(source.held_out(2, 0)) == 3
    again = source.train(3, seed=5, others=2)[(7, 1)]
    assert all(torch.equal(item[k], again[k]) for k in item)


def test_a_mirrored_item_is_the_mirror_of_a_frame_with_its_points(source):
    points_of = {
        frame.numpy().tobytes(): points for i in range(3) for frame, points in zip(*_all(source, i), strict=True)
    }
    mirrored = 0
    for step in range(12):
        item = source.train(1, seed=1)[(step, 0)]
        frame, points = item["frames"][0], item["keypoints"][0]
        if frame.numpy().tobytes() in points_of:
            continue
        mirrored += 1
        its = points_of[frame.flip(-1).numpy().tobytes()]
        # the jaw's ends change places
        assert torch.allclose(points[0], torch.tensor([63.0 - its[16, 0], its[16, 1]]), equal_nan=True)
    assert 0 < mirrored < 12


def _all(source, row):
    store = source.train(1, 0).store
    return torch.from_numpy(store["image"][row].copy()).float() / 255, torch.from_numpy(store["keypoints"][row].copy())


def test_the_phantom_adapter_shows_the_phantom():
    adapter = find_adapter("phantom-face")
    index = adapter.index("2")
    assert index["split"].value_counts().to_dict() == {"test": 2, "train": 2} and (index["path"] == "").all()
    sequence = adapter.read(index.iloc[1])
    truth = FacePhantom([1], 128).frames(torch.arange(12)[None] / 12)[0]
    assert torch.equal(sequence.frames, truth)
    with pytest.raises(DataError, match="number of identities"):
        adapter.index("somewhere")


def test_what_the_data_cannot_give_is_told(source):
    with pytest.raises(DataError, match="raise data.frames"):
        source.train(5, 0)
    with pytest.raises(DataError, match="it has test, train"):
        FrameSource(FrameData(root="3", split="dev"), 64, 0).train(1, 0)
    with pytest.raises(ConfigError, match="phantom-face"):
        FrameSource(FrameData(adapter="fantom-face"), 64, 0)
