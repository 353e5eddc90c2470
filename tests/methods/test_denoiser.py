"""The denoiser stages' arithmetic, with networks that know the answer."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from echokdm.core.schemas import IBUG_68
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.engine.sampling import build_scheduler, sample
from echokdm.methods.kdm.conditions import f2i_channels, f2i_condition, k2f_channels, k2f_condition, outline
from echokdm.methods.kdm.denoiser import DenoiserConfig, F2IStage, K2FStage, predicted_clean, psi_strides
from echokdm.methods.kdm.valves import valve_weights
from echokdm.networks.codec import build_codec, encode
from echokdm.ops.render import fill_polygon


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_clean_latent_is_recovered_from_a_perfect_output(prediction):
    scheduler = build_scheduler("ddim", prediction)
    g = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(4, 3, 5, 5, generator=g), torch.randn(4, 3, 5, 5, generator=g)
    t = torch.tensor([10, 300, 600, 900])
    noisy = scheduler.add_noise(clean, noise, t)
    output = {"epsilon": noise, "sample": clean, "v_prediction": scheduler.get_velocity(clean, noise, t)}[prediction]
    assert torch.allclose(predicted_clean(scheduler.alphas_cumprod[t], noisy, output, prediction), clean, atol=1e-3)


@pytest.mark.parametrize("compression", [2, 4, 8])
def test_psi_brings_conditions_to_the_latents_size(compression):
    from echokdm.networks.conditioned_unet import ConditionEncoder

    encoder = ConditionEncoder(5, 16, psi_strides(compression))
    assert encoder(torch.zeros(1, 5, 112, 112)).shape == (1, 16, 112 // compression, 112 // compression)


def test_the_mitral_plane_is_closed_by_points_along_it():
    points = torch.rand(2, 40, 2) * 50
    closed = outline(points, A4C_BLOODPOOL_40)
    assert (
        closed.shape == (2, 45, 2)
        and torch.equal(closed[:, :20], points[:, :20])
        and torch.equal(closed[:, 25:], points[:, 20:])
    )
    assert torch.allclose(closed[:, 22], (points[:, 19] + points[:, 20]) / 2)


class _Bright(torch.nn.Module):
    """Calls ventricle what is bright."""

    def forward(self, image, sector):
        logits = torch.zeros(len(image), 6, *image.shape[2:])
        logits[:, 1] = (image[:, 0] - 0.5) * 40
        return logits + torch.tensor([0.0, 0, -99, -99, -99, -99]).view(1, 6, 1, 1)


def test_the_label_loss_asks_for_a_ventricle_where_its_keypoints_are():
    torch.manual_seed(0)
    codec = build_codec(1, (8, 8), 3, 16)
    stage = F2IStage(
        DenoiserConfig(block_out_channels=(8, 16), label_weight=1.0), None, {"image_codec": codec}, segmenter=_Bright()
    )
    angle = torch.arange(40) / 40 * 6.2832
    points = torch.stack([28 + 12 * angle.cos(), 28 + 16 * angle.sin()], -1).expand(2, -1, -1)
    asked = fill_polygon(points, 56, 56)
    batch = {"has_keypoints": torch.ones(2), "target_keypoints": points, "sector": torch.ones(2, 1, 56, 56)}

    def loss(picture):  # where nothing is changed in latents, the picture is the warped source itself
        latents = encode(codec, picture * 2 - 1).detach()
        return float(stage.label_loss(latents, batch, latents, picture).detach())

    assert loss(asked) < 0.05 < loss(asked.roll(4, 3)) < loss(asked.roll(8, 3))
    batch["has_keypoints"] = torch.zeros(2)
    assert loss(asked.roll(8, 3)) == 0


def test_k2f_is_shown_target_key_points_with_a_smooth_error_alone():
    torch.manual_seed(0)
    codec = build_codec(2, (8, 8), 3, 16)
    angle = torch.arange(40) / 40 * 6.2832
    points = torch.stack([28 + 12 * angle.cos(), 28 + 16 * angle.sin()], -1).expand(3, -1, -1)
    batch = {
        "source": torch.rand(3, 1, 56, 56),
        "source_keypoints": points,
        "target_keypoints": points,
        "sector": torch.ones(3, 1, 56, 56),
        "keypoint_error": torch.tensor([[0.0, 1.0]]).expand(3, -1),
    }
    seen = {}
    for jitter in (0.0, 1.0):
        stage = K2FStage(
            DenoiserConfig(block_out_channels=(8, 16), keypoint_jitter=jitter), None, {"flow_codec": codec}
        )
        seen[jitter] = stage.condition(batch)[0]
    changed = (seen[1.0] != seen[0.0]).any(0).flatten(1).any(1)
    assert changed.any() and not changed[:5].any()  # the source and its key-points stay as they are
    assert torch.equal(batch["target_keypoints"], points)
    batch["keypoint_error"] = torch.tensor([[2.0, 0.0]]).expand(3, -1)
    shared = stage.condition(batch)[0]
    assert (shared[:, 1:5] != seen[0.0][:, 1:5]).any() and torch.equal(shared[:, 1:5], shared[:, 5:9]), (
        "one error of both frames"
    )


@pytest.mark.parametrize("schema", [A4C_BLOODPOOL_40, IBUG_68])
def test_conditions_have_their_channels_and_a_heart_its_valves(schema):
    source, sector = torch.rand(2, 1, 24, 24), torch.ones(2, 1, 24, 24)
    points, flow = torch.rand(2, len(schema), 2) * 20, torch.zeros(2, 2, 24, 24)
    assert k2f_condition(source, points, points, sector, schema).shape[1] == k2f_channels(schema)
    told = f2i_condition(source, source, points, flow, sector, schema, torch.tensor([1.0, 0.0]))
    untold = f2i_condition(source, source, points, flow, sector, schema)
    assert told.shape[1] == untold.shape[1] == f2i_channels(schema)
    assert torch.equal(untold, f2i_condition(source, source, points, flow, sector, schema, torch.tensor([0.5, 0.5])))
    assert (told != untold).any(3).any(2).any(0).nonzero().flatten().tolist() == (
        [told.shape[1] - 1] if schema.valves else []
    )
    if schema.valves:
        assert told[:, -1, 5, 5].tolist() == [1, -1]


def test_errors_count_more_about_the_valves():
    points = torch.full((2, 40, 2), 30.0)
    points[0, 19], points[0, 20] = torch.tensor([40.0, 60.0]), torch.tensor([60.0, 60.0])  # a level plane of 20 px
    points[1] = torch.nan
    weight = valve_weights(points, A4C_BLOODPOOL_40, 112, 112, 2.5)
    assert weight.shape == (2, 1, 112, 112) and (weight[1] == 1).all()
    assert weight[0, 0, 60, 50] == weight[0, 0, 70, 50] == 3.5 and weight[0, 0, 60, 20] == weight[0, 0, 60, 80] == 2.0
    assert weight[0, 0, 75, 50] == weight[0, 0, 60, 100] == weight[0, 0, 60, 5] == 1
    assert (valve_weights(points, A4C_BLOODPOOL_40, 8, 8, 0.0) == 1).all() and (
        valve_weights(points, IBUG_68, 8, 8, 1.0) == 1
    ).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("warm", [False, True])
def test_two_calls_are_trained_on_what_each_of_them_meets(prediction, warm):
    torch.manual_seed(0)
    codec = build_codec(2, (8, 8), 3, 16)
    config = DenoiserConfig(block_out_channels=(8, 16), prediction=prediction, two_call_share=1.0)
    stage, met = K2FStage(config, None, {"flow_codec": codec}), []

    def network(noisy, t, condition):
        met.append(noisy)
        return 0.3 * noisy + condition

    stage.modules["k2f"] = network
    latent, condition = torch.randn(12, 3, 7, 7), torch.randn(12, 3, 7, 7)
    start = torch.randn(12, 6, 7, 7) if warm else None
    noisy, t, noise = stage.draw_noisy(latent, condition, start, SimpleNamespace(autocast=nullcontext))
    assert set(t.tolist()) == {999, 499}
    assert torch.allclose(stage.scheduler.add_noise(latent, noise, t), noisy, atol=1e-4)
    second = t == 499
    seen = []  # the same two calls as a picture is made by
    sample(
        lambda x, step: (seen.append(x), network(x, step, condition[second]))[1],
        met[0],
        build_scheduler("ddim", prediction),
        calls=2,
    )
    assert torch.allclose(noisy[second], seen[1], atol=1e-5)
    signal = stage.scheduler.alphas_cumprod[999].sqrt()
    begun = noisy[~second] - signal * (start[~second, :3] if warm else 0)
    assert 0.8 < begun.std() < 1.2 and abs(float((begun * latent[~second]).mean())) < 0.1
