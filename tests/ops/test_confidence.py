"""How sure an outline is: signs that fall with doubt, a map to a probability, and words."""

import math

import pytest
import torch

from echokdm.core.errors import BundleError
from echokdm.ops.confidence import (
    BIAS,
    FLAGGED_BELOW,
    SIGNS,
    Calibration,
    flagged_frames,
    frame_signs,
    told,
    told_of_clips,
)
from echokdm.ops.warp import pixel_grid

SIZE = 48
X, Y = pixel_grid(SIZE, SIZE)[0]
DISC = (X - 24) ** 2 + (Y - 24) ** 2 < 100


def segmented(*certainties: float, found: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks and probabilities of a disc in each frame, of which the network is so certain; of the ground around it
    always by half.

    Its mirror image is found to the same share.
    """
    rows = []
    for certain in certainties:
        p = torch.full((4, SIZE, SIZE), 1 / 6)
        p[0] = 0.5
        p[:, DISC] = (1 - certain) / 3
        p[1, DISC] = certain
        rows.append(p)
    return DISC.expand(len(rows), -1, -1) & found, torch.stack(rows), torch.tensor(certainties)


def test_signs_tell_doubt_and_a_frame_looks_at_no_other() -> None:
    signs = frame_signs(*segmented(0.97, 0.7))
    assert tuple(signs) == SIGNS and signs["doubt"][0] < signs["doubt"][1] <= 0
    certain = -(0.97 * math.log(0.97) + 0.03 * math.log(0.01)) / math.log(4)
    assert float(signs["doubt"][0]) == pytest.approx(math.log(certain), abs=1e-4)
    around = -(0.5 * math.log(0.5) + 0.5 * math.log(1 / 6)) / math.log(4)
    assert signs["doubt around"].tolist() == pytest.approx([around] * 2, abs=1e-4)
    assert signs["mirrored otherwise"].tolist() == pytest.approx([math.log(0.03), math.log(0.3)], abs=1e-5)
    alone = frame_signs(*segmented(0.97))
    assert all(float(alone[name][0]) == pytest.approx(float(signs[name][0])) for name in SIGNS)


def test_confidence_is_a_probability_and_nothing_where_nothing_is_found() -> None:
    calibration = Calibration({**dict.fromkeys(SIGNS, 0.0), "doubt": -2.0, BIAS: -3.0})
    found = segmented(0.99, 0.8, 0.5)
    sure = calibration(frame_signs(*found))
    expected = torch.sigmoid(-2 * frame_signs(*found)["doubt"] - 3)
    assert torch.allclose(sure, expected) and bool((sure.diff() < 0).all())
    assert calibration(frame_signs(*segmented(0.99, found=False))).tolist() == [0.0]


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {BIAS: 1.0},
        {**dict.fromkeys(SIGNS, 1.0), BIAS: float("nan")},
        {**dict.fromkeys(SIGNS, "1"), BIAS: 1.0},
        {**dict.fromkeys(SIGNS, 1.0), BIAS: 1.0, "mood": 1.0},
    ],
)
def test_a_calibration_that_is_none_is_refused(weights: dict) -> None:
    with pytest.raises(BundleError, match="confidence"):
        Calibration(weights)


def test_words() -> None:
    low, high = FLAGGED_BELOW - 0.1, FLAGGED_BELOW + 0.1
    assert flagged_frames([high, low, low, high, low]) == [1, 2, 4]
    assert "in 3 of 5 frames it may be off (frames 1-2, 4)" in told([high, low, low, high, low])
    assert "1 of 2 frames it may be off (frame 0)" in told([low, high])
    assert told([high, high]).startswith("The outline is trusted") and f"{100 * high:.0f} %" in told([high, high])
    assert told_of_clips({}) == "" and "all 2 clips are trusted" in told_of_clips({1: high, 2: high})
    assert "2 of 3 clips" in told_of_clips({1: low, 2: high, 3: low}) and "(clips 1, 3)" in told_of_clips(
        {1: low, 2: high, 3: low}
    )
