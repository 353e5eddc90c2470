"""Codecs: what is saved comes back, and the flow codec knows how far things move."""

from pathlib import Path

import torch

from echokdm.networks.codec import FlowCodec, build_codec, decode_flow, encode_flow, with_detail


def test_flow_codec_comes_back_from_its_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = FlowCodec((8, 8, 8), 4, 16).eval()
    codec.register_to_config(scaling_factor=1.7)
    codec.save_pretrained(tmp_path)
    again = FlowCodec.from_pretrained(tmp_path).eval()
    flow = torch.randn(2, 2, 32, 32)
    with torch.no_grad():
        assert encode_flow(again, flow).shape == (2, 4, 8, 8)
        assert torch.equal(decode_flow(again, encode_flow(again, flow)), decode_flow(codec, encode_flow(codec, flow)))


def test_flow_codec_does_not_divide_out_the_amount_of_motion() -> None:
    torch.manual_seed(0)
    flow, ratios = torch.randn(1, 2, 32, 32), {}
    for name, codec in (("flow", FlowCodec((8, 8, 8), 4, 16)), ("image", build_codec(2, (8, 8, 8), 4, 16))):
        with torch.no_grad():
            none, little, much = (
                decode_flow(codec, encode_flow(codec, amount * flow), quantize=False) for amount in (0, 10, 300)
            )
        ratios[name] = float((much - none).std() / (little - none).std())
    assert ratios["flow"] > 10 and ratios["image"] < 2


def test_detail_comes_back_where_the_picture_is_the_start_and_not_where_it_was_redrawn() -> None:
    start = torch.rand(1, 1, 8, 8) * 0.5
    decoded = start - 0.04
    assert torch.allclose(with_detail(decoded, start, decoded), start)
    redrawn = decoded + 0.4
    assert torch.allclose(with_detail(redrawn, start, decoded), redrawn, atol=1e-6)
