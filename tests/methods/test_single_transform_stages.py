"""The two tasks of the single spatial transformation: affine maps and their inverse, losses, who learns when."""

from contextlib import nullcontext

import pytest
import torch

from echokdm.core.types import KeypointSchema
from echokdm.engine.stage import Run
from echokdm.losses.adversarial import generator_linear
from echokdm.methods.single_transform.affine import (
    Affine,
    AffineRange,
    affine_preserving_loss,
    inverse_flow,
    random_affine,
)
from echokdm.methods.single_transform.config import JointConfig, WarpingConfig
from echokdm.methods.single_transform.stages import JointStage, WarpingStage
from echokdm.networks.matching import MatchingFlow
from echokdm.networks.warped_refinement import RefinementNet
from echokdm.ops.pose_maps import gaussian_maps, near_limbs
from echokdm.ops.warp import pixel_grid, sample, warp

SCHEMA = KeypointSchema("arm", ("shoulder", "elbow", "wrist"), ((0, 1), (1, 2)), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), ())
LOSSES = {"batch": 2, "backbone": "own", "layers": ("relu1_1", "relu2_1"), "scales": (1, 0.5)}


class Shifted:
    """A picture and its own shift by (3, -2) px, with three joints that go along."""

    def __getitem__(self, key):
        g = torch.Generator().manual_seed(100 * key[0] + key[1])
        large = torch.rand(3, 40, 40, generator=g)
        points = 8 + 14 * torch.rand(3, 2, generator=g)
        frames = torch.stack([large[:, 4:36, 4:36], large[:, 6:38, 1:33]])
        return {"frames": frames, "keypoints": torch.stack([points, points + torch.tensor([3.0, -2.0])])}


def networks(refine=True):
    torch.manual_seed(0)
    matching = MatchingFlow(
        joints=3, grid=16, width=8, layers=3, strides=(2,), channels=(16, 8), kernel=1, guided=True, chunk_rows=None
    )
    return matching, RefinementNet((8,), 1) if refine else None


def batch(stage, step=0):
    items = [stage.dataset[(step, i)] for i in range(stage.batch_size)]
    return {k: torch.stack([item[k] for item in items]) for k in items[0]}


def run(step, total=100):
    return Run(step, total, torch.device("cpu"), lambda loss: loss.backward(), nullcontext)


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def moved(before, module):
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_eq_3_and_4_are_each_other_s_inverse_and_keep_to_their_ranges():
    torch.manual_seed(0)
    affine = random_affine(200, 64, AffineRange(scale=0.2, shear=0.1, turn=15, shift=0.15))
    points = torch.rand(200, 5, 2) * 64
    assert torch.allclose(affine.inverse(affine.forward(points)), points, atol=1e-3)
    assert affine.shift.abs().max() <= 0.15 * 64 and affine.shift.abs().max() > 0.13 * 64
    still = random_affine(3, 64, AffineRange(scale=0, shear=0, turn=0, shift=0))
    assert torch.allclose(still.inverse(points[:3]), points[:3], atol=1e-4)
    turned = random_affine(50, 64, AffineRange(scale=0, shear=0, turn=15, shift=0)).matrix
    assert torch.allclose(torch.linalg.det(turned), torch.ones(50), atol=1e-5) and (turned[:, 0, 0] >= 0.9659).all()


def test_the_parameters_of_an_affine_map_by_hand():
    affine = Affine(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[3.0, -1.0]]), torch.tensor([10.0, 10.0]))
    # 2 (12 - 10) + 10 + 3
    assert torch.allclose(affine.forward(torch.tensor([[[12.0, 11.0]]])), torch.tensor([[[17.0, 10.0]]]))
    assert torch.allclose(affine.inverse(torch.tensor([[[17.0, 10.0]]])), torch.tensor([[[12.0, 11.0]]]))


