"""The single spatial transformation at inference: two poses to one flow, the flow to a picture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from echokdm.core.errors import ConfigError, GeometryError
from echokdm.core.schemas import schema as schema_named
from echokdm.methods.pipeline import MethodPipeline
from echokdm.networks.matching import MatchingFlow
from echokdm.networks.warped_refinement import RefinementNet
from echokdm.ops.pose_maps import gaussian_maps
from echokdm.ops.warp import warp

CHUNK = 4  # poses a network call; fixed, so that no batch size can change a byte


@dataclass
class SingleTransformOutput:
    """frames (T, 3, S, S) in [0, 1]; flow (T, 2, S, S) backward px; warped (T, 3, S, S), the source moved by the flow
    alone."""

    frames: Tensor
    flow: Tensor
    warped: Tensor


class SingleTransformPipeline(MethodPipeline):
    """A person in other poses, by one flow a pose and a refinement network.

    schema: the name of its joints'. sigma: px, of their envelopes. A bundle without `refinement` is of the flow alone.

    >>> import torch
    >>> from echokdm.networks.matching import MatchingFlow
    >>> from echokdm.networks.warped_refinement import RefinementNet
    >>> pipe = SingleTransformPipeline(MatchingFlow(grid=8, width=8, strides=(2,), channels=(8, 8)), RefinementNet(channels=(8,), blocks=1))
    >>> source, joints = torch.rand(1, 3, 16, 16), torch.rand(18, 2) * 15
    >>> pipe(source, joints, torch.stack([joints, joints + 1])).frames.shape
    torch.Size([2, 3, 16, 16])
    >>> augmented = pipe(source, joints, joints[None] + 1, refine=False)  # the flow alone, as in the paper's appendix C
    >>> torch.equal(augmented.frames, augmented.warped)
    True
    """

    COMPONENTS = {"matching": MatchingFlow, "refinement": RefinementNet}
    _optional_components = ["refinement"]

    def __init__(
        self,
        matching: MatchingFlow,
        refinement: RefinementNet | None = None,
        schema: str = "openpose-18",
        sigma: float = 6.0,
    ) -> None:
        super().__init__()
        self.register_to_config(schema=schema, sigma=sigma)
        self.schema, self.sigma = schema_named(schema), sigma
        self.register_modules(matching=matching, refinement=refinement)

    @property
    def size(self) -> int:
        """Pixels a side that the poses must have."""
        side = self.matching.config.grid
        for stride in self.matching.config.strides:
            side *= stride
        return side

    @torch.no_grad()
    def __call__(
        self,
        source: Tensor,
        source_keypoints: Tensor,
        target_keypoints: Tensor,
        *,
        refine: bool = True,
        gamma: float | Tensor = 1.0,
        flow: Tensor | None = None,
    ) -> SingleTransformOutput:
        """Show the source in each target pose.

        source: (1, 3, S, S) or one a pose, (T, 3, S, S), in [0, 1]. source_keypoints: (N, 2) or (T, N, 2),
        target_keypoints: (T, N, 2), (x, y) px, nan where a joint was not detected. refine: False gives the source
        warped by the flow alone, every pixel a pixel of the source, as for augmentation in the paper's appendix C.
        gamma: scales the flow, one number or (T,). flow: (T, 2, S, S) px, instead of the network's. Raises
        GeometryError for shapes that don't match, ConfigError where there is no refinement network.
        """
        total, joints = len(target_keypoints), (len(self.schema), 2)
        if target_keypoints.shape[1:] != joints or source_keypoints.shape not in (joints, (total, *joints)):
            raise GeometryError(
                f"This bundle needs the {joints[0]} key-points of {self.schema.name}, (N, 2) for the source and (T, N, 2) "
                f"for the target, not {tuple(source_keypoints.shape)} and {tuple(target_keypoints.shape)}."
            )
        if source.shape[1:] != (3, self.size, self.size) or len(source) not in (1, total):
            raise GeometryError(
                f"This bundle needs one source of 3 x {self.size} x {self.size}, or one a pose, not {tuple(source.shape)}."
            )
        if refine and self.refinement is None:
            raise ConfigError("This bundle has no refinement network; ask for refine=False.")
        device = self.matching.device
        sources, starts = source.expand(total, -1, -1, -1), source_keypoints.reshape(-1, *joints).expand(total, -1, -1)
        shares = torch.as_tensor(gamma, dtype=torch.float32).expand(total).view(-1, 1, 1, 1)
        frames: list[Tensor] = []
        flows: list[Tensor] = []
        warps: list[Tensor] = []
        for first in range(0, total, CHUNK):
            count = min(CHUNK, total - first)
            # a full chunk: the same kernels whatever the length
            rows = torch.arange(first, first + CHUNK).clamp(max=total - 1)
            image, begin, end, share = (v[rows].to(device) for v in (sources, starts, target_keypoints, shares))
            poses = (gaussian_maps(points, self.size, self.size, self.sigma) for points in (begin, end))
            moved = share * (self.matching(*poses) if flow is None else flow[rows].to(device))
            warped = warp(image, moved)
            made = self.refinement(image, moved) if refine else warped
            for kept, value in ((frames, made.clamp(0, 1)), (flows, moved), (warps, warped)):
                kept.append(value[:count].float().cpu())
        return SingleTransformOutput(torch.cat(frames), torch.cat(flows), torch.cat(warps))
