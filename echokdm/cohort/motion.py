"""Whose motion a planned clip takes: another patient's, or one from a library of beats."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from echokdm.cohort.plan import Source
from echokdm.core import defaults
from echokdm.core.errors import ConfigError
from echokdm.core.seeding import derive_seed

OWN = "own"


def borrow_motions(
    plan: pd.DataFrame, drivers: Sequence[Source], seed: int = defaults.SEED, library: bool = False
) -> pd.DataFrame:
    """The plan with a driver drawn for each row, whose motion is carried over before the ejection fraction is set.

    plan: of `plan_cohort`. drivers: the plan's own sources, of which another patient's in the same split is drawn, so
    that no motion goes from one split to another; or, with `library`, clips beyond them, of which any is drawn. The
    column `driver` is the place in `drivers`, `motion` names it by its number; a row for which there is no other
    patient keeps its own motion.
    """
    if not drivers:
        raise ConfigError("There is no clip to take motions from; name a folder of apical 4-chamber clips.")
    split_of = dict(zip(plan["source"], plan["split"], strict=True))
    subjects = np.array([driver.subject for driver in drivers])
    splits = np.array(["" if library else split_of.get(place, "") for place in range(len(drivers))])
    chosen = []
    for row in plan.itertuples():
        others = np.flatnonzero(
            subjects != row.subject if library else (subjects != row.subject) & (splits == row.split)
        )
        rng = np.random.default_rng(derive_seed(seed, row.source, row.seed, 4))
        chosen.append(int(rng.choice(others)) if len(others) else -1)
    word = "beat" if library else "clip"
    return plan.assign(
        driver=chosen, motion=[OWN if place < 0 else f"{word} {drivers[place].number}" for place in chosen]
    )
