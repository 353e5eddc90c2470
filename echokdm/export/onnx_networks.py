"""All networks of a bundle as ONNX, each held against torch."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from echokdm.core.errors import BundleError, ConfigError
from echokdm.core.quiet import quiet
from echokdm.core.seeding import seeded_randn
from echokdm.io.atomic import atomic_folder
from echokdm.methods.bundle import find_bundle, pipeline_settings
from echokdm.networks.codec import decode, encode

if TYPE_CHECKING:
    from echokdm.methods.kdm.pipeline import KDMPipeline

MOST = 1e-3
"""The largest difference between an output in ONNX Runtime and in torch, in the output's own unit."""

OPSET = 20
_FRAMES = 2  # at which a network is looked at; it may be asked about any number


class _Call(NamedTuple):
    """A function of a network: its file's name, what it computes, names and values of its inputs, and its output's
    name."""

    name: str
    compute: nn.Module
    inputs: dict[str, Tensor]
    output: str


def _itself(network: nn.Module, *inputs: Tensor) -> Tensor:
    output: Tensor = network(*inputs)
    return output


def _first(network: nn.Module, *inputs: Tensor) -> Tensor:
    first: Tensor = network(*inputs)[0]
    return first


class _As(nn.Module):
    """A network with a function of it as `forward`."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor] = _itself) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.network, *inputs)


def write_onnx(
    bundle: str | Path, out: str | os.PathLike[str], progress: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Write NAME.onnx for each function of each network of a KDM bundle to the new folder `out`; returns the
    differences from torch.

    Inputs are float32 of any number of frames and of the bundle's size: frames and sectors (B, 1, S, S) in [0, 1],
    latents of unit spread; codecs take and give values in [-1, 1], the flow's in units of `networks.codec.FLOW_UNIT`
    px. The denoisers hold their condition encoder. A difference is the largest over all outputs, of inputs drawn from a
    fixed seed and of another number of frames than was exported.

    progress: told of each file. Raises BundleError where there is no such bundle or a network computes otherwise in
    ONNX, ConfigError where the packages onnx and onnxscript are missing, OutputError where `out` exists or can't be
    written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError(
            "ONNX needs onnx and onnxscript, which are not installed: pip install 'echokdm[export]'."
        ) from None
    from echokdm.methods.kdm.pipeline import KDMPipeline

    folder = find_bundle(bundle)
    if pipeline_settings(folder)["_class_name"] != KDMPipeline.__name__:
        raise BundleError(
            f"The bundle '{folder.name}' is of another method than kdm, whose networks alone are written as ONNX."
        )
    pipeline = KDMPipeline.from_pretrained(folder)
    found = {}
    with atomic_folder(Path(out), "export") as made:
        for call in _calls(pipeline):
            progress(call.name)
            found[call.name] = _write(call, made / f"{call.name}.onnx")
            if not found[call.name] <= MOST:
                raise BundleError(
                    f"The network {call.name} computes otherwise in ONNX, by up to {found[call.name]:.2g}: export it with "
                    "the versions of torch and onnx in constraints.txt."
                )
    return found


def _write(call: _Call, file: Path) -> float:
    """Export a function and measure it; the largest difference."""
    import onnxruntime

    example = tuple(call.inputs.values())
    frames = torch.export.Dim("frames")
    module = call.compute.eval().requires_grad_(False)
    with quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            module,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(call.inputs),
            output_names=[call.output],
            dynamic_shapes=(tuple({0: frames} for _ in example),),
        )
        program.save(file)
        more = tuple(torch.cat([value, value[:1]]) for value in example)
        want = module(*more)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    got = session.run([call.output], {name: value.numpy() for name, value in zip(call.inputs, more, strict=True)})[0]
    return float((torch.from_numpy(got) - want).abs().max())


def _calls(pipeline: "KDMPipeline") -> Iterator[_Call]:
    """Every function that the pipeline calls, with drawn inputs."""
    size, seeds = pipeline.size, count()

    def drawn(channels: int, side: int = size) -> Tensor:
        return seeded_randn((channels, side, side), next(seeds), range(_FRAMES))

    def frames(channels: int = 1) -> Tensor:
        return (drawn(channels) * 0.2 + 0.5).clamp(0, 1)

    for name in ("segmenter", "judge"):
        if (network := getattr(pipeline, name)) is not None:
            yield _Call(name, _As(network), {"frame": frames(), "sector": (drawn(1) > -1).float()}, "logits")
    if (detector := pipeline.landmarks) is not None:
        yield _Call("landmarks", _As(detector, _first), {"image": frames(detector.config.channels)}, "points")
    if (of_net := pipeline.of_net) is not None:
        yield _Call(
            "of_net",
            _As(of_net, _first),
            {name: frames(of_net.config.in_channels) for name in ("target", "source")},
            "flow",
        )
    latents = {}
    for name in ("image_codec", "flow_codec"):
        codec = getattr(pipeline, name).requires_grad_(False)
        values = drawn(codec.config["in_channels"] if name == "image_codec" else 2).clamp(-1, 1)
        latents[name] = encode(codec, values)
        yield _Call(f"{name}_encoder", _As(codec, encode), {"values": values}, "latents")
        yield _Call(
            f"{name}_decoder",
            _As(codec, lambda net, seen: decode(net, seen, False)),
            {"latents": latents[name]},
            "values",
        )
    for name, codec_name in (("k2f", "flow_codec"), ("f2i", "image_codec"), ("k2i", "image_codec")):
        if (network := getattr(pipeline, name)) is not None:
            noisy = latents[codec_name]
            inputs = {
                "noisy": noisy,
                "timestep": torch.tensor([500, 200]),
                "condition": drawn(network.config.pixel_channels),
            }
            if channels := network.config.latent_condition_channels:
                inputs["latent_condition"] = drawn(channels, noisy.shape[2])
            yield _Call(
                name,
                _As(network, lambda net, noisy, t, *seen: net(noisy, t, net.encode_condition(*seen))),
                inputs,
                "prediction",
            )
