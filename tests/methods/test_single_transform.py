"""The single spatial transformation from its configuration to pictures: bundle, requests, tables."""

from dataclasses import replace

import pytest
import torch

from echokdm.core.config import load_config
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.core.schemas import OPENPOSE_COCO_18
from echokdm.methods.base import Request
from echokdm.methods.single_transform import METHOD
from echokdm.methods.single_transform.pipeline import SingleTransformPipeline
from echokdm.methods.single_transform.scores import (
    AFFINE,
    BASELINES,
    Pairs,
    affine_flow,
    baseline_frames,
    body_mask,
    flow_behaviour,
    held_out_pairs,
    score_frames,
)
from echokdm.methods.train import train_config
from echokdm.ops.warp import pixel_grid, warp

YAML = """
method: single-transform
name: tiny
size: 32
data: {adapter: phantom-body, root: "2", frames: 4, cache: CACHE}
pose_sigma: 2.0
matching: {grid: 16, width: 8, layers: 3, strides: [2], channels: [8, 8], kernel: 1, guided: true, chunk_rows: 8}
refinement: {channels: [8], blocks: 1}
warping: {steps: 3, batch: 2, lr: 1.0e-3, backbone: own, layers: [relu1_1, relu2_1], scales: [1, 0.5]}
joint: {steps: 2, batch: 2, discriminator_width: 8, backbone: own, layers: [relu1_1], scales: [1]}
"""


@pytest.fixture(scope="module")
def run_folder(train_tiny):
    """Folder with `tiny.yaml` and, under `run/`, both stages trained for a few steps."""
    return train_tiny(YAML, "single")


@pytest.fixture(scope="module")
def pipe(run_folder):
    return SingleTransformPipeline.from_pretrained(run_folder / "run" / "bundle")


@pytest.fixture(scope="module")
def case(run_folder):
    """Frames (4, 3, 32, 32) and joints (4, 18, 2) of a held-out identity."""
    config = load_config(run_folder / "tiny.yaml", METHOD.config)
    item = METHOD.data(config).held_out(4, 0)[0, 0]
    return item["frames"], item["keypoints"]


def test_the_bundle_holds_both_networks_and_how_joints_are_drawn(pipe, run_folder):
    assert pipe.sigma == 2.0 and pipe.schema == OPENPOSE_COCO_18 and pipe.size == 32
    bundle = run_folder / "run" / "bundle"
    assert sorted(p.name for p in bundle.iterdir() if p.is_dir()) == ["matching", "refinement"]
    assert "Pose transfer" in (bundle / "README.md").read_text()


def test_a_poses_frame_depends_on_no_other_pose(pipe, case):
    frames, points = case
    together = pipe(frames[:1], points[0], points.repeat(2, 1, 1))
    alone = pipe(frames[:1], points[0], points[3:4])
    assert torch.equal(together.frames[3], alone.frames[0]) and torch.equal(together.flow[7], alone.flow[0])
    paired = pipe(frames[:2], points[:2], points[2:])
    assert torch.equal(paired.frames[0], pipe(frames[:1], points[0], points[2:3]).frames[0])
    assert torch.equal(paired.frames, pipe(frames[:2], points[:2], points[2:]).frames)


def test_the_flow_alone_moves_pixels_and_makes_none(pipe, case):
    frames, points = case
    out = pipe(frames[:1], points[0], points[1:], refine=False)
    assert torch.equal(out.frames, out.warped)
    assert torch.allclose(out.frames, warp(frames[:1].expand(3, -1, -1, -1), out.flow), atol=1e-6)
    given = torch.zeros(3, 2, 32, 32)
    assert torch.allclose(
        pipe(frames[:1], points[0], points[1:], refine=False, flow=given).frames[0], frames[0], atol=1e-6
    )
    half = pipe(frames[:1], points[0], points[1:], gamma=0.5)
    assert torch.allclose(half.flow, out.flow / 2)


def test_joints_that_were_not_detected_are_taken(pipe, case):
    frames, points = case
    hidden = points[1:].clone()
    hidden[:, 4] = torch.nan
    assert torch.isfinite(pipe(frames[:1], points[0], hidden).frames).all()


def test_what_does_not_fit_is_refused_in_a_sentence(pipe, case):
    frames, points = case
    with pytest.raises(GeometryError, match="18 key-points of openpose-18"):
        pipe(frames[:1], points[0, :5], points[1:])
    with pytest.raises(GeometryError, match="3 x 32 x 32"):
        pipe(frames[:1, :, :16], points[0], points[1:])
    with pytest.raises(ConfigError, match="refine=False"):
        SingleTransformPipeline(pipe.matching)(frames[:1], points[0], points[1:])


