"""Plans of a cohort: what is asked of each source, repeatable and inside its range; whose motion it takes; no patient in
two splits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from echokdm.cohort.motion import borrow_motions
from echokdm.cohort.plan import Source, plan_cohort
from echokdm.core.errors import ConfigError
from echokdm.core.types import Clip


def fake(ef: float, low: float = 5.0, high: float = 80.0, subject: str = "") -> Source:
    """A source as plans see it."""
    return Source(
        Clip(torch.zeros(1, 1, 8, 8), 1.0),
        1,
        np.zeros((1, 40, 2)),
        np.ones(1, bool),
        subject or f"{ef}",
        ef,
        (low, high),
    )


def test_plans_are_repeatable_and_inside_each_sources_range() -> None:
    sources = [fake(30, high=40.0), fake(55)]
    plan = plan_cohort(sources, 50, "uniform:20-70", seed=3)
    assert plan.equals(plan_cohort(sources, 50, "uniform:20-70", seed=3))
    assert not plan["asked"].equals(plan_cohort(sources, 50, "uniform:20-70", seed=4)["asked"])
    assert plan["id"].is_unique and plan["seed"].is_unique and len(plan) == 100
    own, free = plan[plan["source"] == 0], plan[plan["source"] == 1]
    assert own["asked"].between(20, 40).all() and free["asked"].between(20, 70).all() and free["asked"].max() > 60
    told = own["note"].str.startswith("redrawn inside 5-40")
    assert (told == (own["wished"] > 40)).all() and told.any() and (free["note"] == "").all()
    # A source's wishes depend on no other source.
    assert plan_cohort(sources[:1], 50, "uniform:20-70", seed=3)["asked"].equals(own["asked"])
    clipped = plan_cohort(sources[:1], 2, "uniform:60-70")
    assert (clipped["asked"] == 40).all() and clipped["note"].str.startswith("clipped").all()


def test_match_draws_what_a_file_list_holds(tmp_path: Path) -> None:
    path = tmp_path / "FileList.csv"
    path.write_text("FileName,EF\na,30\nb,30\nc,60\nd,2\ne,none\n")
    asked = plan_cohort([fake(50)], 400, f"match:{path}")["asked"]
    assert set(asked) == {30.0, 60.0} and abs((asked == 30).mean() - 2 / 3) < 0.08


def test_balance_makes_the_histogram_flat() -> None:
    sources = [fake(ef) for ef in (31, 32, 33, 34, 41, 42, 56)]
    plan = plan_cohort(sources, 8, "balance", seed=1)
    counts = np.histogram(np.concatenate([plan["asked"], [s.ef for s in sources]]), np.arange(30, 61, 5))[0]
    assert counts.sum() == 63 and np.ptp(counts) <= 1
    held = plan_cohort([fake(31, high=37.0), fake(56)], 20, "balance")
    assert held[held["source"] == 0]["asked"].max() <= 37 and (held["note"] == "").all()


def test_motions_come_from_other_patients_of_the_same_split() -> None:
    sources = [fake(30 + i, subject=f"{i // 2}") for i in range(20)]  # two clips a patient
    plan = plan_cohort(sources, 3, split="50/25/25")
    borrowed = borrow_motions(plan, sources)
    assert borrowed.equals(borrow_motions(plan, sources)) and (borrowed["driver"] >= 0).all()
    split_of = dict(zip(plan["source"], plan["split"], strict=True))
    for row in borrowed.itertuples():
        assert sources[row.driver].subject != row.subject and split_of[row.driver] == row.split
    assert borrowed["driver"].nunique() > 8 and (plan["driver"] == -1).all()
    alone = borrow_motions(plan_cohort(sources[:2], 2), sources[:2])
    assert (alone["motion"] == "own").all() and (alone["driver"] == -1).all()
    library = borrow_motions(plan, [fake(50, subject="library")], library=True)
    assert (library["driver"] == 0).all() and (library["motion"] == "beat 1").all()


def test_no_patient_is_in_two_splits() -> None:
    sources = [fake(40 + i / 10, subject=f"p{i // 2}") for i in range(20)]
    plan = plan_cohort(sources, 2, split="60/20/20")
    assert (plan.groupby("subject")["split"].nunique() == 1).all()
    assert plan.groupby("split")["subject"].nunique().to_dict() == {"TEST": 2, "TRAIN": 6, "VAL": 2}
    assert set(plan_cohort(sources, 1, split="val")["split"]) == {"VAL"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, "balance"), "--per-clip"),
        ((1, "uniform"), "uniform:20-70"),
        ((1, "uniform:2-70"), "inside 5-80"),
        ((1, "uniform:70-20"), "inside 5-80"),
        ((1, "gauss:1"), "match:FILE"),
        ((1, "match:none.csv"), "The file list of --ef match does not"),
        ((1, "balance", 0, "80/20"), "80/10/10"),
        ((1, "balance", 0, "dev"), "80/10/10"),
    ],
)
def test_wishes_in_another_form_are_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_cohort([fake(50)], *arguments)