def test_p_st_is_p_t_sampled_by_the_affine_map_and_s_f_brings_it_back():
    torch.manual_seed(1)
    points, size = 20 + 24 * torch.rand(4, 6, 2), 64
    affine = random_affine(4, size, AffineRange(scale=0.05, shear=0.03))
    target, source = gaussian_maps(points, size, size, 3.0), gaussian_maps(affine.inverse(points), size, size, 3.0)
    places = pixel_grid(size, size).flatten(2).transpose(1, 2).expand(4, -1, -1)
    sampled = sample(target, affine.forward(places).transpose(1, 2).unflatten(2, (size, size)), "zeros")
    # the envelopes stay round instead of being stretched by up to a twentieth
    assert (sampled - source).abs().max() < 0.12
    assert (warp(source, inverse_flow(affine, size, size), "zeros") - target).abs().max() < 0.12


def test_s_f_of_a_translation_is_that_translation_exactly():
    affine = Affine(torch.eye(2)[None], torch.tensor([[4.0, -3.0]]), torch.tensor([15.5, 15.5]))
    flow = inverse_flow(affine, 32, 32)
    assert torch.allclose(flow, torch.tensor([-4.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 32, 32), atol=1e-5)
    points = torch.tensor([[[16.0, 12.0], [20.0, 9.0]]])
    target, source = gaussian_maps(points, 32, 32, 1.0), gaussian_maps(affine.inverse(points), 32, 32, 1.0)
    assert torch.allclose(warp(source, flow), target, atol=1e-5)


def test_eq_7_by_hand():
    flow, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[[1.0, 0.0]], [[-2.0, 0.5]]]])
    assert float(affine_preserving_loss(flow, truth)) == pytest.approx((3.0 + 0.5) / 2)
    assert float(affine_preserving_loss(flow, truth, torch.tensor([[[[False, True]]]]))) == pytest.approx(0.5)


def test_eq_5_sums_layers_and_resolutions():
    stage = WarpingStage(WarpingConfig(**LOSSES), Shifted(), *networks(), 2.0, SCHEMA)
    made, truth = torch.rand(2, 2, 3, 32, 32)
    wanted = 0.0
    for scale in LOSSES["scales"]:
        pair = [stage_size(image, scale) for image in (made, truth)]
        for a, b in zip(*(stage.perceptual(image) for image in pair), strict=True):
            wanted += float((a - b).abs().sum() / a.numel())
    assert float(stage.distance(made, truth, run(0))) == pytest.approx(wanted, rel=1e-5)
    heavier = WarpingStage(WarpingConfig(**LOSSES, pixel_weight=2.0), Shifted(), *networks(), 2.0, SCHEMA)
    assert float(heavier.distance(made, truth, run(0))) == pytest.approx(
        wanted + 2 * float((made - truth).abs().mean()), rel=1e-5
    )


def stage_size(image, scale):
    from echokdm.ops.resample import shrink

    return shrink(image, round(image.shape[2] * scale), round(image.shape[3] * scale))


def test_the_tasks_take_turns_and_the_affine_one_leaves_the_refinement_alone():
    stage = WarpingStage(WarpingConfig(**LOSSES, lr=1e-3, affine_first=0.1), Shifted(), *networks(), 2.0, SCHEMA)
    logged = [set(stage.step(batch(stage, step), run(step))) for step in (0, 9, 10, 11, 12)]
    # alone for a tenth, then in turn
    assert [("affine_px" in names) for names in logged] == [True, True, True, False, True]
    before = weights(stage.modules["refinement"])
    stage.step(batch(stage), run(50))
    assert not moved(before, stage.modules["refinement"])
    stage.step(batch(stage), run(51))
    assert moved(before, stage.modules["refinement"])
    without = WarpingStage(WarpingConfig(**LOSSES, affine=False), Shifted(), *networks(), 2.0, SCHEMA)
    assert all("perceptual" in without.step(batch(without), run(step)) for step in (0, 1))


