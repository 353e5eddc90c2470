"""KDM at inference, on an untrained tiny bundle: shapes, seeds, sizes of batches, ablations."""

import pytest
import torch

from echokdm.core import defaults
from echokdm.core.errors import BundleError, GeometryError
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.kdm.pipeline import KDMPipeline


@pytest.fixture(scope="module")
def pipe(tiny_run):
    return KDMPipeline.from_pretrained(tiny_run / "run" / "bundle")


@pytest.fixture(scope="module")
def heart():
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom([5])
    phases = torch.linspace(0, 0.9, 10)[None]
    return phantom.frames(phases)[0, :1], phantom.keypoints(phases)[0], phantom.sector[0]


def test_output_has_the_shape_of_the_trajectory_and_is_black_outside_the_sector(pipe, heart):
    source, points, sector = heart
    out = pipe(source, points[0], points, sector=sector)
    assert out.frames.shape == (10, 1, 112, 112) and out.flow.shape == (10, 2, 112, 112)
    assert out.frames.min() >= 0 and out.frames.max() <= 1
    assert (out.frames[:, :, ~sector] == 0).all() and (out.flow[:, :, ~sector] == 0).all()


def test_a_frame_does_not_depend_on_its_neighbours_and_a_seed_repeats(pipe, heart):
    source, points, sector = heart
    whole = pipe(source, points[0], points, sector=sector, drawing=Drawing(seed=3))
    part = pipe(source, points[0], points[4:6], sector=sector, drawing=Drawing(seed=3))
    assert torch.equal(whole.frames[4:6], part.frames)
    assert not torch.equal(whole.frames, pipe(source, points[0], points, sector=sector, drawing=Drawing(seed=4)).frames)


def test_ablations_and_gamma(pipe, heart):
    source, points, sector = heart
    warp_only = pipe(source, points[0], points[3:5], sector=sector, drawing=Drawing(without="f2i"))
    assert torch.equal(warp_only.frames, (warp_only.warped).clamp(0, 1))
    still = pipe(source, points[0], points[3:5], sector=sector, drawing=Drawing(without="f2i", gamma=0.0))
    assert torch.allclose(still.frames, (source * sector).expand(2, -1, -1, -1), atol=1e-5)
    direct = pipe(source, points[0], points[3:5], sector=sector, drawing=Drawing(without="k2f"))
    assert direct.frames.shape == (2, 1, 112, 112) and (direct.flow == 0).all()


def test_a_call_takes_one_sample_of_the_flow_as_it_is_drawn_where_it_is_told_to(pipe, heart):
    source, points, sector = heart
    given = source.expand(8, -1, -1, -1), points[:1].expand(8, -1, -1), points[1:9], sector.float().expand(8, 1, -1, -1)
    one, two = (pipe.predict_flow(*given, Drawing(samples=samples, exact=False)) for samples in (1, 2))
    assert not torch.equal(one, two)
    drawing = Drawing(without="f2i", samples=1, exact=False)
    assert torch.equal(pipe(source, points[0], points[1:9], sector=sector, drawing=drawing).flow, one)


def test_wrong_keypoints_and_unknown_bundles_are_named(pipe, heart):
    source, points, sector = heart
    with pytest.raises(GeometryError, match="40"):
        pipe(source, points[0, :39], points[:, :39], sector=sector)
    with pytest.raises(BundleError, match="no bundle"):
        KDMPipeline.from_pretrained("no-such-bundle")


def test_a_damaged_bundle_is_refused(tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_run / "run" / "bundle", tmp_path / "b")
    weights = tmp_path / "b" / "f2i" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(BundleError, match="damaged"):
        KDMPipeline.from_pretrained(tmp_path / "b")


def test_the_shipped_segmenter_is_less_sure_of_a_heart_in_haze_and_says_nothing_of_what_was_made():
    from echokdm.phantom.a4c import A4CPhantom

    pipe, phantom = KDMPipeline.from_pretrained(defaults.BUNDLE), A4CPhantom([1_000_003])
    frames, sector = phantom.frames(torch.tensor([[0.0, 0.3]]))[0], phantom.sector[0]
    clear = pipe.segment(frames, sector, 3.0)
    haze = frames + 0.6 * (1 - frames) * torch.rand(frames.shape, generator=torch.Generator().manual_seed(0)) * sector
    hazy = pipe.segment(haze, sector, 3.0, any_view=True)
    assert clear.masks.shape == (2, 112, 112) and clear.confidence.shape == (2,)
    assert bool((clear.confidence > 0.8).all()) and bool((hazy.confidence < clear.confidence).all())
    assert pipe.segment(frames, sector, 3.0, made=True).confidence is None


def test_the_shipped_nets_open_valves_that_are_told_to_be_open_and_their_seeds_move_a_heart_alike():
    from echokdm.phantom.a4c import A4CPhantom

    pipe, phantom = KDMPipeline.from_pretrained(defaults.BUNDLE), A4CPhantom([1_010_003, 1_010_008, 1_010_011])
    widest = phantom.valve_opening((torch.arange(40) / 40).expand(3, -1)).argmax(1) / 40
    phases = torch.stack([torch.zeros(3), widest], 1)
    frames, points = phantom.frames(phases), phantom.keypoints(phases)
    given = {"sector": phantom.sector}
    made = {
        told: pipe(frames[:, 0], points[:, 0], points[:, 1], valve_opening=torch.full((3,), told), **given)
        for told in (0.0, 1.0)
    }
    middle = (points[:, 1, 19] + points[:, 1, 20]) / 2
    y, x = torch.meshgrid(torch.arange(112), torch.arange(112), indexing="ij")
    near = ((x - middle[:, :1, None]) ** 2 + (y - middle[:, 1:, None]) ** 2 < 12**2)[:, None]
    shut, opened = (((made[told].frames - frames[:, 1]) ** 2)[near].mean() for told in (0.0, 1.0))
    assert opened < 0.8 * shut
    flow = pipe(frames[:, 0], points[:, 0], points[:, 1], drawing=Drawing(seed=1, without="f2i"), **given).flow
    assert (flow - made[0.0].flow).norm(dim=1).mean() < 0.06 * flow.norm(dim=1).mean()
