"""From views of an object and the key-points of a driving picture to the picture (Liu et al., sections 3.1 to 3.3)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.networks.appearance_flow import AppearanceFlow
from echokdm.networks.keypoint_detector import KeypointDetector
from echokdm.networks.keypoint_motion import KeypointMotion
from echokdm.networks.ode_field import ODEField
from echokdm.networks.warp_generator import WarpGenerator
from echokdm.ops.flow import resize_flow
from echokdm.ops.warp import warp


class Networks(NamedTuple):
    """F_K, F_C, F_G, F_E and F_A; the last two are None in the ablations without them."""

    keypoints: KeypointDetector
    motion: KeypointMotion
    generator: WarpGenerator
    field: ODEField | None
    appearance: AppearanceFlow | None


class Views(NamedTuple):
    """V views of B objects: images (B, V, 3, H, W) in [0, 1], key-points (B, V, K, 2) px, features (B, V, C, h, w)."""

    images: Tensor
    keypoints: Tensor
    features: Tensor


class Rendered(NamedTuple):
    """image (B, 3, H, W) in [0, 1]; of each view the flows (B, V, 2, h, w) px backward, T(0), T(1) and T_App (None
    without it),

    and its share of each place (B, V, 1, h, w), which sum to one over the views.
    """

    image: Tensor
    coarse: Tensor
    motion: Tensor
    appearance: Tensor | None
    confidence: Tensor


def fuse(features: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 6: sum over views of C~ F with C~ = C / sum C; (B, V, C, h, w) and (B, V, 1, h, w) > 0 -> (B, C, h, w) and
    C~.

    The paper prints the sum from j = 1, but its weights sum to one from j = 0, the source, which is therefore in it.
    """
    confidence = confidence.clamp_min(1e-6)
    share = confidence / confidence.sum(1, keepdim=True)
    return (share * features).sum(1), share


def look(networks: Networks, images: Tensor) -> Views:
    """Key-points (Eq. 1) and features of views (B, V, 3, H, W)."""
    B, V = images.shape[:2]
    flat = images.flatten(0, 1)
    found, features = networks.keypoints(flat), networks.generator.encode(flat)
    return Views(images, found.unflatten(0, (B, V)), features.unflatten(0, (B, V)))


def render(networks: Networks, views: Views, driving_keypoints: Tensor) -> Rendered:
    """The object in the pose of driving_keypoints (B, K, 2) px: Eq. 2 to 6 for each view, then the decoder."""
    B, V = views.images.shape[:2]
    images, begin, features = (v.flatten(0, 1) for v in views)
    end = driving_keypoints.repeat_interleave(V, 0)
    coefficients, confidence = networks.motion(images, begin, end)
    coarse = networks.motion.coarse(coefficients, begin, end, (images.shape[2], images.shape[3]))
    motion = coarse if networks.field is None else networks.field.refine(coarse)
    moved = _move(features, motion)
    appearance = None if networks.appearance is None else networks.appearance(moved)

    def fused(values: Tensor) -> list[Tensor]:
        """F_App and F_SD of Eq. 6 for features or pictures that have been moved; F_SD alone without self-appearance."""
        both = [values] if appearance is None else [_move(values, appearance), values]
        trust = _resize(confidence, *values.shape[2:]).unflatten(0, (B, V))
        return [fuse(v.unflatten(0, (B, V)), trust)[0] for v in both]

    copies = torch.stack(fused(_move(images, motion)), 1) if networks.generator.config.copies else None
    image = networks.generator(torch.cat(fused(moved), 1), copies)
    share = fuse(moved.unflatten(0, (B, V)), _resize(confidence, *moved.shape[2:]).unflatten(0, (B, V)))[1]
    return Rendered(
        image,
        coarse.unflatten(0, (B, V)),
        motion.unflatten(0, (B, V)),
        None if appearance is None else appearance.unflatten(0, (B, V)),
        share,
    )


def _move(values: Tensor, flow: Tensor) -> Tensor:
    """Warp (B, C, H, W) by a flow of any size."""
    return warp(values.float(), resize_flow(flow, *values.shape[2:]))


def _resize(values: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(values, (height, width), mode="bilinear", align_corners=True)


def relative_keypoints(source: Tensor, driving: Tensor, anchor: Tensor) -> Tensor:
    """The source's key-points (K, 2) moved as the driving ones (T, K, 2) have since `anchor` (K, 2) -> (T, K, 2),
    px."""
    return source + driving - anchor


def nearest_pose(source: Tensor, driving: Tensor) -> int:
    """Which driving frame is posed most like the source: by key-points (T, K, 2) and (K, 2), place and size taken
    out."""

    def shape(points: Tensor) -> Tensor:
        centred = points - points.mean(-2, keepdim=True)
        return centred / centred.square().sum(-1).mean(-1).sqrt().clamp_min(1e-6)[..., None, None]

    return int((shape(driving) - shape(source)).square().sum((-1, -2)).argmin())
