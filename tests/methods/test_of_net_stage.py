"""The OF-net's stage learns a motion it is never shown, masks what it must, and runs each phase of its recipe."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from echokdm.core.seeding import generator
from echokdm.engine.stage import Run
from echokdm.methods.kdm.of_net import OFNetConfig, OFNetStage, end_point_error, halve
from echokdm.networks.pwc_lite import PWCLite
from echokdm.ops.warp import pixel_grid

SIZE = 48
TINY = {
    "pyramid": (8, 8, 16, 16, 16, 16),
    "estimator": (16, 16, 16, 16, 16),
    "context": (16, 16, 16, 16, 16, 16),
    "batch": 4,
}


class TranslatedSpeckle:
    """Speckle that moves 2 px right and 1 px up from source to target."""

    def __getitem__(self, key):
        noise = torch.randn(1, 1, SIZE + 8, SIZE + 8, generator=generator(7, *key))
        image = F.avg_pool2d(F.avg_pool2d(noise, 3, 1), 3, 1)[0].mul(0.5).add(0.5).clamp(0, 1)
        flow = torch.tensor([-2.0, 1.0]).view(2, 1, 1).expand(2, SIZE, SIZE)
        return {
            "source": image[:, 2 : 2 + SIZE, 2 : 2 + SIZE],
            "target": image[:, 3 : 3 + SIZE, :SIZE],
            "flow": flow,
            "sector": torch.ones(1, SIZE, SIZE),
        }


def stage(steps: int, **changes) -> OFNetStage:
    torch.manual_seed(0)
    return OFNetStage(
        OFNetConfig(steps=steps, **(TINY | changes)), TranslatedSpeckle(), held_out=TranslatedSpeckle(), validated=4
    )


def advance(stage: OFNetStage, step: int, total: int) -> dict[str, torch.Tensor]:
    items = [stage.dataset[(step + 1, i)] for i in range(stage.batch_size)]
    batch = {k: torch.stack([item[k] for item in items]) for k in ("source", "target", "sector")}
    torch.manual_seed(step)
    return stage.step(batch, Run(step, total, torch.device("cpu"), lambda loss: loss.backward(), nullcontext))


def test_a_few_dozen_steps_find_the_motion_of_speckle():
    learner = stage(60, lr=4e-3)
    for step in range(60):
        advance(learner, step, 60)
    figures = learner.validate()
    assert figures["of_net/zero_flow_error"] == pytest.approx(5**0.5, abs=1e-4)
    assert figures["of_net/end_point_error"] < 0.5 * figures["of_net/zero_flow_error"]


def test_each_phase_runs_and_logs_its_parts():
    learner = stage(10, brightness_from=0.3, forward_backward_from=0.5, analogy_from=0.8)
    early, late = advance(learner, 0, 10), advance(learner, 9, 10)
    assert set(early) == {"photometric", "smoothness", "visible"} and set(late) == set(early) | {"analogy"}
    assert all(torch.isfinite(v) for v in (*early.values(), *late.values()))


def test_the_sector_s_outside_does_not_count():
    learner = stage(10, lr=1e-9)
    item = {k: v[None] for k, v in TranslatedSpeckle()[(0, 0)].items()}
    item["sector"][..., 24:] = 0
    flows = [torch.zeros(2, 2, SIZE // 2**i, SIZE // 2**i) for i in range(5)]
    first, second = torch.cat([item["target"], item["source"]]), torch.cat([item["source"], item["target"]])
    visible = learner.visibility(flows[0], torch.cat([item["sector"]] * 2), False)
    assert torch.equal(visible, torch.cat([item["sector"]] * 2))
    plain = learner.photometric(flows, first, second, visible, False)
    disturbed = first.clone()
    disturbed[..., 40:] = torch.rand(2, 1, SIZE, 8)  # further outside than any window of the finer levels reaches
    learner.config.level_weights = (1.0, 1.0, 0.0, 0.0, 0.0)
    near = learner.photometric(flows, first, second, visible, False)
    assert learner.photometric(flows, disturbed, second, visible, False) == near < plain


def test_flow_out_of_the_sector_is_not_visible():
    learner = stage(10)
    sector = torch.ones(2, 1, SIZE, SIZE)
    sector[..., :10] = 0
    flow = torch.zeros(2, 2, SIZE, SIZE)
    flow[0, 0], flow[1, 0] = -4, 4
    visible = learner.visibility(flow, sector, True)
    assert not visible[0, 0, :, :14].any() and visible[0, 0, :, 14:].all()


def test_halving_keeps_the_pixel_grid():
    ramp = pixel_grid(16, 16)
    assert torch.allclose(halve(ramp)[:, :, 1:-1, 1:-1], ramp[:, :, ::2, ::2][:, :, 1:-1, 1:-1])


def test_end_point_error_by_hand():
    flow, truth = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    truth[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    mask = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    assert end_point_error(flow, truth, mask) == 2.5


def test_given_network_is_trained_on_and_unknown_settings_refused():
    network = PWCLite(pyramid=TINY["pyramid"], estimator=TINY["estimator"], context=TINY["context"])
    assert OFNetStage(OFNetConfig(**TINY), TranslatedSpeckle(), network=network).modules["of_net"] is network
    with pytest.raises(ValidationError):
        OFNetConfig(learning_rate=1e-4)
