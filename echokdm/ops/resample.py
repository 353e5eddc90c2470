"""Smaller pictures without aliasing, on the package's grid (corner pixels' centres stay, `align_corners=True`); larger
flows.

What a model's frame shows at two sizes has the same borders instead, as `io.frame` resizes it: `rescale_centres`,
`enlarge_flow`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _blur_axis(image: Tensor, factor: float, axis: int) -> Tensor:
    """Gaussian of standard deviation (factor - 1) / 2 px along one axis, the border repeated."""
    sigma = (factor - 1) / 2
    if sigma <= 0:
        return image
    reach = round(4 * sigma)
    at = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    channels = image.shape[1]
    shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
    kernel = (kernel / kernel.sum()).view(shape).expand(channels, -1, -1, -1)
    sides = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    return F.conv2d(F.pad(image, sides, mode="replicate"), kernel, groups=channels)


def shrink(image: Tensor, height: int, width: int) -> Tensor:
    """image (B, C, H, W) -> (B, C, height, width): blurred, then resampled so that point x is at x (width - 1) / (W -
    1).

    The blur is that of Siarohin et al., NeurIPS 2019 (FOMM): sigma = (H / height - 1) / 2 px.
    """
    H, W = image.shape[2:]
    if (H, W) == (height, width):
        return image
    blurred = _blur_axis(_blur_axis(image, H / height, 2), W / width, 3)
    return F.interpolate(blurred, (height, width), mode="bilinear", align_corners=True)


def doubled(image: Tensor, reach: int = 16) -> Tensor:
    """A picture (C, H, W) twice as fine without loss (Fourier's interpolation): (C, 2 H - 1, 2 W - 1), point x at 2 x.

    reach: px by which its border is mirrored first, so that opposite sides do not meet.
    """
    from scipy.signal import resample

    reach = min(reach, image.shape[1] - 1, image.shape[2] - 1)
    fine = F.pad(image[None], (reach,) * 4, mode="reflect")[0].numpy()
    for axis in (1, 2):
        fine = resample(fine, 2 * fine.shape[axis], axis=axis)
    rows, columns = (slice(2 * reach, 2 * reach + 2 * n - 1) for n in image.shape[1:])
    return torch.from_numpy(fine)[:, rows, columns].to(image)


def rescale_points(points: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Key-points or displacements (..., 2) px of a picture of size `old` (height, width) in the pixels of size
    `new`."""
    scale = [(new[1] - 1) / max(old[1] - 1, 1), (new[0] - 1) / max(old[0] - 1, 1)]
    return points * points.new_tensor(scale)


def rescale_centres(points: Tensor, factor: float) -> Tensor:
    """Key-points (..., 2) px of a model's frame in the pixels of the same frame drawn `factor` times smaller."""
    return points if factor == 1 else (points + 0.5) / factor - 0.5


def enlarge_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow (B, 2, h, w) px of a model's frame, smooth, in the pixels of the same frame drawn larger: (B, 2, height,
    width)."""
    if flow.shape[2:] == (height, width):
        return flow
    larger = F.interpolate(flow, (height, width), mode="bicubic", align_corners=False)
    return larger * flow.new_tensor([width / flow.shape[3], height / flow.shape[2]]).view(1, 2, 1, 1)
