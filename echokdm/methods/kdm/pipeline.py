"""KDM at inference: key-points to flow, flow to frames (KDM, sections 3.2-3.4, appendix B)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor

from echokdm.core import defaults
from echokdm.core.errors import BundleError, GeometryError
from echokdm.core.frames import Frames, each
from echokdm.core.labels import Label
from echokdm.core.precision import fast_arithmetic
from echokdm.core.schemas import schema as schema_named
from echokdm.core.seeding import seeded_randn
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.engine.sampling import build_scheduler, sample
from echokdm.methods.bundle import LARGEST, is_frame_size
from echokdm.methods.kdm.conditions import f2i_condition, k2f_condition, outline, warp_source
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.pipeline import MethodPipeline
from echokdm.networks.codec import FlowCodec, decode, decode_flow, encode, with_detail
from echokdm.networks.conditioned_unet import ConditionedUNet
from echokdm.networks.landmarks import LandmarkNet
from echokdm.networks.pwc_lite import PWCLite
from echokdm.networks.segmenter import Judge, Segmenter, as_seen
from echokdm.ops.confidence import Calibration, frame_signs
from echokdm.ops.render import carry_keypoints
from echokdm.ops.resample import enlarge_flow, rescale_centres
from echokdm.ops.segmentation import segment_clip

if TYPE_CHECKING:
    from echokdm.engine.sampling import Scheduler

EditFlow = Literal["k2f", "limbs"]
CHUNK = 8  # frames a network call where nothing else is asked; fixed, so that no batch size can change a byte


@dataclass
class KDMOutput:
    """frames (T, 1, H, W) in [0, 1]; flow (T, 2, H, W) backward px; warped (T, 1, H, W), the source moved by the
    flow."""

    frames: Tensor
    flow: Tensor
    warped: Tensor


class Ventricle(NamedTuple):
    """masks (T, h, w) bool of the frames as the segmenter sees them (`as_seen`), empty where nothing was found;
    confidence (T,) in [0, 1], see `ops.confidence`, None where it is not known.
    """

    masks: Tensor
    confidence: Tensor | None


class KDMPipeline(MethodPipeline):
    """Key-point guided Deformable image Manipulation of one source frame.

    Components: the image and flow codecs, K2F-net, F2I-net, the one-step ablation K2I-net, OF-net, the LV segmenter and
    the judge that measures what was made or, beyond echo, a network that finds landmarks, and a DDIM scheduler that
    holds the noise schedule. schema: the name of its key-points'. size: px a side of the frames that it draws.
    confidence: the numbers of the segmenter's `ops.confidence.Calibration`, or None. flow_size: px a side at which
    K2F-net and OF-net see larger frames, whose flow is then enlarged; None for any. edit_flow: what an edit of a
    picture starts from, K2F-net's flow or, "limbs", none but that of the limbs that move (`methods.kdm.editing`).

    >>> pipe = KDMPipeline.from_pretrained("a4c-phantom")                                        # doctest: +SKIP
    >>> out = pipe(frame, keypoints, trajectory, sector=sector, drawing=Drawing(seed=1))         # doctest: +SKIP
    """

    COMPONENTS = {
        "segmenter": Segmenter,
        "judge": Judge,
        "landmarks": LandmarkNet,
        "of_net": PWCLite,
        "image_codec": VQModel,
        "flow_codec": FlowCodec,
        "k2f": ConditionedUNet,
        "f2i": ConditionedUNet,
        "k2i": ConditionedUNet,
    }
    _optional_components = ["segmenter", "judge", "landmarks", "k2i", "of_net"]

    def __init__(
        self,
        image_codec: VQModel,
        flow_codec: FlowCodec,
        k2f: ConditionedUNet,
        f2i: ConditionedUNet,
        scheduler: "Scheduler",
        segmenter: Segmenter | None = None,
        landmarks: LandmarkNet | None = None,
        k2i: ConditionedUNet | None = None,
        of_net: PWCLite | None = None,
        judge: Judge | None = None,
        schema: str = A4C_BLOODPOOL_40.name,
        confidence: Mapping[str, float] | None = None,
        size: int = defaults.FRAME_SIZE,
        flow_size: int | None = None,
        edit_flow: EditFlow = "k2f",
    ) -> None:
        super().__init__()
        if not is_frame_size(size) or not (flow_size is None or is_frame_size(flow_size)):
            raise BundleError("The bundle's frames have no size that can be: install or train it again.")
        self.register_to_config(
            schema=schema,
            confidence=None if confidence is None else dict(confidence),
            size=size,
            flow_size=flow_size,
            edit_flow=edit_flow,
        )
        self.schema, self.size, self.flow_size, self.edit_flow = (
            schema_named(schema),
            size,
            flow_size or LARGEST,
            edit_flow,
        )
        self.calibration = None if confidence is None else Calibration(confidence)
        self.register_modules(
            image_codec=image_codec,
            flow_codec=flow_codec,
            k2f=k2f,
            f2i=f2i,
            segmenter=segmenter,
            landmarks=landmarks,
            scheduler=scheduler,
            k2i=k2i,
            of_net=of_net,
            judge=judge,
        )

    @torch.no_grad()
    def segment(
        self, frames: Frames, sector: Tensor, fps: float, made: bool = False, any_view: bool = False
    ) -> Ventricle:
        """The LV in frames (T, 1, H, W) in [0, 1], fps of them a second; sector (H, W) bool.

        made: the frames were made from a clip whose ventricle was found: the judge looks, and neither walls nor view
        are asked for, nor how sure it is.
        any_view: see `segment_clip`. Raises GeometryError where no ventricle is found, ViewError in another view,
        BundleError where the bundle has no segmenter.
        """
        if self.segmenter is None:
            raise BundleError(
                "This bundle has no segmenter, so it can't find key-points itself; pass them with --keypoints."
            )
        finder = self.measurer if made else self.segmenter

        def network(*seen: Tensor) -> Tensor:
            with fast_arithmetic(self.device):
                return finder(*seen)

        inside = as_seen(frames[:1], sector[None, None])[1]
        seen = each(frames, lambda some: as_seen(some, sector[None, None])[0])
        masks, probabilities, agreement = segment_clip(
            network, seen, inside[0, 0], fps, walled=not made, any_view=any_view
        )
        told = (
            None if made or self.calibration is None else self.calibration(frame_signs(masks, probabilities, agreement))
        )
        return Ventricle(masks, told)

    @torch.no_grad()
    def right_heart(self, frames: Tensor, sector: Tensor) -> Tensor:
        """(T, H, W) bool: where the segmenter's likeliest class is right ventricle or atrium; nowhere without a
        segmenter.

        frames (T, 1, H, W) in [0, 1], sector (H, W) bool.
        """
        if self.segmenter is None:
            return torch.zeros(len(frames), *frames.shape[2:], dtype=torch.bool)
        seen, inside = as_seen(frames.to(self.device), sector.to(self.device)[None, None])
        labels = self.segmenter(seen, inside.expand(len(seen), -1, -1, -1)).argmax(1)
        right = ((labels == Label.RV) | (labels == Label.RA)).cpu()
        return F.interpolate(right[:, None].float(), frames.shape[2:])[:, 0] > 0.5

    @property
    def measurer(self) -> Judge | Segmenter:
        """What measures pictures that were made: the judge, which nothing here was taught to please; the segmenter
        where there is none."""
        return self.segmenter if self.judge is None else self.judge

    @torch.no_grad()
    def __call__(
        self,
        source: Tensor,
        source_keypoints: Tensor,
        target_keypoints: Tensor,
        *,
        sector: Tensor,
        drawing: Drawing = Drawing(),
        flow: Tensor | None = None,
        valve_opening: Tensor | None = None,
        chunk: int = CHUNK,
    ) -> KDMOutput:
        """Move a frame's key-points and get the frames they ask for.

        source: (1, 1, H, W) in [0, 1]. source_keypoints: (40, 2), target_keypoints: (T, 40, 2), (x, y) px.
        sector: (H, W) bool; outside it the result is black. Source, its key-points and sector may also be T in number,
        (T, 1, H, W), (T, 40, 2) and (T, H, W): one for each frame, to move many hearts in one call. drawing: how the
        networks are run. flow: (T, 2, H, W) px, instead of K2F's. valve_opening: (T,) 0 shut to 1 wide open, as of
        `ops.cycle.valve_opening`; 0.5 where it is not known, the default. chunk: frames a network call; another number
        is another sum's order, and so other last digits. Raises GeometryError for key-points of a wrong shape.
        """
        total = len(target_keypoints)
        each = (len(self.schema), 2)
        if target_keypoints.shape[1:] != each or source_keypoints.shape not in (each, (total, *each)):
            raise GeometryError(
                f"This bundle needs the {each[0]} key-points of {self.schema.name}, (N, 2) for the source and (T, N, 2) "
                f"for the target, not {tuple(source_keypoints.shape)} and {tuple(target_keypoints.shape)}."
            )
        device = self.f2i.device
        without, shared = drawing.without, None  # one source's latents serve all frames
        if len(source) == 1 and without != "f2i":
            shared = self._encode(source.to(device)).expand(chunk, -1, -1, -1)
        size = source.shape[2:]
        sources, sectors = (
            source.expand(total, -1, -1, -1),
            sector.float().reshape(-1, 1, *size).expand(total, -1, -1, -1),
        )
        starts = source_keypoints.float().reshape(-1, *each).expand(total, -1, -1)
        valves = torch.full((total,), 0.5) if valve_opening is None else valve_opening.float()
        frames, flows, warps = [], [], []
        for first in range(0, total, chunk):
            count = min(chunk, total - first)
            # a full chunk: the same kernels whatever the length
            rows = torch.arange(first, first + chunk).clamp(max=total - 1)
            images, mask, begin, part, opening = (
                v[rows].to(device) for v in (sources, sectors, starts, target_keypoints.float(), valves)
            )
            if flow is not None:
                moved = flow[rows].to(device)
            elif without == "k2f":
                moved = torch.zeros(chunk, 2, *size, device=device)
            else:
                moved = self.predict_flow(images, begin, part, mask, drawing)
            moved = moved * drawing.gamma
            warped = warp_source(images, moved, mask)
            if without == "f2i" or (drawing.strength == 0 and without is None):
                made = warped
            else:
                latents = self._encode(images) if shared is None else shared
                if without == "k2f":
                    made = self._one_step(images, latents, begin, part, mask, drawing)
                else:
                    made = self._render(images, latents, warped, part, moved, mask, opening, drawing)
            frames.append((made * mask).clamp(0, 1)[:count].float().cpu())
            flows.append(moved[:count].cpu())
            warps.append(warped[:count].cpu())
        return KDMOutput(torch.cat(frames), torch.cat(flows), torch.cat(warps))

    @torch.no_grad()
    def predict_flow(
        self,
        source: Tensor,
        source_keypoints: Tensor,
        target_keypoints: Tensor,
        sector: Tensor,
        drawing: Drawing = Drawing(),
    ) -> Tensor:
        """K2F-net: flow (B, 2, H, W) in px for B sources and key-point pairs; zero outside the sector (B, 1, H, W).

        drawing: its flow_steps, samples, exact, seed and scheduler; the flow is not scaled by its gamma.
        """
        seen, inside = as_seen(source, sector, self.flow_size)
        smaller = source.shape[3] / seen.shape[3]
        begin, end = rescale_centres(source_keypoints, smaller), rescale_centres(target_keypoints, smaller)
        flow = self._draw_flow(seen, begin, end, inside, drawing)
        if drawing.exact:
            flow = (
                carry_keypoints(
                    flow, outline(begin, self.schema), outline(end, self.schema), outline=self.schema.closed
                )
                * inside
            )
        return enlarge_flow(flow, *source.shape[2:]) * sector

    @torch.no_grad()
    def optical_flow(self, target: Tensor, source: Tensor, sector: Tensor) -> Tensor:
        """OF-net: backward flow (B, 2, H, W) px from target to source, both (B, 1, H, W) in [0, 1]; zero outside sector
        (B, 1, H, W).

        Raises BundleError where the bundle has no OF-net.
        """
        if self.of_net is None:
            raise BundleError("This bundle has no OF-net; train its stage of_net.")
        size, device = target.shape[2:], self.of_net.device
        (seen, _), (before, _) = (
            as_seen(images.to(device), sector.to(device), self.flow_size) for images in (target, source)
        )
        return enlarge_flow(self.of_net.flow(seen, before), *size).to(sector.device) * sector

    def _draw_flow(
        self, source: Tensor, source_keypoints: Tensor, target_keypoints: Tensor, sector: Tensor, drawing: Drawing
    ) -> Tensor:
        seen = k2f_condition(source, source_keypoints, target_keypoints, sector, self.schema)
        drawn = [
            self._denoise(self.k2f, seen, None, drawing.flow_steps, drawing, sign=sign)
            for sign in (1.0, -1.0)[: drawing.samples]
        ]
        latent = torch.stack(drawn).mean(0)
        with fast_arithmetic(self.device):
            return decode_flow(self.flow_codec, latent, quantize=False).float() * sector

    def _render(
        self,
        source: Tensor,
        source_latents: Tensor,
        warped: Tensor,
        targets: Tensor,
        flow: Tensor,
        sector: Tensor,
        valve_opening: Tensor,
        drawing: Drawing,
    ) -> Tensor:
        """F2I-net from the noised warp (section 3.4)."""
        begin = self._encode(warped)
        seen = f2i_condition(source, warped, targets, flow, sector, self.schema, valve_opening)
        latent = self._denoise(self.f2i, seen, torch.cat([begin, source_latents], 1), drawing.steps, drawing, begin)
        made = self._decode(latent, drawing.quantize)
        return with_detail(made, warped, self._decode(begin, drawing.quantize)) if drawing.carry_detail else made

    def _one_step(
        self,
        source: Tensor,
        latents: Tensor,
        source_keypoints: Tensor,
        targets: Tensor,
        sector: Tensor,
        drawing: Drawing,
    ) -> Tensor:
        """K2I-net, key-points straight to the image, from pure noise."""
        if self.k2i is None:
            raise GeometryError("This bundle has no K2I-net, so it can't run without K2F; train its stage k2i.")
        seen = k2f_condition(source, source_keypoints, targets, sector, self.schema)
        return self._decode(self._denoise(self.k2i, seen, latents, drawing.steps, drawing), drawing.quantize)

    def _encode(self, images: Tensor) -> Tensor:
        with fast_arithmetic(self.device):
            return encode(self.image_codec, images * 2 - 1).float()

    def _decode(self, latents: Tensor, quantize: bool) -> Tensor:
        with fast_arithmetic(self.device):
            return (decode(self.image_codec, latents, quantize).float() + 1) / 2

    def _denoise(
        self,
        network: ConditionedUNet,
        pixels: Tensor,
        latents: Tensor | None,
        calls: int,
        drawing: Drawing,
        start: Tensor | None = None,
        sign: float = 1.0,
    ) -> Tensor:
        """A clean latent (B, L, h, w) under conditions, from one noise shared by all, so that texture stands where
        nothing moves.

        start: clean latents to begin from at the drawing's strength; from pure noise where None. sign: of the noise.
        """
        with fast_arithmetic(self.device):
            condition = network.encode_condition(pixels, latents)

        def denoise(noisy: Tensor, t: Tensor) -> Tensor:
            with fast_arithmetic(self.device):
                return network(noisy, t, condition)

        noise = sign * seeded_randn((network.config.latent_channels, *condition.shape[2:]), drawing.seed, [0]).to(
            pixels.device
        )
        return sample(
            denoise,
            noise.expand(len(pixels), -1, -1, -1),
            self._scheduler(drawing.scheduler),
            calls=calls,
            start=start,
            strength=drawing.strength,
        )

    def _scheduler(self, kind: str) -> "Scheduler":
        return build_scheduler(kind, self.scheduler.config.prediction_type, self.scheduler.config.num_train_timesteps)
