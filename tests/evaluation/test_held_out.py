"""Scores on held-out phantoms: the flows and methods stand in the order that they must, whatever the networks make."""

import numpy as np
import pytest
import torch

from echokdm.core.seeding import derive_seed
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.evaluation.held_out import (
    CARRIED,
    ED_TO_ES,
    FIRST_SEED,
    K2F,
    KDM,
    NO_EDIT,
    NO_F2I,
    NO_K2F,
    OF,
    OWN_WARP,
    TARGET,
    TPS,
    TRUE_WARP,
    score_pairs,
    tps_warp,
)
from echokdm.evaluation.paper import compared, phantom_tables
from echokdm.methods.kdm.drawing import Drawing
from echokdm.ops.warp import sample_points


@pytest.fixture(scope="module")
def scored(tiny_pipeline, pairs):
    distances = {"l1": lambda a, b, m: ((a - b).abs() * m).sum((1, 2, 3)) / m.sum((1, 2, 3))}
    return score_pairs(tiny_pipeline, pairs, distances, Drawing(steps=1, flow_steps=1), (0.0, 1.0))


def test_patients_were_in_no_training(pairs):
    assert FIRST_SEED >= HELD_OUT + 10_000 and derive_seed(FIRST_SEED) != derive_seed(0)
    assert pairs.seeds.tolist() == [FIRST_SEED, FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 1]
    assert pairs.kinds[:2] == (ED_TO_ES, "random")
    assert not pairs.valid[~pairs.sector[:, None]].any() and 0.3 < pairs.heart[pairs.valid].float().mean() < 1


def test_spline_carries_the_key_points(pairs):
    _, flow = tps_warp(pairs.source, pairs.source_keypoints, pairs.target_keypoints, pairs.sector)
    carried = pairs.target_keypoints + sample_points(flow, pairs.target_keypoints)
    assert (carried - pairs.source_keypoints).square().sum(-1).sqrt().mean() < 0.3
    assert (flow * ~pairs.sector[:, None]).abs().max() == 0


def test_every_method_is_scored_and_the_true_flow_beats_no_edit(scored):
    images, _ = scored
    single = images[images["strength"].isna()]
    assert set(single["method"]) >= {NO_EDIT, TPS, NO_F2I, NO_K2F, KDM, TRUE_WARP, TARGET}
    ed_es = single[single["pair"] == ED_TO_ES].set_index(["method", "patient"])["MSE_img"]
    assert (ed_es[TRUE_WARP] < ed_es[NO_EDIT]).all() and (ed_es[NO_EDIT] > 0).all()
    strengths = images[images["strength"].notna()]
    assert set(strengths["strength"]) == {0, 1} and set(strengths["pair"]) == {ED_TO_ES}
    without = single[(single["method"] == NO_F2I) & (single["pair"] == ED_TO_ES)]["MSE_img"].to_numpy()
    assert np.allclose(strengths[strengths["strength"] == 0]["MSE_img"], without)  # k = 0 is the warp alone


def test_true_ef_is_of_end_diastole_to_end_systole_alone(scored):
    images, _ = scored
    target = images[images["method"] == TARGET]
    assert target[target["pair"] == ED_TO_ES]["EF true"].between(10, 80).all()
    assert target[target["pair"] != ED_TO_ES]["EF true"].isna().all()


def test_no_motion_misses_all_of_the_motion(scored):
    _, flows = scored
    still = flows[flows["flow"] == "no motion"]
    assert np.allclose(still["EPE"], still["motion"]) and (still["motion"] > 0.2).all()
    assert {(K2F, OF), (OF, "truth"), (K2F, "truth"), (CARRIED, "truth")} <= set(
        zip(flows["flow"], flows["against"], strict=True)
    )


def test_the_networks_own_flow_is_not_the_one_made_to_carry_the_outline(scored):
    """KDM warps by the second, whose outline is where it was asked to be."""
    images, flows = scored
    found = {
        name: flows[(flows["flow"] == name) & (flows["against"] == "truth") & (flows["region"] == "heart")][
            "EPE"
        ].to_numpy()
        for name in (K2F, CARRIED)
    }
    assert (found[K2F] != found[CARRIED]).all()
    warps = {
        name: images[(images["method"] == name) & images["strength"].isna()]["MSE_img"].to_numpy()
        for name in (OWN_WARP, NO_F2I)
    }
    assert len(warps[OWN_WARP]) == len(warps[NO_F2I]) and (warps[OWN_WARP] != warps[NO_F2I]).all()


def test_tables_are_the_papers(scored):
    images, flows = scored
    tables = {t.title: t for t in phantom_tables(images, flows)}
    first = next(t for title, t in tables.items() if "end-systole" in title)
    assert [label for label, _ in first.rows] == [NO_EDIT, TPS, NO_F2I, NO_K2F, KDM, TARGET]
    assert first.columns[:3] == ("MSE_img", "MD, px", "LPIPS_l1") and first.columns[-2:] == (
        "EF error, points",
        "LV found",
    )
    values, others, patients = compared(images, ED_TO_ES, KDM, NO_EDIT, "MSE_img")
    contrast = next(t for title, t in tables.items() if "pair by pair" in title)
    assert contrast.cell(f"{ED_TO_ES}: KDM - {NO_EDIT}", "MSE_img").value == pytest.approx((values - others).mean())
    assert len(patients) == 2
    flow = next(t for title, t in tables.items() if title.startswith("Flows"))
    assert flow.cell("heart: no motion against truth", "EPE / mean motion").value == pytest.approx(1)


def test_a_patient_is_scored_alike_in_any_company(tiny_pipeline, pairs, scored):
    from dataclasses import fields, replace

    alone = replace(pairs, **{f.name: getattr(pairs, f.name)[2:] for f in fields(pairs)})
    images, _ = score_pairs(tiny_pipeline, alone, {}, Drawing(steps=1, flow_steps=1))
    before, _ = scored
    both = [
        t[(t["method"] == KDM) & (t["patient"] == FIRST_SEED + 1) & t["strength"].isna()]
        .sort_values("pair")["MSE_img"]
        .to_numpy()
        for t in (before, images)
    ]
    assert len(both[0]) == 2 and np.array_equal(*both) and torch.isfinite(torch.tensor(both[0])).all()
