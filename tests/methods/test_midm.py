"""MIDM trained in seconds, its bundle read back: shapes, seeds, sizes of batches, ablations, requests and tables."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_sets
import torch

from echokdm.core.config import load_config
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.evaluation.run import evaluate
from echokdm.methods.base import Request
from echokdm.methods.midm import METHOD
from echokdm.methods.midm.conditions import condition_images, edge_images, pair_images
from echokdm.methods.midm.config import STAGES, MIDMConfig
from echokdm.methods.midm.pipeline import Changes, MIDMPipeline
from echokdm.methods.midm.tables import ABLATIONS, DIVERSITY, TO_EXEMPLARS, Held, Judge, exemplar_table, tables
from echokdm.methods.train import train_config

TINY = """
method: midm
name: tiny
size: 64
precision: "no"
save_every: 2
condition: CONDITION
exemplar: same
backbone: own
layers: [relu1_2, relu2_2]
data: {adapter: phantom-face, root: "4", frames: 3, cache: CACHE}
matching: {temperature: 0.05, calls: 3, centred: true}
image_codec: {steps: 2, batch: 1, block_out_channels: [8, 8, 8], codes: 16, perceptual: null, discriminator_weight: 0}
unet: {steps: 2, batch: 2, block_out_channels: [8, 16]}
correspondence: {steps: 2, batch: 1, features: 8, channels: [8, 8]}
joint: {steps: 2, batch: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("midm")


@pytest.fixture(scope="module")
def trained(folder):
    (folder / "tiny.yaml").write_text(TINY.replace("CONDITION", "keypoints").replace("CACHE", str(folder / "cache")))
    return train_config(folder / "tiny.yaml", out=folder / "run")


@pytest.fixture(scope="module")
def pipe(trained):
    return MIDMPipeline.from_pretrained(trained)


@pytest.fixture(scope="module")
def data(folder, trained):
    config = load_config(folder / "tiny.yaml", MIDMConfig)
    return METHOD.data(config)


@pytest.fixture(scope="module")
def pictures(data):
    item = data.held_out(3, 0)[(0, 0)]
    return item["frames"][:1], item["frames"], item["keypoints"]


def test_a_bundle_keeps_its_settings_and_makes_pictures(pipe, pictures):
    assert pipe.matching.calls == 3 and pipe.matching.centred and METHOD.schema(pipe).name == "ibug-68"
    exemplar, frames, points = pictures
    out = pipe(exemplar, condition_images("keypoints", frames, points, None, pipe.schema))
    for made, channels in ((out.frames, 3), (out.warped, 3), (out.flow, 2), (out.confidence, 1)):
        assert made.shape == (3, channels, 64, 64) and made.isfinite().all()
    assert 0 <= out.frames.min() and out.frames.max() <= 1 and out.confidence.max() <= 1


def test_a_picture_does_not_depend_on_its_neighbours_and_a_seed_repeats(pipe, pictures):
    exemplar, frames, _ = pictures
    many = frames.repeat(4, 1, 1, 1)[:9]  # more than a chunk
    whole = pipe(exemplar, many, seed=3)
    assert torch.equal(whole.frames[8:], pipe(exemplar, many[8:], seed=3).frames)
    assert not torch.equal(whole.frames, pipe(exemplar, many, seed=4).frames)
    with pytest.raises(GeometryError, match="one size"):
        pipe(exemplar.expand(2, -1, -1, -1), frames)


def test_switches_take_parts_out(pipe, pictures):
    exemplar, frames, _ = pictures
    full = pipe(exemplar, frames)
    bare = pipe(exemplar, frames, Changes(diffuse=False))
    assert torch.equal(bare.frames, bare.warped) and torch.equal(bare.warped, full.warped)
    once = pipe(exemplar, frames, Changes(rematch=False))
    assert not torch.equal(once.frames, full.frames) and torch.equal(once.warped, full.warped)
    assert not torch.equal(pipe(exemplar, frames, Changes(strength=0.5)).frames, full.frames)
    assert not torch.equal(pipe(exemplar, frames, Changes(steps=2)).frames, full.frames)


def test_requests(pipe, pictures):
    exemplar, frames, points = pictures
    made = METHOD.generate(pipe, Request(exemplar, target_keypoints=points))
    assert made.frames.shape == (3, 3, 64, 64) and set(made.pictures) == {"condition", "first warp", "confidence"}
    given = METHOD.generate(pipe, Request(exemplar, condition=made.pictures["condition"][1:2]))
    assert torch.equal(given.frames, made.frames[1:2])
    with pytest.raises(ConfigError, match="target key-points"):
        METHOD.generate(pipe, Request(exemplar, driving=frames))


def test_tables_have_the_papers_rows(pipe, data, no_weights):
    """Without ImageNet's weights there is neither LPIPS nor style, and all else."""
    parts, noises, exemplars = tables(pipe, data, count=2)
    assert [label for label, _ in parts.rows] == ["exemplar itself", *ABLATIONS]
    assert [label for label, _ in noises.rows] == ["20%", "25%", "30%", "35%"]
    assert parts.columns == ("L1", "PSNR", "SSIM", "SWD") and parts.cell("MIDM", "L1") == noises.cell("25%", "L1")
    assert "echokdm doctor" in parts.note and "another frame of its subject" in parts.note
    assert [label for label, _ in exemplars.rows] == ["exemplar itself", "MIDM"] and exemplars.columns == (
        "SWD",
        "SWD to exemplars",
    )
    assert "another subject's" in exemplars.note and exemplars.cell("exemplar itself", "SWD to exemplars").value == 0


class Copier:
    """Gives the exemplar back, or the condition."""

    exemplar, condition_kind, schema = "same", "edges", None

    def __init__(self, gives):
        self.gives = gives

    def __call__(self, exemplar, condition, **options):
        return SimpleNamespace(frames={"exemplar": exemplar, "condition": condition}[self.gives])


def test_diversity_is_between_pictures_of_one_condition_with_two_exemplars(data, squeeze_weights):
    """What only follows the condition has none; what only follows the exemplar as much as the exemplars have."""
    by_condition, by_exemplar = (exemplar_table(Copier(gives), data, 0, Judge()) for gives in ("condition", "exemplar"))
    assert by_condition.columns == (DIVERSITY, "SWD", TO_EXEMPLARS, "colour", "texture", "semantic")
    assert by_condition.cell("MIDM", DIVERSITY).value == pytest.approx(0, abs=1e-6)
    assert by_exemplar.cell("MIDM", DIVERSITY).value == by_exemplar.cell("exemplar itself", DIVERSITY).value > 0.02
    assert by_exemplar.cell("MIDM", "colour").value == pytest.approx(1, abs=1e-5)
    held = Held(Copier("exemplar"), data, exemplar="other", others=2)
    for one, other, another in zip(held.truth, held.exemplar, held.second, strict=True):
        assert not torch.equal(one, other) and not torch.equal(other, another)


@pytest.mark.parametrize(("adapter", "condition"), [("celeba-hq", "edges"), ("lsun-churches", "data")])
def test_folders_of_single_pictures_train_and_evaluate(adapter, condition, tmp_path, no_weights):
    """One picture a subject: exemplars are other subjects', those of references.csv first."""
    root = small_sets.conditioned(tmp_path / "pictures", 24, conditions=adapter == "lsun-churches")
    text = TINY.replace("CONDITION", condition).replace("exemplar: same\n", "").replace("size: 64", "size: 32")
    text = text.replace(
        '{adapter: phantom-face, root: "4", frames: 3, cache: CACHE}',
        f"{{adapter: {adapter}, root: {root}, cache: {tmp_path / 'cache'}}}",
    )
    (tmp_path / "tiny.yaml").write_text(text)
    bundle = train_config(tmp_path / "tiny.yaml", out=tmp_path / "run")
    result = evaluate(bundle, f"{adapter}:{root}", show=False)
    assert MIDMPipeline.from_pretrained(bundle).exemplar == "other" and len(result.tables) == 3
    assert all("the one that the data set lists" in table.note for table in result.tables)


def test_a_loss_of_the_warps_needs_the_truths_own_subject(folder, trained, data):
    config = load_config(folder / "tiny.yaml", MIDMConfig, ["exemplar=other", "joint.weights.warp=1"])
    with pytest.raises(ConfigError, match="exemplar: same"):
        METHOD.build_stage("joint", config, data, trained, False)


def test_an_older_bundle_is_one_of_the_same_subject(trained, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    index = json.loads((old / "model_index.json").read_text())
    assert index.pop("exemplar") == "same"
    (old / "model_index.json").write_text(json.dumps(index))
    assert MIDMPipeline.from_pretrained(old).exemplar == "same"


def test_conditions_are_drawn_found_or_given(pipe, pictures):
    _, frames, points = pictures
    drawn = condition_images("keypoints", frames, points, None, pipe.schema)
    assert drawn.shape == frames.shape and 0.02 < (drawn.amax(1) > 0.5).float().mean() < 0.5
    square = torch.zeros(1, 3, 64, 64)
    square[..., 20:44, 20:44] = 1
    edges = edge_images(square)
    inside = edges[..., 24:40, 24:40]
    # its four sides, at most 2 px wide
    assert edges.unique().tolist() == [0, 1] and inside.sum() == 0 and 80 <= edges[0, 0].sum() <= 200
    assert torch.equal(condition_images("data", frames, None, drawn, None), drawn)
    for kind in ("keypoints", "data"):
        with pytest.raises(ConfigError, match="no (key-points|condition)"):
            condition_images(kind, frames, None, None, None)


def test_a_pairs_first_frame_is_the_truth_and_gives_the_condition():
    frames, conditions = torch.rand(2, 2, 3, 8, 8), torch.rand(2, 2, 3, 8, 8)
    condition, exemplar, truth = pair_images({"frames": frames, "conditions": conditions}, "data", None)
    assert (
        torch.equal(condition, conditions[:, 0])
        and torch.equal(exemplar, frames[:, 1])
        and torch.equal(truth, frames[:, 0])
    )
    others = torch.rand(2, 2, 3, 8, 8)
    alone = {"frames": frames[:, :1], "conditions": conditions, "other_frames": others}
    assert torch.equal(pair_images(alone, "data", None)[1], others[:, 0])


def test_edges_train_without_keypoints(folder, trained):
    (folder / "edges.yaml").write_text(TINY.replace("CONDITION", "edges").replace("CACHE", str(folder / "cache")))
    bundle = train_config(folder / "edges.yaml", stage="correspondence", from_bundle=str(trained), out=folder / "edges")
    pipe = MIDMPipeline.from_pretrained(bundle)
    assert pipe.condition_kind == "edges" and pipe.schema is None
    frames = torch.rand(2, 3, 64, 64)
    assert METHOD.generate(pipe, Request(frames[:1], driving=frames)).frames.shape == frames.shape


def test_each_stage_trains_its_own_part(folder, trained, data):
    config = load_config(folder / "tiny.yaml", MIDMConfig)
    trains = {name: set(METHOD.build_stage(name, config, data, trained, False).modules) for name in STAGES}
    assert trains == {
        "image_codec": {"image_codec"},
        "unet": {"unet"},
        "correspondence": {"matcher"},
        "joint": {"matcher", "unet"},
    }


def test_losses_without_weight_are_left_out(folder, trained, data):
    from echokdm.engine.loop import LoopSettings, train_stage

    config = load_config(
        folder / "tiny.yaml", MIDMConfig, ["joint.weights.style=0", "joint.weights.dom=0", "matching.rematch=false"]
    )
    stage = METHOD.build_stage("joint", config, data, trained, False)
    logged = train_stage(stage, folder / "alone", steps=1, settings=LoopSettings("no", device="cpu"))
    assert set(logged) == {"cycle", "src", "perc", "diff"}


def test_the_shipped_configuration_is_valid():
    config = load_config(Path(__file__).parents[2] / "configs" / "midm-face-64.yaml", MIDMConfig)
    assert METHOD.stages(config) == STAGES and config.image_codec.latent_channels == 8
