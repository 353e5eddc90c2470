"""Flow files come back as written, and RubberWhale's true flow fits the package's warp."""

import struct
import zlib

import numpy as np
import pytest
import torch

from echokdm.core.errors import ClipError
from echokdm.io.flow_files import read_flo, read_kitti_png, write_flo, write_kitti_png
from echokdm.ops.warp import warp


@pytest.fixture
def flow():
    return torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0)) * 3


def test_flo_returns_flow_and_unknown_pixels(tmp_path, flow):
    known = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    known[0, 0, 2, 3] = False
    write_flo(tmp_path / "a.flo", flow, known)
    back, mask = read_flo(tmp_path / "a.flo")
    assert torch.equal(back, flow * known) and torch.equal(mask, known)


def test_flo_bytes_are_the_formats(tmp_path):
    flow = torch.zeros(1, 2, 1, 2)
    flow[0, :, 0, 1] = torch.tensor([2.0, -1.0])
    write_flo(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").read_bytes() == b"PIEH" + struct.pack("<ii4f", 2, 1, 0, 0, 2, -1)


@pytest.mark.parametrize("data", [b"", b"PIEH", b"PIEH" + struct.pack("<ii", 4, 4) + bytes(10), b"\0" * 40])
def test_flo_refuses_what_is_not_one(tmp_path, data):
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(ClipError, match="^The flow file is "):
        read_flo(tmp_path / "a.flo")


def test_kitti_png_returns_flow_within_its_step(tmp_path, flow):
    known = torch.ones(1, 1, 5, 7, dtype=torch.bool)
    known[0, 0, 0, 0] = False
    write_kitti_png(tmp_path / "a.png", flow, known)
    back, mask = read_kitti_png(tmp_path / "a.png")
    assert torch.equal(mask, known)
    assert (back - flow * known).abs().max() <= 0.5 / 64 + 1e-6


def test_kitti_png_bytes_decode_by_hand(tmp_path):
    """The pixels are read from the PNG's own chunks, so that writer and reader can't be wrong together."""
    flow = torch.tensor([1.5, -2.25]).view(1, 2, 1, 1)
    write_kitti_png(tmp_path / "a.png", flow)
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == bytes([16, 2])  # 16 bits a channel, RGB
    pixels, at = b"", 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        pixels += data[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    row = zlib.decompress(pixels)
    assert row[0] in (0, 1, 2)  # filters that leave a single pixel as it is
    assert np.frombuffer(row[1:], ">u2").tolist() == [2**15 + 96, 2**15 - 144, 1]


def test_kitti_png_refuses_other_pictures(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name in ("a.png", "b.png"):
        with pytest.raises(ClipError, match="^The flow file is not a KITTI"):
            read_kitti_png(tmp_path / name)


def test_rubberwhale_true_flow_warps_the_second_frame_onto_the_first(test_data):
    from PIL import Image

    folder = test_data / "flow" / "RubberWhale"
    flow, known = read_flo(folder / "flow10.flo")
    images = [np.array(Image.open(folder / f"frame{i}.png").convert("L"), np.float32) for i in (10, 11)]
    first, second = (torch.from_numpy(i)[None, None] for i in images)
    assert flow.square().sum(1).sqrt()[known[:, 0]].mean() == pytest.approx(1.256, abs=2e-3)

    def error(image):
        return (image - first).abs()[known].mean()

    assert error(warp(second, flow)) < 0.3 * error(second) < 0.3 * error(warp(second, -flow))
