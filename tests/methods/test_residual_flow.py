"""The residual-flow method from its configuration to pictures: losses, stages, bundle, requests, tables."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from echokdm.core.config import load_config
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.core.schemas import IBUG_68
from echokdm.data.frames import FrameSource
from echokdm.engine.stage import Run
from echokdm.methods.base import Request
from echokdm.methods.residual_flow import METHOD
from echokdm.methods.residual_flow.conditions import conditions, prior_flow
from echokdm.methods.residual_flow.pipeline import ResidualFlowPipeline
from echokdm.methods.residual_flow.scores import FULL, NO_EDIT, held_out_cases, score_cases, score_pipeline
from echokdm.methods.residual_flow.stages import draw_sources
from echokdm.ops.render import render_keypoints, spread_motion
from echokdm.ops.warp import sample_points

YAML = """
method: residual-flow
name: tiny
size: 32
data: {adapter: phantom-face, root: "2", frames: 5, cache: CACHE}
network: {strides: [4, 2, 1], flow_stem: 2, flow_widths: [8, 16], widths: [8, 16, 16], motion_prior: true}
losses: {backbone: own, correctness_layers: [relu1_1], perceptual_layers: [relu1_1, relu2_1], style_layers: [relu1_1],
         neighbourhoods: [3, 3, 5], adversarial_kind: lsgan}