def test_requests(pipe, case):
    frames, points = case
    request = Request(sources=frames[:1], source_keypoints=points[:1], target_keypoints=points[1:])
    made = METHOD.generate(pipe, request)
    assert made.frames.shape == (3, 3, 32, 32) and made.flow.shape == (3, 2, 32, 32)
    assert torch.equal(made.frames, pipe(frames[:1], points[0], points[1:]).frames)
    swept = METHOD.generate(pipe, replace(request, gammas=torch.tensor([0.0, 1.0])))
    assert swept.flow[0].abs().max() == 0 and torch.equal(swept.flow[1], made.flow[-1])
    relative = METHOD.generate(pipe, replace(request, relative=True))
    assert torch.allclose(relative.flow[:1], pipe(frames[:1], points[0], points[:1]).flow, atol=1e-3)
    for lacking in ("source_keypoints", "target_keypoints"):
        with pytest.raises(ConfigError, match="joints"):
            METHOD.generate(pipe, replace(request, **{lacking: None}))


def test_the_paper_s_tables_in_form(pipe, run_folder, no_weights):
    """Without ImageNet's weights there is no LPIPS, and all else."""
    data = METHOD.data(load_config(run_folder / "tiny.yaml", METHOD.config))
    first, refined, behaviour = METHOD.evaluate(pipe, data)
    assert [row for row, _ in first.rows] == [*BASELINES, "w/o refinement (flow alone)"]
    assert [row for row, _ in refined.rows] == ["w/o refinement (flow alone)", "ours"]
    assert behaviour.rows[0][0] == "identity" and not any("LPIPS" in name for name in first.columns)
    assert first.cell("no edit", "SSIM").count == 6  # three pairs of two identities


def test_lpips_of_the_whole_picture_and_of_the_body(pipe, run_folder, squeeze_weights):
    pairs = held_out_pairs(METHOD.data(load_config(run_folder / "tiny.yaml", METHOD.config)), draws=1)
    scores = score_frames(pairs.source, pairs, pipe.schema, "no edit")
    assert (scores[["LPIPS_squeeze", "LPIPS_squeeze body"]] > 0).all(axis=None)
    assert score_frames(pairs.target, pairs, pipe.schema, "target")["LPIPS_squeeze body"].abs().max() < 1e-6


def test_without_refinement_there_is_one_stage_and_a_pipeline_of_the_flow(run_folder):
    out = run_folder / "flow"
    train_config(run_folder / "tiny.yaml", out=out, overrides=["warping.refine=false", "warping.steps=1"])
    pipe = SingleTransformPipeline.from_pretrained(out / "bundle")
    assert pipe.refinement is None and not (out / "joint").exists()


def test_flow_behaviour_measures_from_the_truth(pipe, case):
    frames, points = case
    pairs = Pairs(frames[:2], frames[:2], points[:2], points[:2], torch.arange(2).numpy())

    class Perfect:
        size, schema = 32, pipe.schema

        def __call__(self, source, begin, end, refine):
            move = torch.nanmean(begin - end, 1).view(-1, 2, 1, 1).expand(-1, -1, 32, 32)
            return type("Output", (), {"flow": move})

    assert flow_behaviour(Perfect(), pairs)["error"].max() < 1e-4
    still = flow_behaviour(standing_still(pipe), pairs)
    # 4 of 64 px are 2 of 32
    assert still[still["case"].str.contains("4")]["error"].to_numpy() == pytest.approx(2.0, abs=1e-4)


def standing_still(pipe):
    class Still:
        size, schema = 32, pipe.schema

        def __call__(self, source, begin, end, refine):
            return type("Output", (), {"flow": torch.zeros(len(end), 2, 32, 32)})

    return Still()


def test_the_affine_baseline_is_exact_where_the_joints_move_by_an_affine_map(case):
    frames, points = case
    end = points[0][~points[0].isnan().any(-1)]
    matrix, shift = torch.tensor([[1.1, 0.05], [-0.1, 0.9]]), torch.tensor([2.0, -1.0])
    flow = affine_flow(end @ matrix.T + shift, end, 32)
    grid = pixel_grid(32, 32).flatten(2)[0].T
    assert torch.allclose((grid + flow[0].flatten(1).T), grid @ matrix.T + shift, atol=1e-3)


def test_baselines_of_a_pose_that_stays_change_nothing(case):
    frames, points = case
    pairs = Pairs(frames[:2], frames[:2], points[:2], points[:2], torch.arange(2).numpy())
    for kind in BASELINES:
        assert torch.allclose(baseline_frames(pairs, kind), frames[:2], atol=1e-3), kind
    assert AFFINE in BASELINES


def test_the_body_is_near_its_limbs():
    points = torch.full((1, 18, 2), torch.nan)
    points[0, 1], points[0, 2] = torch.tensor([8.0, 16.0]), torch.tensor([24.0, 16.0])
    mask = body_mask(points, OPENPOSE_COCO_18, 32)[0, 0]
    assert mask[16, 8:25].all() and mask[18, 16] and not mask[19, 16] and not mask[16, 2]
