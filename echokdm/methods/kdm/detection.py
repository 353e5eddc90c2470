"""Key-points of faces and people in pictures that come without them, by the bundle's own detector."""

import torch
from torch import Tensor

from echokdm.core.errors import ConfigError, GeometryError
from echokdm.data.frames import Square, fit_square
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.networks.landmarks import LandmarkNet

# of the side: spread of the heat maps up to which a find counts; phantoms have 0.034 to 0.042, noise 0.06 and more
SURE = 0.052
SHARES = (0.75, 0.55, 0.4, 0.3)  # of the shorter side: squares in which is looked, after the whole picture
STEP = 0.25  # of a square, from one to the next


def detector(pipeline: KDMPipeline) -> LandmarkNet:
    """The bundle's. Raises ConfigError where it has none."""
    if pipeline.landmarks is None:
        raise ConfigError(
            "This bundle can't find key-points itself: pass them, or for an echo clip use `echokdm synth`."
        )
    return pipeline.landmarks


def search(network: LandmarkNet, image: Tensor, size: int) -> Tensor:
    """Key-points (1, N, 2) px of the face or person in a picture (1, 3, H, W) of any size; `size`: px at which the
    network was trained.

    The square in which the heat maps are narrowest is cut anew around what was found there. Raises GeometryError where
    that is not sure.
    """
    best, found = None, None
    for square_image, square in _squares(image, size):
        points, unsure = network.detect(square_image)
        if best is None or float(unsure) < best:
            best, found = float(unsure), square.original(points)
    square_image, square = fit_square(image, size, found)  # at the scale of the training's pictures
    points, unsure = network.detect(square_image)
    if float(unsure) > SURE:
        raise GeometryError("No face or person is found in the picture: cut it closer, or pass its key-points.")
    return square.original(points)


def _squares(image: Tensor, size: int) -> "list[tuple[Tensor, Square]]":
    height, width = image.shape[2:]
    squares = [fit_square(image, size)]
    for share in SHARES:
        side = max(2, int(min(height, width) * share))
        step = max(1, round(side * STEP))
        for top in range(0, height - side + 1, step):
            for left in range(0, width - side + 1, step):
                corners = torch.tensor([[left, top], [left + side - 1, top + side - 1]], dtype=torch.float32)
                squares.append(fit_square(image, size, corners, margin=0.0))
    return squares
