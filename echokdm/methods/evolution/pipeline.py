"""The trained motion transfer at inference: views of an object and a driving clip to frames."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.precision import fast_arithmetic
from echokdm.core.schemas import learned
from echokdm.core.types import KeypointSchema
from echokdm.methods.evolution.animator import Networks, Views, look, nearest_pose, relative_keypoints, render
from echokdm.methods.pipeline import MethodPipeline
from echokdm.networks.appearance_flow import AppearanceFlow
from echokdm.networks.keypoint_detector import KeypointDetector
from echokdm.networks.keypoint_motion import KeypointMotion
from echokdm.networks.landmarks import LandmarkNet
from echokdm.networks.ode_field import ODEField
from echokdm.networks.warp_generator import WarpGenerator
from echokdm.ops.flow import resize_flow

CHUNK = 4  # frames a network call; fixed, so that no clip's length can change a byte
Anchor = Literal["first", "nearest"]


@dataclass(frozen=True)
class EvolutionOutput:
    """frames (T, 3, H, W) in [0, 1]; of the first view the flows (T, 2, H, W) backward px: coarse T(0), flow T(1), and

    appearance T_App (None without it); confidence (T, V, 1, H, W), each view's share; keypoints (T, K, 2) px as asked
    for, source_keypoints (V, K, 2) px.
    """

    frames: Tensor
    flow: Tensor
    coarse: Tensor
    appearance: Tensor | None
    confidence: Tensor
    keypoints: Tensor
    source_keypoints: Tensor


class EvolutionPipeline(MethodPipeline):
    """Motion of a driving clip carried over to an object seen in one or several pictures.

    Components: the paper's five networks, of which ODE field and self-appearance flow may be missing, and, where it was
    taken over from another bundle, a network of known landmarks, by which alone results are measured (AKD).

    >>> pipe = EvolutionPipeline.from_pretrained("runs/evolution-face-64/bundle")               # doctest: +SKIP
    >>> out = pipe(views, driving, relative=True)                                                # doctest: +SKIP
    """

    COMPONENTS: ClassVar[dict[str, type]] = {
        "keypoints": KeypointDetector,
        "motion": KeypointMotion,
        "generator": WarpGenerator,
        "field": ODEField,
        "appearance": AppearanceFlow,
        "landmarks": LandmarkNet,
    }
    _optional_components = ["field", "appearance", "landmarks"]

    def __init__(
        self,
        keypoints: KeypointDetector,
        motion: KeypointMotion,
        generator: WarpGenerator,
        field: ODEField | None = None,
        appearance: AppearanceFlow | None = None,
        landmarks: LandmarkNet | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            keypoints=keypoints,
            motion=motion,
            generator=generator,
            field=field,
            appearance=appearance,
            landmarks=landmarks,
        )

    @property
    def networks(self) -> Networks:
        """The parts by the paper's roles."""
        return Networks(self.keypoints, self.motion, self.generator, self.field, self.appearance)

    @property
    def schema(self) -> KeypointSchema:
        """Of the unsupervised key-points."""
        return learned(self.keypoints.config.points)

    @torch.no_grad()
    def find_keypoints(self, images: Tensor) -> Tensor:
        """images (T, 3, H, W) in [0, 1] -> the unsupervised key-points (T, K, 2) px."""
        with fast_arithmetic(self.device):
            return torch.cat(
                [self.keypoints(part.to(self.device)).float()[:count].cpu() for part, count in _chunks(images)]
            )

    @torch.no_grad()
    def __call__(
        self,
        views: Tensor,
        driving: Tensor | None = None,
        *,
        keypoints: Tensor | None = None,
        relative: bool = False,
        anchor: Anchor = "first",
    ) -> EvolutionOutput:
        """Show the object of `views` in the poses of `driving`.

        views: (V, 3, H, W) in [0, 1], the source first, then any number of references, whose order does not matter.
        driving: (T, 3, H, W); or keypoints (T, K, 2) px, such as `find_keypoints` gives. With a clip of the same object
        that is reconstruction, else animation. relative: the motion since an anchor frame is added to the source's own
        pose, so that another's shape does not come along; it needs an anchor posed like the source: the first driving
        frame, or the "nearest" one of the clip. Raises ConfigError where sizes do not fit.
        """
        if (driving is None) == (keypoints is None):
            raise ConfigError("Give either a driving clip or its key-points.")
        if views.ndim != 4 or views.shape[1] != 3 or (driving is not None and driving.shape[1:] != views.shape[1:]):
            shape = tuple(views.shape) if driving is None else (tuple(views.shape), tuple(driving.shape))
            raise ConfigError(f"Views and driving frames need one shape (number, 3, H, W), not {shape}.")
        found = self.find_keypoints(views)
        if keypoints is None:
            assert driving is not None  # one of the two is given
            asked = self.find_keypoints(driving)
        else:
            asked = keypoints.float()
        if asked.shape[1:] != found.shape[1:]:
            raise ConfigError(f"Key-points need the shape (T, {found.shape[1]}, 2), not {tuple(asked.shape)}.")
        if relative:
            asked = relative_keypoints(
                found[0], asked, asked[0 if anchor == "first" else nearest_pose(found[0], asked)]
            )
        with fast_arithmetic(self.device):
            seen = Views(*(v.float() for v in look(self.networks, views[None].to(self.device))))
        size = views.shape[2], views.shape[3]
        parts, appearances = [], []
        for part, count in _chunks(asked):
            rows = Views(*(v.expand(len(part), *v.shape[1:]) for v in seen))
            with fast_arithmetic(self.device):
                made = render(self.networks, rows, part.to(self.device))
            flows = [resize_flow(f[:, 0].float(), *size)[:count].cpu() for f in (made.motion, made.coarse)]
            if made.appearance is not None:
                appearances.append(resize_flow(made.appearance[:, 0].float(), *size)[:count].cpu())
            share = torch.nn.functional.interpolate(
                made.confidence.flatten(0, 1), size, mode="bilinear", align_corners=True
            )
            parts.append((made.image[:count].cpu(), *flows, share.unflatten(0, (len(part), len(views)))[:count].cpu()))
        frames, flow, coarse, confidence = (torch.cat(p) for p in zip(*parts, strict=True))
        return EvolutionOutput(
            frames, flow, coarse, torch.cat(appearances) if appearances else None, confidence, asked, found
        )


def _chunks(rows: Tensor) -> list[tuple[Tensor, int]]:
    """Pieces of CHUNK rows, the last one filled up by its own last row, and how many of each are wanted."""
    out = []
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        out.append((torch.cat([part, part[-1:].expand(CHUNK - len(part), *part.shape[1:])]), len(part)))
    return out
