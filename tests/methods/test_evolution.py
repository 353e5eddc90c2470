"""Training, the bundle, reconstruction and animation of the motion transfer, on a handful of tiny faces."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import small_sets
import torch
import yaml

from echokdm.core.errors import ConfigError
from echokdm.data.frames import FrameData, FrameSource
from echokdm.losses.features import Features
from echokdm.methods.base import Request
from echokdm.methods.evolution import METHOD, EvolutionPipeline
from echokdm.methods.evolution.config import EvolutionConfig
from echokdm.methods.evolution.evaluation import (
    BEST_VIEW,
    NO_EDIT,
    animation_pairs,
    finder,
    first_view,
    picture_scores,
    score_animation,
    score_reconstruction,
    with_references,
)
from echokdm.methods.evolution.stage import build_networks, recolour
from echokdm.methods.train import load_component, save_component, train_config
from echokdm.networks.landmarks import LandmarkNet

SIZES = {
    "points": 4,
    "downscale": 2,
    "keypoint_widths": [8, 8],
    "motion_widths": [8, 8],
    "field_width": 8,
    "solver": "euler",
    "solver_steps": 2,
    "appearance_widths": [8, 8],
    "generator_width": 8,
    "generator_widest": 8,
    "generator_downs": 1,
    "generator_blocks": 1,
}


def clip(count, seed=0):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(0)
    config = EvolutionConfig(animator=SIZES).animator
    parts = build_networks(config)
    torch.nn.init.normal_(parts["field"].head.weight, std=0.05)
    torch.nn.init.normal_(parts["appearance"].head.weight, std=0.05)
    return METHOD.assemble(None, parts)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evolution")
    values = {
        "method": "evolution",
        "name": "tiny",
        "size": 32,
        "data": {"adapter": "phantom-face", "root": "4", "frames": 4, "cache": str(folder / "cache")},
        "animator": SIZES
        | {
            "steps": 3,
            "batch": 2,
            "references": 2,
            "fewest_references": 0,
            "backbone": "own",
            "scales": [1],
            "keypoint_steps": 1,
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echokdm.methods.train.find_method", lambda name: METHOD)
        made = train_config(folder / "tiny.yaml", out=folder / "run")
        again = train_config(folder / "tiny.yaml", out=folder / "again")
    return made, again, folder


def test_training_twice_gives_the_same_bytes(bundle):
    made, again, _ = bundle
    names = sorted(p.relative_to(made) for p in made.rglob("*.safetensors"))
    assert {n.parts[0] for n in names} == set(EvolutionPipeline.COMPONENTS) - {"landmarks"}
    assert all((made / n).read_bytes() == (again / n).read_bytes() for n in names)


def test_training_goes_on_from_a_bundle_and_takes_its_landmarks_over(bundle, monkeypatch, tmp_path):
    made, _, folder = bundle
    shutil.copytree(made, tmp_path / "given")
    save_component(LandmarkNet(points=68, features=(4, 4, 4, 4, 4, 4)), tmp_path / "given" / "landmarks")
    monkeypatch.setattr("echokdm.methods.train.find_method", lambda name: METHOD)
    on = train_config(
        folder / "tiny.yaml",
        out=tmp_path / "on",
        from_bundle=tmp_path / "given",
        overrides=["animator.steps=1", "animator.lr=0"],
    )
    for part in ("keypoints", "field"):
        old, new = (load_component(b, part, EvolutionPipeline.COMPONENTS[part]).state_dict() for b in (made, on))
        assert all(torch.equal(old[k], new[k]) for k in old)
    assert finder(EvolutionPipeline.from_pretrained(on).landmarks)(clip(2)).shape == (2, 68, 2)


def test_a_bundle_comes_back_whole(bundle):
    pipe = EvolutionPipeline.from_pretrained(bundle[0])
    assert pipe.field.config.solver == "euler" and pipe.schema.name == "learned-4"
    assert pipe(clip(2), clip(3, 1)).frames.shape == (3, 3, 32, 32)


def test_reconstruction_is_scored_against_no_edit(bundle):
    pipe = EvolutionPipeline.from_pretrained(bundle[0])
    scores = score_reconstruction(pipe, faces(), {}, lambda images: torch.zeros(len(images), 5, 2))
    main = scores[scores["task"] == "main"]
    assert (
        set(main["variant"]) == {NO_EDIT, BEST_VIEW, with_references(0), with_references(3)}
        and (scores["AKD"] == 0).all()
    )
    assert set(scores[scores["task"] == "number"]["variant"]) == {with_references(n) for n in range(7)}
    assert len(main) == 2 * 4 * (12 - 1 - 3)  # clips, variants, frames that are no view
    best, still = (main[main["variant"] == v]["L1"].mean() for v in (BEST_VIEW, NO_EDIT))
    assert 0 < best <= still


def test_scores_by_hand():
    made, truth = torch.full((1, 3, 32, 32), 0.6), torch.full((1, 3, 32, 32), 0.5)
    scores = picture_scores(made, truth, {}, lambda images: images[:, :2, 0, :3].transpose(1, 2) * 10)
    assert scores["L1"] == pytest.approx(0.1, abs=1e-6) and scores["PSNR"] == pytest.approx(20, abs=1e-3)
    assert scores["AKD"] == pytest.approx(2**0.5, abs=1e-5)  # one px in x and in y


def test_the_length_of_a_clip_changes_no_byte(pipeline):
    views, driving = clip(2), clip(7, 1)
    whole, part = pipeline(views, driving), pipeline(views, driving[:5])
    assert torch.equal(whole.frames[:5], part.frames) and torch.equal(whole.flow[:5], part.flow)


def test_relative_transfer_from_an_equal_first_frame_is_absolute(pipeline):
    views = clip(1)
    driving = torch.cat([views, clip(3, 1)])
    absolute, relative = pipeline(views, driving), pipeline(views, driving, relative=True)
    assert torch.allclose(absolute.frames, relative.frames, atol=1e-4)
    nearest = pipeline(views, driving, relative=True, anchor="nearest")
    assert torch.allclose(nearest.frames, relative.frames, atol=1e-4)


def test_relative_transfer_starts_at_the_source(pipeline):
    """Whatever the first driving frame is, the first frame's T(0) is zero: the source itself, not a jump to another's
    shape."""
    views, driving = clip(1), clip(3, 5)
    out = pipeline(views, driving, relative=True)
    assert torch.allclose(out.keypoints[0], out.source_keypoints[0], atol=1e-5) and out.coarse[0].abs().max() < 1e-4
    assert pipeline(views, driving).coarse[0].abs().max() > 1e-3


def test_keypoints_may_stand_for_the_driving_clip(pipeline):
    views, driving = clip(2), clip(3, 1)
    by_clip, by_points = pipeline(views, driving), pipeline(views, keypoints=pipeline.find_keypoints(driving))
    assert torch.equal(by_clip.frames, by_points.frames)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"driving": clip(2), "keypoints": torch.zeros(2, 4, 2)},
        {"driving": clip(2)[:, :, :16]},
        {"keypoints": torch.zeros(2, 5, 2)},
    ],
)
def test_what_does_not_fit_is_refused(pipeline, given):
    with pytest.raises(ConfigError):
        pipeline(clip(1), **given)


def test_generate_shows_what_it_did(pipeline):
    made = METHOD.generate(pipeline, Request(clip(3), driving=clip(2, 1), relative=True))
    assert made.frames.shape == (2, 3, 32, 32) and made.flow.shape == (2, 2, 32, 32)
    assert set(made.pictures) == {"views", "driving", "coarse_flow", "flow", "confidence", "appearance_flow"}
    assert made.pictures["views"].shape == (3, 3, 32, 32) and made.pictures["confidence"].shape == (2, 3, 32, 96)
    with pytest.raises(ConfigError, match="driving"):
        METHOD.generate(pipeline, Request(clip(1)))


def faces():
    return FrameSource(FrameData(root="2"), 32, 0)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A held-out actor's take, seven frames before each of five cameras."""
    root = small_sets.ixmas(tmp_path_factory.mktemp("ixmas") / "data", frames=7)
    return FrameSource(FrameData(adapter="ixmas", root=str(root)), 32, 0)


