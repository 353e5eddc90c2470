"""A flow from the correlation of two poses ("Pose transfer using a single spatial transformation", section 3.1 and
appendix A)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from echokdm.core.errors import ConfigError
from echokdm.networks.configured import ConfiguredModel
from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import pixel_grid


def correlation(source: Tensor, target: Tensor) -> Tensor:
    """Eq. 1: scalar products of every source position (i, j) with every target position (v, u).

    source (B, m, h, w), target (B, m, H, W) -> (B, h * w, H, W), the source's positions row by row as channels.
    """
    products = source.flatten(2).transpose(1, 2) @ target.flatten(2)
    return products.unflatten(2, target.shape[2:])


def soft_mutual_filter(c: Tensor, eps: float = 1e-5, source_peaks: Tensor | None = None) -> Tensor:
    """Eq. 9: gamma = (C / max over the source) * (C / max over the target), near 1 where both positions are each
    other's best.

    c (B, P, H, W) from `correlation`. eps is added to both maxima. source_peaks (B, P, 1, 1): the maximum of each
    source position over the whole target, needed where c holds a part of the target alone.
    """
    peaks = c.flatten(2).amax(2)[..., None, None] if source_peaks is None else source_peaks
    return (c / (c.amax(1, keepdim=True) + eps)) * (c / (peaks + eps))


def normalize_over_source(q: Tensor, eps: float = 1e-6) -> Tensor:
    """Eq. 2: q (B, P, H, W) divided, at each target position, by its length over all source positions."""
    return q / q.square().sum(1, keepdim=True).sqrt().clamp_min(eps)


class PoseEncoder(nn.Sequential):
    """M: 3x3 convolutions, each headed by a batch normalisation -> (B, features, H / s, W / s), of unit length at each
    pixel.

    strides: of the first convolutions, the others have 1; s is their product.
    """

    def __init__(self, in_channels: int, width: int, features: int, layers: int, strides: Sequence[int]) -> None:
        steps: list[nn.Module] = []
        for i in range(layers):
            inputs, outputs = in_channels if i == 0 else width, features if i == layers - 1 else width
            steps += [
                nn.BatchNorm2d(inputs),
                *([nn.ReLU()] if i else []),
                nn.Conv2d(inputs, outputs, 3, strides[i] if i < len(strides) else 1, 1),
            ]
        super().__init__(*steps)

    def forward(self, pose: Tensor) -> Tensor:
        """pose (B, joints, H, W)."""
        return F.normalize(super().forward(pose).float(), dim=1)


class FlowHead(nn.Module):
    """C_l: convolutions that read, at each target position, its correlation with all source positions -> two numbers.

    channels: outputs of every layer but the last, which has 2. kernel: of the first layer, 1 or 3; the others have 3.
    hints: channels that the second layer reads beside the first one's.
    """

    def __init__(self, positions: int, channels: Sequence[int], kernel: int, hints: int = 0) -> None:
        super().__init__()
        widths = [channels[0] + hints, *channels[1:], 2]
        self.first = nn.Conv2d(positions, channels[0], kernel, 1, kernel // 2)
        self.rest = nn.ModuleList([nn.Conv2d(a, b, 3, 1, 1) for a, b in zip(widths, widths[1:], strict=False)])

    def forward(self, projected: Tensor, hints: Tensor | None = None) -> Tensor:
        """projected (B, channels[0], h, w), the first layer's output, and hints (B, ., h, w) -> (B, 2, h, w) float32.

        The last layer is never in half precision, whose step would be a tenth of a pixel.
        """
        hidden = F.leaky_relu(projected, 0.1)
        if hints is not None:
            hidden = torch.cat([hidden, hints.to(hidden.dtype)], 1)
        for layer in self.rest[:-1]:
            hidden = F.leaky_relu(layer(hidden), 0.1)
        with torch.autocast(hidden.device.type, enabled=False):
            return self.rest[-1](hidden.float())


class MatchingFlow(ConfiguredModel):
    """The warping module W: poses of source and target -> one flow, backward, in pixels.

    joints: maps of a pose. grid: cells a side of the target's features. width, features, layers, strides: of M.
    channels, kernel: of C_l, which has one layer more than `channels`. mutual: whether the soft mutual filter is
    applied. eps: of that filter. chunk_rows: rows of target cells that are correlated at a time, None for all at once.

    What departs from the paper, for small pictures and short trainings: source_pool joins this many of the source's
    cells a side, so that P = (grid / source_pool)^2; guided lets C_l read also where the correlation's weight lies, and
    its own place, and add to the latter; without it C_l has to find both from the correlation's channels, as in the
    paper.

    In the paper's setting, 256 px and grid 64, one whole correlation of one picture has 4096 x 4096 floats, 64 MiB, and
    the filter, the normalisation and their gradients keep a handful of them. Streamed in chunks of rows (1 MiB a row),
    only the first layer's output of 128 channels, 2 MiB, is ever whole; while training, a chunk is computed again for
    its gradient instead of being kept. `benchmarks/methods/single_transform.py --memory` measures both.
    """

    @register_to_config
    def __init__(
        self,
        joints: int = 18,
        grid: int = 64,
        width: int = 64,
        features: int = 35,
        layers: int = 11,
        strides: tuple[int, ...] = (2, 2),
        channels: tuple[int, ...] = (128, 128, 96, 64, 32),
        kernel: int = 3,
        mutual: bool = True,
        eps: float = 1e-5,
        source_pool: int = 1,
        guided: bool = False,
        chunk_rows: int | None = 8,
    ) -> None:
        super().__init__()
        if kernel not in (1, 3):
            raise ConfigError(f"The first kernel of the flow head is 1 or 3, not {kernel}.")
        self.encoder = PoseEncoder(joints, width, features, layers, strides)
        self.head = FlowHead((grid // source_pool) ** 2, channels, kernel, hints=4 if guided else 0)
        if guided:
            self.sharpness = nn.Parameter(torch.tensor(4.0))  # logarithm of the inverse temperature

    def features(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """z_s and z_t (B, features, grid, grid) of pose maps (B, joints, H, W), float32. Raises ConfigError on another
        size."""
        both = self.encoder(torch.cat([source, target]))
        grid = self.config.grid
        if both.shape[2:] != (grid, grid):
            raise ConfigError(
                f"A pose of {source.shape[2]} x {source.shape[3]} px gives {both.shape[2]} x {both.shape[3]} cells, "
                f"but this network's correlation has {grid} a side."
            )
        first, second = both.chunk(2)
        if self.config.source_pool > 1:
            first = F.normalize(F.avg_pool2d(first, self.config.source_pool), dim=1)
        return first, second

    def project(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The flow head's first layer on Q_gamma, whole or streamed by rows, the same up to rounding -> (B,
        channels[0], h, w).

        source (B, m, h', w'), target (B, m, h, w) from `features`. With `guided`, also the expected source position (B,
        2, h, w).
        """
        rows, total, halo = self.config.chunk_rows, target.shape[2], self.config.kernel // 2
        peaks = source_peaks(source, target, rows or total) if self.config.mutual else None
        if rows is None:
            return self._chunk(source, target, peaks, 0, total)
        parts = []
        for top in range(0, total, rows):
            first, last = max(top - halo, 0), min(top + rows + halo, total)
            chunk = (source, target[:, :, first:last], peaks, top - first, min(rows, total - top))
            parts.append(
                checkpoint(self._chunk, *chunk, use_reentrant=False) if torch.is_grad_enabled() else self._chunk(*chunk)
            )
        projected, expected = zip(*parts, strict=True)
        return torch.cat(projected, 2), torch.cat(expected, 2) if self.config.guided else None

    def _chunk(
        self, source: Tensor, target: Tensor, peaks: Tensor | None, start: int, count: int
    ) -> tuple[Tensor, Tensor | None]:
        """Rows start to start + count of `project`; those around them are there for the first layer's kernel alone."""
        with torch.autocast(source.device.type, enabled=False):
            c = correlation(source, target)
            filtered = soft_mutual_filter(c, self.config.eps, peaks) * c if self.config.mutual else c
            q = normalize_over_source(filtered)
            expected = self._expected(filtered[:, :, start : start + count]) if self.config.guided else None
        return self.head.first(q)[:, :, start : start + count], expected

    def _expected(self, filtered: Tensor) -> Tensor:
        """(B, 2, H, W): the mean source position, from -1 to 1 across the picture, by a softmax of gamma C (B, P, H,
        W)."""
        places = F.avg_pool2d(
            unit_grid(self.config.grid, self.config.grid, filtered.device), self.config.source_pool
        ).flatten(2)[0]
        weight = torch.softmax(filtered * self.sharpness.exp(), 1)
        return torch.einsum("bpvu,kp->bkvu", weight, places)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Pose maps of source and target (B, joints, H, W) -> f_s,t (B, 2, H, W) px: target(p) ~ source(p + f(p)).

        C_l gives sampling locations, from -1 to 1 across the picture; the flow is what they differ by from the own
        place.
        """
        projected, expected = self.project(*self.features(source, target))
        own = unit_grid(projected.shape[2], projected.shape[3], projected.device)
        if expected is None:
            move = self.head(projected) - own
        else:
            move = self.head(projected, torch.cat([expected - own, own.expand(len(expected), -1, -1, -1)], 1))
        side = self.config.grid
        return resize_flow(move * (side - 1) / 2, *source.shape[2:])


def unit_grid(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """(1, 2, H, W): places from -1 to 1 across the picture, x first; the corners' cells lie in its corners' pixels."""
    return (
        pixel_grid(height, width, device)
        * torch.tensor([2 / (width - 1), 2 / (height - 1)], device=device).view(1, 2, 1, 1)
        - 1
    )


def source_peaks(source: Tensor, target: Tensor, rows: int) -> Tensor:
    """max over the target of C (Eq. 9's second maximum), `rows` rows of it at a time: (B, m, h, w), (B, m, H, W) -> (B,
    h * w, 1, 1).

    Where each maximum lies is found without gradients; its value is then one scalar product, which carries them.
    """
    with torch.autocast(source.device.type, enabled=False):
        with torch.no_grad():
            best = source.new_full((len(source), source[0, 0].numel()), -torch.inf)
            where = torch.zeros_like(best, dtype=torch.long)
            for top in range(0, target.shape[2], rows):
                values, index = correlation(source, target[:, :, top : top + rows]).flatten(2).max(2)
                where = torch.where(values > best, index + top * target.shape[3], where)
                best = torch.maximum(values, best)
        matched = target.flatten(2).gather(2, where[:, None].expand(-1, target.shape[1], -1))
        return (source.flatten(2) * matched).sum(1)[..., None, None]
