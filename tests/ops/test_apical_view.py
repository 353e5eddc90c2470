"""Which views are taken for apical four-chamber ones: by the right heart beside the ventricle, and by how the ventricle
lies."""

import math

import pytest
import torch

from echokdm.core.errors import ViewError
from echokdm.ops.apical_view import check_view, view_figures
from echokdm.ops.segmentation import segment_clip
from echokdm.ops.warp import pixel_grid

SIZE, FRAMES = 112, 4
X, Y = pixel_grid(SIZE, SIZE)[0]
FPS = 30.0
SECTOR = torch.ones(SIZE, SIZE, dtype=torch.bool)
LEVELS = torch.tensor([0.0, 0.15, 0.9, 0.4, 0.55, 0.7])


def ellipse(cx: float, cy: float, a: float, b: float, degrees: float = 0.0) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = X - cx, Y - cy
    return ((cos * x + sin * y) / a) ** 2 + ((cos * y - sin * x) / b) ** 2 < 1


def labels(right: float = 1.0, tilt: float = 0.0) -> torch.Tensor:
    """(T, H, W) drawn chambers; right: size of the right heart, 0 for none; tilt: of the ventricle, degrees."""
    drawn = torch.zeros(SIZE, SIZE, dtype=torch.int64)
    if right:
        drawn[ellipse(32, 55, 10 * right, 22 * right)] = 4
        drawn[ellipse(32, 90, 12 * right, 12 * right)] = 5
    drawn[ellipse(64, 46, 22, 38, tilt)] = 2
    drawn[ellipse(64, 46, 15, 31, tilt)] = 1
    if not tilt:
        drawn[ellipse(64, 94, 14, 14)] = 3
    return drawn.expand(FRAMES, -1, -1)


def figures(drawn: torch.Tensor, classes: int = 6) -> dict[str, float]:
    return view_figures(drawn == 1, torch.nn.functional.one_hot(drawn, 6).movedim(3, 1)[:, :classes].float())


def oracle(image: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
    return -400 * (image - LEVELS.view(1, 6, 1, 1)).square()


@pytest.mark.parametrize(
    ("drawn", "words"),
    [(labels(right=0), "No right heart"), (labels(right=0.3), "No right heart"), (labels(tilt=80), "lies across")],
)
def test_another_view_is_refused_with_the_way_out(drawn: torch.Tensor, words: str) -> None:
    with pytest.raises(ViewError, match=f"{words}.*--any-view") as error:
        check_view(figures(drawn))
    assert "--any-view" not in error.value.finding


def test_a_four_chamber_view_and_its_mirror_image_pass() -> None:
    for drawn in (labels(), labels().flip(2), labels(right=0.7)):
        check_view(figures(drawn))


def test_one_odd_frame_does_not_decide() -> None:
    drawn = labels().clone()
    drawn[1] = labels(right=0)[0]
    check_view(figures(drawn))


def test_a_segmenter_without_right_chambers_says_nothing_of_them() -> None:
    check_view(figures(labels(right=0), classes=4))


def test_segment_clip_judges_the_view_unless_told_not_to() -> None:
    image = LEVELS[labels(right=0)][:, None]
    with pytest.raises(ViewError):
        segment_clip(oracle, image, SECTOR, FPS)
    masks, *_ = segment_clip(oracle, image, SECTOR, FPS, any_view=True)
    assert bool(masks.any((1, 2)).all())
    segment_clip(oracle, LEVELS[labels()][:, None], SECTOR, FPS)
    segment_clip(oracle, image, SECTOR, FPS, walled=False)  # what was made of a clip
