"""VQ-GAN codecs of images and flows: diffusers' `VQModel` in our sizes, and latents of unit spread."""

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor, nn

FLOW_UNIT = 4.0  # px that are 1 to the flow codec, at the model's own size
REDRAWN = 0.1  # change of gray value by which the start's detail is mostly left out


def build_codec(
    channels: int, block_out_channels: tuple[int, ...], latent_channels: int, codes: int, layers_per_block: int = 1
) -> VQModel:
    """A VQModel of compression 2 ** (len(block_out_channels) - 1), without attention."""
    return VQModel(
        in_channels=channels,
        out_channels=channels,
        **_form(block_out_channels, latent_channels, codes, layers_per_block),
    )


def _form(block_out_channels: tuple[int, ...], latent_channels: int, codes: int, layers_per_block: int) -> dict:
    levels = len(block_out_channels)
    return {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(block_out_channels),
        "layers_per_block": layers_per_block,
        "latent_channels": latent_channels,
        "num_vq_embeddings": codes,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    }


class FlowCodec(VQModel):
    """A VQModel of flows (B, 2, H, W) without group normalisation, which would divide out how far things move.

    Sizes as in `build_codec`; norm_type and lookup_from_codebook are what `VQModel.decode` looks up in its config.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (24, 32, 48),
        latent_channels: int = 4,
        codes: int = 1024,
        layers_per_block: int = 1,
        scaling_factor: float = 1.0,
        norm_type: str = "group",
        lookup_from_codebook: bool = False,
    ) -> None:
        form = _form(block_out_channels, latent_channels, codes, layers_per_block)
        VQModel.__init__.__wrapped__(
            self,
            in_channels=2,
            out_channels=2,
            **form,
            scaling_factor=scaling_factor,
            norm_type=norm_type,
            lookup_from_codebook=lookup_from_codebook,
        )
        for parent in list(self.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.GroupNorm):
                    setattr(parent, name, nn.Identity())


def encode_flow(codec: VQModel, flow: Tensor) -> Tensor:
    """Flow (B, 2, H, W) px -> latents (B, L, h, w) of unit spread."""
    return encode(codec, flow / FLOW_UNIT)


def decode_flow(codec: VQModel, latents: Tensor, quantize: bool = True) -> Tensor:
    """Latents of unit spread -> flow (B, 2, H, W) px; quantised on the way as LDM does, unless told otherwise."""
    return decode(codec, latents, quantize) * FLOW_UNIT


def encode(codec: VQModel, values: Tensor) -> Tensor:
    """Values in [-1, 1] (B, C, H, W) -> latents before quantisation (B, L, h, w), scaled to unit spread."""
    values = values.contiguous(memory_format=torch.channels_last)  # the faster layout on a CPU
    return codec.encode(values).latents * codec.config["scaling_factor"]


def decode(codec: VQModel, latents: Tensor, quantize: bool = True) -> Tensor:
    """Latents of unit spread -> values (B, C, H, W); quantised on the way as LDM does, unless told otherwise."""
    latents = (latents / codec.config["scaling_factor"]).contiguous(memory_format=torch.channels_last)
    return codec.decode(latents, force_not_quantize=not quantize).sample


def fit_scale(codec: VQModel, values: Tensor) -> float:
    """Store in the config the factor that gives latents of `values` unit standard deviation; returns it."""
    factor = 1.0 / float(codec.encode(values).latents.float().std())
    codec.register_to_config(scaling_factor=factor)
    return factor


def fit_codebook(codec: VQModel, latents: Tensor, iterations: int = 8) -> None:
    """Place the codes on the latents by k-means, so that none is dead when quantisation starts.

    latents: (B, L, h, w), unscaled; more vectors than codes.
    """
    vectors = latents.detach().float().permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    codes = codec.quantize.n_e
    picks = torch.randperm(len(vectors), device=vectors.device)
    centres = vectors[picks[torch.arange(codes, device=vectors.device) % len(vectors)]]
    for _ in range(iterations):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in vectors.split(8192)])
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        counts = torch.bincount(nearest, minlength=codes)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
    codec.quantize.embedding.weight.data.copy_(centres)


def with_detail(made: Tensor, start: Tensor, decoded: Tensor) -> Tensor:
    """A decoded picture with what the codec lost of the picture it was made from, where the two are alike; all (B, C,
    H, W) in [0, 1].

    start: the picture that `made` went out from. decoded: the same through the codec. Where something else was drawn,
    as an open valve, the detail of what had been there would show through.
    """
    return made + (start - decoded) * torch.exp(-((made - decoded) / REDRAWN).square())