def test_a_few_dozen_steps_of_task_1_bring_the_flow_nearer_to_affine_maps():
    config = WarpingConfig(**LOSSES | {"batch": 4}, lr=1e-2, affine_first=1.0, affine_weight=0.1)
    stage = WarpingStage(config, Shifted(), *networks(), 2.0, SCHEMA)
    losses = []
    for step in range(60):
        torch.manual_seed(step % 4)
        losses.append(float(stage.step(batch(stage, step % 4), run(step, 60))["affine_px"]))
    assert sum(losses[-4:]) < 0.75 * sum(losses[:4])


def test_task_1_counts_near_the_limbs_alone_where_asked():
    stage = WarpingStage(WarpingConfig(**LOSSES, affine_reach=3.0), Shifted(), *networks(), 2.0, SCHEMA)
    items = batch(stage)
    target = items["keypoints"][:, 0]
    torch.manual_seed(5)
    affine = random_affine(2, 32, stage.config.ranges)
    maps = [gaussian_maps(points, 32, 32, 2.0) for points in (affine.inverse(target), target)]
    with torch.no_grad():
        difference = (stage.modules["matching"](*maps) - inverse_flow(affine, 32, 32)).abs().sum(1, keepdim=True)
    near = near_limbs(target, SCHEMA, 32, 32, 3.0)
    torch.manual_seed(5)
    assert float(stage.step(items, run(0))["affine_px"]) == pytest.approx(float(difference[near].mean()), rel=1e-4)
    assert 0 < near.float().mean() < 0.5


def test_without_refinement_the_warped_image_is_what_is_judged():
    stage = WarpingStage(WarpingConfig(**LOSSES, refine=False), Shifted(), *networks(refine=False), 2.0, SCHEMA)
    made, warped = stage.generate(batch(stage), run(1))
    assert made is warped and set(stage.modules) == {"matching"}
    assert torch.equal(made, warp(batch(stage)["frames"][:, 1], flow_of(stage)))


def flow_of(stage):
    points = batch(stage)["keypoints"]
    maps = [gaussian_maps(points[:, i], 32, 32, 2.0) for i in (1, 0)]
    return stage.modules["matching"](*maps)


def test_eq_8_adds_the_generative_loss_and_only_the_discriminator_learns_to_judge():
    config = JointConfig(**LOSSES, lr=1e-3, rest_lr=0.0, discriminator_width=8, adversarial_weight=0.1)
    stage = JointStage(config, Shifted(), *networks(), 2.0, SCHEMA)
    seen = []
    stage.update = lambda loss, _: seen.append(float(loss.detach()))
    items = batch(stage)
    with torch.no_grad():
        made, warped = stage.generate(items, run(1))
        pose = gaussian_maps(items["keypoints"][:, 0], 32, 32, 2.0)
        perceptual, _ = stage.reconstruction_loss(made, warped, items["frames"][:, 0], run(1))
        generative = generator_linear(stage.discriminator(torch.cat([made, pose], 1)))
    before = weights(stage.discriminator)
    logged = stage.step(items, run(1))
    assert seen[0] == pytest.approx(float(perceptual + 0.1 * generative), rel=1e-4)
    assert moved(before, stage.discriminator) and {"adversarial", "discriminator", "perceptual"} <= set(logged)


def test_in_the_joint_stage_the_decoder_learns_fast_and_the_rest_hardly():
    config = JointConfig(**LOSSES, lr=1e-3, rest_lr=0.0, discriminator_width=8, adversarial="hinge")
    stage = JointStage(config, Shifted(), *networks(), 2.0, SCHEMA)
    refinement = stage.modules["refinement"]
    decoder, encoder, matching = (
        weights(m) for m in (refinement.decoder, refinement.encoder, stage.modules["matching"])
    )
    stage.step(batch(stage), run(1))
    assert moved(decoder, refinement.decoder)
    assert not moved(encoder, refinement.encoder) and not moved(matching, stage.modules["matching"])
