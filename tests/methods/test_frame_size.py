"""A bundle of another size than the shipped ones: trained, loaded, scored, and used on a clip; the size is the bundle's
everywhere."""

import numpy as np
import pytest
import torch

from echokdm.core.errors import BundleError, ConfigError
from echokdm.echo.derive import load_pipeline, segment_keypoints
from echokdm.echo.wish import Wish
from echokdm.methods.bundle import frame_size

SIZE = 224
TRAINED = 160  # of the bundle that is trained here, and so quicker


@pytest.fixture(scope="module")
def large(train_tiny, tiny_yaml):
    """The bundle of `tiny_yaml` at TRAINED px."""
    return train_tiny(tiny_yaml.replace("size: 112", f"size: {TRAINED}"), "large") / "run" / "bundle"


def test_a_bundle_knows_its_size_and_the_segmenter_learns_at_its_own(large):
    assert frame_size(large) == load_pipeline(large).size == TRAINED and frame_size("a4c") == 112
    names = {folder.name for folder in (large.parents[1] / "cache").iterdir()}
    assert "phantoms-112-2" in names and f"phantoms-{TRAINED}-2" in names


def test_it_is_scored_on_phantoms_of_its_size(large, no_weights):
    from echokdm.evaluation.run import evaluate

    result = evaluate(large, patients=1, show=False)
    images = result.scores["images"]
    assert result.record["size"].startswith(f"{TRAINED} x {TRAINED} px") and np.isfinite(images["MSE_img"]).sum() > 10


def test_synth_draws_at_its_size(large):
    from echokdm.core.types import Clip
    from echokdm.echo.synthesis import synthesize
    from echokdm.phantom.a4c import A4CPhantom

    clip = Clip(A4CPhantom([5], TRAINED).frames(torch.arange(10)[None] / 10)[0], 10.0)
    pipe = load_pipeline(large)
    pipe.register_modules(segmenter=load_pipeline("a4c").segmenter, judge=None)  # one that finds
    made = synthesize(clip, Wish(ef=45), bundle=pipe)
    assert made.source.model.clip.size == (TRAINED, TRAINED) and made.edited.flow.shape[2:] == (TRAINED, TRAINED)
    assert made.clip.size == clip.size


def test_the_ventricle_is_found_at_the_same_place_in_a_larger_frame():
    from echokdm.phantom.a4c import A4CPhantom

    pipe, phases = load_pipeline("a4c"), torch.arange(10)[None] / 10
    found = {}
    for size in (112, SIZE):
        heart = A4CPhantom([7], size)
        found[size] = segment_keypoints(pipe, heart.frames(phases)[0], heart.sector[0], 10.0).keypoints
    carried = (found[112] + 0.5) * SIZE / 112 - 0.5
    assert np.abs(found[SIZE] - carried).mean() < 2, "px at 224; each picture has a grain of its own"


def test_clips_kept_at_another_size_are_told(tmp_path):
    from echokdm.data.clip_store import clip_store

    (tmp_path / "Keypoints").mkdir()
    (tmp_path / "FileList.csv").write_text("FileName,Split\na,TRAIN\n")
    np.savez(tmp_path / "Keypoints" / "a.npz", image=np.zeros((3, 112, 112), np.uint8))
    with pytest.raises(ConfigError, match="kept at 112 px.*set size=112"):
        clip_store(tmp_path / "store", tmp_path, "TRAIN", SIZE)


@pytest.mark.parametrize("size", [0, 4096, 112.5, "112"])
def test_a_size_that_can_not_be_is_refused_before_anything_is_made(size, large, tmp_path):
    import json
    import shutil

    folder = tmp_path / "b"
    shutil.copytree(large, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"size": size}))
    with pytest.raises(BundleError, match="size"):
        frame_size(folder)
    with pytest.raises(BundleError, match="size"):
        load_pipeline(folder)


def test_larger_frames_get_the_flow_of_smaller_ones_enlarged(monkeypatch):
    """A bundle that draws at SIZE px and finds flows at 112: the flow is the smaller frames', twice as long, and
    carries the outline."""
    from echokdm.ops.warp import sample_points
    from echokdm.phantom.a4c import A4CPhantom

    pipe = load_pipeline("a4c")
    flows, missed = {}, {}
    for size, flow_size in ((112, 112), (SIZE, 112)):
        heart, phases = A4CPhantom([7], size), torch.tensor([[0.0, 0.35]])
        frame, points, sector = heart.frames(phases)[0, :1], heart.keypoints(phases)[0], heart.sector[:, None].float()
        monkeypatch.setattr(pipe, "flow_size", flow_size)
        with torch.no_grad():
            flow = flows[size] = pipe.predict_flow(frame, points[:1], points[1:], sector)
        assert flow.shape == (1, 2, size, size) and not flow[~(sector > 0).expand_as(flow)].any()
        there = points[1] + sample_points(flow, points[1:])[0]
        missed[size] = float((there - points[0]).norm(dim=-1).mean())
        assert torch.equal(pipe.optical_flow(frame, frame, sector) * (1 - sector), torch.zeros_like(flow))
    assert missed[SIZE] < 2 * missed[112] + 0.3, "px; of a motion of some 15"
    small, large = flows[112], torch.nn.functional.avg_pool2d(flows[SIZE], 2) / 2
    assert (small - large).abs().mean() < 0.1 * small.abs().mean()


def test_a_training_simulates_for_its_flows_at_their_own_size(tmp_path):
    from echokdm.methods.kdm.config import KDMConfig
    from echokdm.methods.kdm.method import METHOD

    config = KDMConfig(
        name="a", size=64, flow_size=32, data={"patients": 1, "procedural": 1, "held_out": 1, "cache": str(tmp_path)}
    )
    stage = METHOD.build_stage("flow_codec", config, METHOD.data(config), tmp_path, False)
    assert stage.dataset[(0, 0)]["flow"].shape[1:] == (32, 32)
    assert METHOD.build_stage("image_codec", config, METHOD.data(config), tmp_path, False).dataset[(0, 0)][
        "flow"
    ].shape[1:] == (64, 64)