flow: {steps: 2, batch: 2}
joint: {steps: 2, batch: 2, discriminator_width: 8}
"""


@pytest.fixture(scope="module")
def run_folder(train_tiny):
    """Folder with `tiny.yaml` and, under `run/`, both stages trained for two steps."""
    return train_tiny(YAML, "residual")


@pytest.fixture(scope="module")
def config(run_folder):
    return load_config(run_folder / "tiny.yaml", METHOD.config)


@pytest.fixture(scope="module")
def data(config):
    return METHOD.data(config)


@pytest.fixture(scope="module")
def pipe(run_folder):
    return ResidualFlowPipeline.from_pretrained(run_folder / "run" / "bundle")


@pytest.fixture(scope="module")
def case(data):
    return held_out_cases(data)[0]


def stage_of(name, config, data, run_folder):
    torch.manual_seed(0)
    return METHOD.build_stage(name, config, data, run_folder / "run" / "bundle", start=True)


def batch_of(stage):
    items = [stage.dataset[0, i] for i in range(stage.batch_size)]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def once(stage, batch, step=0):
    torch.manual_seed(step)
    return stage.step(batch, Run(step, 100, torch.device("cpu"), lambda loss: loss.backward(), nullcontext))


def request_of(case, count, **changes):
    frames, points = case["frames"], case["keypoints"]
    return replace(Request(frames[1 : 1 + count], points[1 : 1 + count], points[:1]), **changes)


def test_networks_see_source_and_both_structures():
    g = torch.Generator().manual_seed(0)
    sources, points = torch.rand(2, 3, 3, 32, 32, generator=g), 32 * torch.rand(2, 4, 68, 2, generator=g)
    points[0, 1, 5:9], points[1, 3] = torch.nan, torch.nan  # the last source shows none of them
    seen, start, structure = conditions(sources, points[:, 1:], points[:, 0], IBUG_68, True)
    assert seen.shape == (6, 11, 32, 32) and seen.isfinite().all()
    for b in range(2):
        drawn = render_keypoints(points[b], IBUG_68, 32, 32)
        assert torch.equal(structure[b], drawn[0])
        for k in range(3):
            assert torch.equal(seen[3 * b + k, :9], torch.cat([sources[b, k], drawn[1 + k], drawn[0]]))
            assert torch.equal(start[3 * b + k], prior_flow(points[b, 1 + k][None], points[b, :1], 32, 32)[0])
            assert torch.equal(seen[3 * b + k, 9:] * 8, start[3 * b + k])
    assert not start[5].any() and not seen[5, 3:6].any()
    plain = conditions(sources, points[:, 1:], points[:, 0], IBUG_68, False)
    assert plain.start is None and torch.equal(plain.seen, seen[:, :9])


def test_the_prior_is_the_keypoints_motion_spread_out():
    g = torch.Generator().manual_seed(0)
    source = 10 + 44 * torch.rand(2, 9, 2, generator=g)
    target = source + 3 * torch.randn(2, 9, 2, generator=g)
    full = spread_motion(source, target, 64, 64)
    found = prior_flow(source, target, 64, 64)
    assert (found - full).abs().mean() < 0.05 * full.abs().mean()
    shift = torch.tensor([2.0, -1.0])
    at = sample_points(prior_flow(source + shift, source, 64, 64), source)
    assert torch.allclose(at, shift.expand_as(at), atol=0.1)


def test_one_to_three_sources_are_drawn_and_never_the_target():
    batch = {
        "frames": torch.arange(4.0).view(1, 4, 1, 1, 1).expand(2, 4, 3, 2, 2),
        "keypoints": torch.arange(4.0).view(1, 4, 1, 1),
    }
    counts = set()
    for seed in range(30):
        torch.manual_seed(seed)
        drawn = draw_sources(batch, 3)
        counts.add(drawn.sources.shape[1])
        assert drawn.target.unique().tolist() == [0] and 0 not in drawn.sources
        assert drawn.source_keypoints.flatten().tolist() == list(range(1, 1 + drawn.sources.shape[1]))
    assert counts == {1, 2, 3}


def test_terms_have_the_papers_weights(config, data, run_folder):
    """Eq. 7 and 8: the logged loss is the weighted sum of the logged terms, and the paper's weights are the
    defaults."""
    weights = {"correctness": 5, "regularity": 0.0025, "l1": 5, "perceptual": 0.5, "style": 500, "adversarial": 2}
    for name, terms in (("flow", 2), ("joint", 6)):
        stage = stage_of(name, config, data, run_folder)
        logged = once(stage, batch_of(stage))
        used = [term for term in weights if term in logged]
        assert len(used) == terms
        assert logged["loss"].item() == pytest.approx(sum(weights[t] * logged[t].item() for t in used), rel=1e-4)


def test_the_right_flow_is_the_better_one(config, data, run_folder):
    """The warm-up's loss falls where the source is the target itself and F starts from no flow rather than from a wrong
    one."""
    objective = stage_of("flow", config, data, run_folder).objective
    frames = data.train(2, 0)[0, 0]["frames"]
    levels = METHOD.build_stage("flow", config, data, run_folder, start=False).modules["flow_net"](
        torch.zeros(1, 11, 32, 32)
    )
    right = objective.flow_loss(frames[None, :1], frames[:1], levels)
    wrong = objective.flow_loss(frames[None, :1], frames[:1], [level._replace(flow=level.flow + 3) for level in levels])
    assert right["correctness"] < wrong["correctness"] and right["regularity"].item() == pytest.approx(0, abs=1e-6)


def test_each_stage_trains_its_own(config, data, run_folder):
    stage = stage_of("joint", config, data, run_folder)
    before = {name: [p.detach().clone() for p in module.parameters()] for name, module in stage.modules.items()}
    batch = batch_of(stage)
    for step in range(2):
        figures = once(stage, batch, step)
    assert all(torch.isfinite(v) for v in figures.values())
    for name, module in stage.modules.items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)), name
    assert all(p.grad is None and not p.requires_grad for frozen in stage.frozen.values() for p in frozen.parameters())
    assert set(stage_of("flow", config, data, run_folder).modules) == {"flow_net"}


def test_without_an_adversary_there_is_no_discriminator(run_folder, data):
    config = load_config(run_folder / "tiny.yaml", METHOD.config, ["losses.adversarial=0"])
    stage = stage_of("joint", config, data, run_folder)
    assert "discriminator" not in stage.modules and "adversarial" not in once(stage, batch_of(stage))


def test_a_bundle_holds_what_generation_needs(run_folder, pipe):
    bundle = run_folder / "run" / "bundle"
    assert {p.name for p in bundle.iterdir() if p.is_dir()} == {"flow_net", "fusion"}  # and no discriminator
    assert pipe.schema is IBUG_68 and pipe.config.motion_prior and METHOD.schema(pipe) is IBUG_68


def test_any_number_of_sources_in_any_order_by_one_checkpoint(pipe, case):
    frames, points = case["frames"], case["keypoints"]
    out = pipe(frames[1:4], points[1:4], points[:2])
    other = pipe(frames[[3, 1, 2]], points[[3, 1, 2]], points[:2])
    assert torch.allclose(out.frames, other.frames, atol=1e-5)
    assert torch.allclose(out.attentions.sum(1), torch.ones(2, 1, 32, 32), atol=1e-5)
    five = torch.cat([frames[1:], frames[1:3]]), torch.cat([points[1:], points[1:3]])
    assert pipe(*five, points[:1]).flows.shape == (1, 5, 2, 32, 32)
    alone = pipe(frames[1:4], points[1:4], points[1:2])
    # whatever else is asked for
    assert torch.equal(alone.frames[0], out.frames[1]) and torch.equal(alone.flows[0], out.flows[1])


@pytest.mark.parametrize("count", [1, 3])
def test_generate_poses_all_sources(pipe, case, count):
    made = METHOD.generate(pipe, request_of(case, count))
    assert made.frames.shape == (1, 3, 32, 32) and made.flow.shape == (1, 2, 32, 32)
    assert 0 <= made.frames.min() and made.frames.max() <= 1 and len(made.pictures) == 3 * count
    assert all(p.shape == (1, 3, 32, 32) and p.min() >= 0 and p.max() <= 1 for p in made.pictures.values())


def test_relative_motion_starts_from_the_first_source(pipe, case):
    frames, points = case["frames"], case["keypoints"]
    asked = request_of(case, 2, target_keypoints=points[2:4])
    moved = METHOD.generate(pipe, replace(asked, relative=True)).frames
    assert torch.allclose(moved, pipe(frames[1:3], points[1:3], points[1] + points[2:4] - points[2]).frames, atol=1e-6)
    assert not torch.allclose(moved, METHOD.generate(pipe, asked).frames, atol=1e-4)


def test_what_cannot_be_done_is_said_in_a_sentence(pipe, case):
    none = torch.zeros(0, 3, 32, 32)
    with pytest.raises(ConfigError, match="at least one source"):
        METHOD.generate(pipe, request_of(case, 1, sources=none, source_keypoints=torch.zeros(0, 68, 2)))
    with pytest.raises(ConfigError, match="key-points"):
        METHOD.generate(pipe, request_of(case, 2, source_keypoints=None))
    with pytest.raises(GeometryError, match="one picture at least"):
        pipe(none, torch.zeros(0, 68, 2), case["keypoints"][:1])
    with pytest.raises(GeometryError, match="68 key-points of ibug-68"):
        pipe(case["frames"][1:3], case["keypoints"][1:2], case["keypoints"][:1])


def test_data_and_options_that_do_not_fit_are_refused(config, run_folder, data):
    class NoKeypoints(FrameSource):
        schema = None

    with pytest.raises(ConfigError, match="has none"):
        METHOD.build_stage("flow", config, NoKeypoints(config.data, 32, 0), run_folder, start=False)
    for override, wrong in (
        ("losses.neighbourhoods=[3]", "one side a level"),
        ("network.strides=[64, 32, 16]", "can't be read off"),
    ):
        wanted = load_config(run_folder / "tiny.yaml", METHOD.config, [override])
        with pytest.raises(ConfigError, match=wrong):
            METHOD.build_stage("flow", wanted, data, run_folder, start=False)


def test_parts_left_out_change_the_picture(pipe, case):
    frames, points = case["frames"], case["keypoints"]
    full = pipe(frames[1:4], points[1:4], points[:1])
    even = pipe(frames[1:4], points[1:4], points[:1], without=("attention",))
    assert torch.allclose(even.attentions, torch.full_like(even.attentions, 1 / 3))
    shown = pipe(frames[1:4], points[1:4], points[:1], without=("occlusion",))
    assert not shown.occlusions.any() and not torch.allclose(shown.frames, full.frames, atol=1e-3)
    plain = pipe(frames[1:4], points[1:4], points[:1], without=("residual",))
    assert not torch.equal(plain.flows, full.flows)


def test_scores_by_hand(data, case):
    """A picture that misses by 0.1 everywhere: 20 dB; the source itself is no edit."""
    off = score_cases([case], lambda c: c["frames"][0] + 0.1, method="off", K=1)
    assert off["PSNR"][0] == pytest.approx(20, abs=1e-3) and off["L1"][0] == pytest.approx(0.1, abs=1e-5)
    assert score_cases([case], lambda c: c["frames"][0], method="right", K=1)["SSIM"][0] == pytest.approx(1, abs=1e-5)


def test_lpips_of_the_target_is_nothing(case, squeeze_weights):
    right, off = (
        score_cases([case], lambda c, k=k: c["frames"][k], method="", K=1)["LPIPS_squeeze"][0] for k in (0, 1)
    )
    assert right == pytest.approx(0, abs=1e-6) and off > 1e-3


def test_tables_in_the_papers_form(pipe, data, monkeypatch, no_weights):
    """Without ImageNet's weights there is no LPIPS, and all else."""
    monkeypatch.setattr("echokdm.methods.residual_flow.scores.TARGETS", 1)
    tables = METHOD.evaluate(pipe, data)
    assert [label for label, _ in tables[0].rows] == [NO_EDIT, "key-points' motion alone", "K = 1", "K = 2", "K = 3"]
    assert len(tables[1].rows) == 10 and tables[0].cell("K = 1", "SSIM").patients == 2
    assert tables[0].columns == ("SSIM", "PSNR", "L1")
    cases = held_out_cases(data)
    assert tables[1].cell("K = 2, full", "L1").value == pytest.approx(score_pipeline(pipe, cases, 2, FULL)["L1"].mean())
