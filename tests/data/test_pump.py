"""Hearts filled or emptied further: picture and labels move together."""

import numpy as np
import torch

from echokdm.core.labels import Label
from echokdm.data.pump import pump


def item() -> dict[str, torch.Tensor]:
    """Two frames with an ellipse whose gray says what its label is, and one without."""
    y, x = np.mgrid[:112, :112].astype(np.float32)
    inside = torch.from_numpy(((x - 60) / 16) ** 2 + ((y - 50) / 30) ** 2 < 1)
    label = torch.stack([inside.long() * Label.LV, inside.long() * Label.LV, torch.zeros(112, 112, dtype=torch.int64)])
    sector = torch.ones(1, 112, 112)
    sector[:, :, :8] = 0
    return {
        "image": 0.8 - 0.6 * (label == Label.LV).float(),
        "label": label,
        "sector": sector,
        "told": torch.ones(6, dtype=torch.bool),
    }


def test_picture_and_label_move_together_and_frames_apart() -> None:
    sizes = set()
    for seed in range(8):
        made = pump(item(), np.random.default_rng(seed))
        dark, cavity = made["image"] < 0.5, made["label"] == Label.LV
        within = item()["sector"][0] > 0
        assert (dark & within)[:2].sum() > 0 and ((dark ^ cavity) & within)[:2].float().mean() < 0.01
        sizes |= {int(n) for n in cavity[:2].sum((1, 2))}
        assert (made["image"][2] - item()["image"][2])[within].abs().max() < 1e-5 and made["told"].all()
    own = int((item()["label"][0] == Label.LV).sum())
    assert len(sizes) == 16 and min(sizes) < 0.8 * own and max(sizes) > 1.2 * own


def test_the_same_draw_is_the_same_heart() -> None:
    one, two = (pump(item(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one["image"], two["image"]) and torch.equal(one["label"], two["label"])