class Spy:
    """Gives the driving frames back, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, views, driving, **options):
        self.asked.append((views, driving, options))
        return SimpleNamespace(frames=driving, keypoints=torch.zeros(len(driving), 4, 2))

    def find_keypoints(self, images):
        return torch.zeros(len(images), 4, 2)


def places(frames, clip):
    """Which frames of a clip these are."""
    return [next(t for t in range(len(clip)) if torch.equal(clip[t], frame)) for frame in frames]


def test_a_clip_is_made_again_from_its_first_frame_in_order(people):
    clips, spy = people.clips(), Spy()
    scores = score_reconstruction(spy, people, {}, most=0)
    assert len(clips) == 5 and clips[0].shape == (7, 3, 32, 32) and len(spy.asked) == 10
    drawn = set()
    for number, (views, driving, _) in enumerate(spy.asked):
        clip = clips[number // 2]
        shown, made = places(views, clip), places(driving, clip)
        assert (
            shown[0] == 0 and made == sorted(made) and not set(shown) & set(made) and len(shown) == 1 + 3 * (number % 2)
        )
        assert len(made) == 7 - 1 - 3
        drawn.add(tuple(shown[1:]))
    assert len(drawn - {()}) > 1  # references are drawn, each clip's its own
    first = scores[(scores["sequence"] == 0) & (scores["variant"] == NO_EDIT)]
    assert set(first["frame"]) <= set(range(1, 7)) and first["frame"].is_monotonic_increasing


def test_frames_that_look_like_a_view_are_not_made_again():
    clip = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 4, 4).clone() / 6
    clip[4] = clip[0]
    for seed in range(5):
        views, rest = first_view(clip, 2, np.random.default_rng(seed))
        assert torch.equal(views[0], clip[0]) and 4 not in rest and 0 not in rest
        assert not any(torch.equal(clip[t], view) for t in rest for view in views)
    views, rest = first_view(clip[:2], 6, np.random.default_rng(0))
    assert (
        len(views) == 1 and rest.tolist() == [1] and first_view(clip[:1], 3, np.random.default_rng(0))[1].tolist() == []
    )


def test_motion_is_relative_to_the_driving_clips_first_frame(tmp_path):
    """Each source gets another subject's whole clip, in order, so that the frame which all else is relative to is its
    first."""
    source = FrameSource(FrameData(adapter="voxceleb", root=str(small_sets.motion(tmp_path / "data"))), 32, 0)
    clips, spy = source.clips(), Spy()
    score_animation(spy, source, None)
    pairs = animation_pairs(clips.subjects, 1)
    assert len(pairs) == 3 and len(spy.asked) == 9 and all(i != j for i, j in pairs)
    for number, (views, driving, options) in enumerate(spy.asked):
        i, j = pairs[number // 3]
        assert torch.equal(views[0], clips[i][0]) and torch.equal(driving, clips[j])
        assert options.get("relative", False) == (number % 3 > 0)
    subjects = np.repeat(np.arange(150), 2)
    many = animation_pairs(subjects, 0)
    assert len(many) == 200 and all(subjects[i] != subjects[j] for i, j in many)
    assert animation_pairs(np.zeros(4), 0) == []


def test_colours_change_alike_in_all_frames_of_a_clip():
    frames = torch.rand(3, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    frames[:, 1] = frames[:, 0]
    torch.manual_seed(0)
    changed = recolour(frames, 0.1)
    assert torch.equal(changed[:, 0], changed[:, 1]) and 0 <= changed.min() and changed.max() <= 1
    gains = (changed - frames).abs().mean((1, 2, 3, 4))
    assert len(set(gains.tolist())) == 3 and 0.005 < gains.max() < 0.2
    assert recolour(frames, 0.0) is frames


def test_time_runs_either_way_in_training(tmp_path):
    """Which of two frames is the driving one is drawn, so that half of the pairs are reversed in time, as by FOMM's
    time flip."""
    root = small_sets.ixmas(tmp_path / "data", frames=5)
    sets = FrameSource(FrameData(adapter="ixmas", root=str(root), cache=str(tmp_path / "cache")), 32, 0).train(2, 3)
    known = [[frame for frame in torch.from_numpy(row[:5].copy()).float() / 255] for row in sets.store["image"]]
    moment = {
        view.numpy().tobytes(): t for row in known for t, frame in enumerate(row) for view in (frame, frame.flip(-1))
    }
    later = [
        moment[target.numpy().tobytes()] > moment[source.numpy().tobytes()]
        for target, source in (sets[step, 0]["frames"] for step in range(100))
    ]
    assert 0.35 < np.mean(later) < 0.65


def test_tables_have_the_papers_form(bundle, no_weights):
    """Without ImageNet's weights there is neither LPIPS nor identity, and all else."""
    tables = METHOD.evaluate(EvolutionPipeline.from_pretrained(bundle[0]), faces())
    assert [len(t.rows) for t in tables] == [4, 7, 4] and "echokdm doctor" in tables[0].note
    assert tables[0].cell(NO_EDIT, "L1").value > 0 and "LPIPS_squeeze" not in tables[0].columns
    assert tables[2].cell("the driving object", "identity").count == 0


def test_identity_is_a_cosine_of_features(bundle, squeeze_weights):
    pipe, features = EvolutionPipeline.from_pretrained(bundle[0]), Features("squeeze", ("relu5_1",))
    identity = score_animation(pipe, faces(), features)["identity"]
    assert identity.between(0, 1 + 1e-6).all() and identity.nunique() > 1


def test_a_configuration_of_this_method_is_read():
    from pathlib import Path

    from echokdm.core.config import load_config

    config = load_config(Path(__file__).parents[2] / "configs" / "evolution-face-64.yaml", EvolutionConfig)
    assert METHOD.stages(config) == ("animator",) and config.animator.temperature == 0.1 and not config.animator.adjoint
