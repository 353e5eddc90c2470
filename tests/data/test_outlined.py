"""Outlined frames of patients come into the model's square with their labels in place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from echokdm.core.errors import DataError
from echokdm.core.types import A4C_BLOODPOOL_40, Sequence
from echokdm.data.adapters.phantoms import HEART
from echokdm.data.outlined import OutlinedFrames, OutlinedSource, outlined_moments, outlined_store
from echokdm.ops.render import fill_polygon


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return outlined_store(tmp_path_factory.mktemp("outlined"), OutlinedSource("phantom-heart", "2", ("0", "1")), 112)


def test_key_points_become_labels_of_the_largest_and_smallest_ventricle(store) -> None:
    assert store.count == 2 and store["usable"].all()
    area = (store["label"][:] == 1).sum((2, 3))
    assert (area[:, 0] > area[:, 1]).all()
    assert store["told"][0].tolist() == [True, True, False, False, False, False]
    row = next(r for r in HEART.index("2").to_dict("records") if r["subject"] == "0")
    heart = HEART.read(row)
    truth = fill_polygon(heart.keypoints[outlined_moments(heart)[:1]], 112, 112)[0, 0] > 0.5
    number = 0 if np.isclose(truth.sum(), area[0, 0], rtol=0.2) else 1
    found = torch.from_numpy(store["label"][number, 0] == 1)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95


def test_items_depend_on_their_key_alone(store) -> None:
    frames = OutlinedFrames(store, 3)
    first, other = frames[(2, 1)], [frames[(s, 0)]["image"] for s in range(8)]
    assert torch.equal(first["image"], frames[(2, 1)]["image"]) and first["label"].dtype == torch.int64
    assert any(not torch.equal(first["image"], image) for image in other)


def test_a_sequence_without_an_outline_is_refused() -> None:
    blind = Sequence(
        torch.zeros(2, 1, 8, 8), torch.zeros(2, 40, 2), torch.zeros(2, 40, dtype=torch.bool), A4C_BLOODPOOL_40, {}
    )
    with pytest.raises(DataError, match="outlined"):
        outlined_moments(blind)


def test_unknown_subjects_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="subjects"):
        outlined_store(tmp_path, OutlinedSource("phantom-heart", "2", ("77",)), 112)


def test_camus_labels_lie_on_their_frames(test_data: Path, tmp_path: Path) -> None:
    from echokdm.data.adapters.camus import CAMUS, camus_split

    root = test_data / "camus"
    subjects = camus_split(CAMUS.index(root)["subject"])["teach"][:2]
    store = outlined_store(tmp_path, OutlinedSource("camus", str(root), tuple(subjects)), 112)
    assert store["usable"].all() and store["told"][:, :4].all() and not store["told"][:, 4:].any()
    label, image = store["label"][:], store["image"][:].astype(float)
    assert set(np.unique(label)) == {0, 1, 2, 3}
    assert image[label == 2].mean() > image[label == 1].mean()  # walls are brighter than blood
    assert not (label * ~store["sector"][:, None]).astype(bool)[label == 1].any()
