"""What an audit found, and what it says of that."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

COPY = 0.8
"""Motion agreement from which on a clip is a copy. On phantoms clips made from one frame reach 0.72, one of 190 goes
beyond, and of 30 disguised copies one stays below: benchmarks/audit.py."""
FOUND = 0.9  # share of the planted copies that has to be found for the audit to say anything

PAIRS = (
    "clip",
    "split",
    "edited",
    "copy",
    "nearest",
    "nearest_split",
    "from_own_source",
    "motion_agreement",
    "pixel_distance",
    "feature_distance",
    "mirrored",
    "other_patient",
    "other_motion_agreement",
    "other_pixel_distance",
    "other_feature_distance",
)


@dataclass(frozen=True)
class CopyTest:
    """The data-copying statistic C_T of Meehan, Chaudhuri and Dasgupta (AISTATS 2020), a z-score of Mann and Whitney's
    U: below -3 the synthetic clips are nearer to the real ones than held-out patients are, above 3 farther. p:
    two-sided."""

    space: str
    statistic: float
    p: float
    synthetic: int
    reference: int

    @property
    def meaning(self) -> str:
        """The sign in words."""
        if abs(self.statistic) <= 3:
            return "no nearer to other patients' clips than real patients are to each other"
        return f"{'nearer to' if self.statistic < 0 else 'farther from'} other patients' clips than real patients are to each other"


def copy_test(space: str, synthetic: np.ndarray, reference: np.ndarray) -> CopyTest:
    """C_T of distances to the nearest real clip: of synthetic clips (M,) and of held-out real ones (N,)."""
    from scipy.stats import mannwhitneyu

    result, m, n = mannwhitneyu(synthetic, reference), len(synthetic), len(reference)
    z = (result.statistic - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
    return CopyTest(space, float(z), float(result.pvalue), m, n)


@dataclass(frozen=True)
class Picture:
    """One pair to look at: both labels; synthetic, real (K, 1, 112, 112) in [0, 1], matched frames, the synthetic ones
    laid onto the real."""

    title: str
    label: str
    real_label: str
    synthetic: Tensor
    real: Tensor


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    pairs: columns `PAIRS`, a row a synthetic clip; the nearest real clip of all, for an edited clip of known source of
    all other patients', and the nearest of other patients. reference: the same `other_` columns of real clips against
    other patients. leaks: labels of the clips by kind. unread: labels of synthetic clips that could not be audited.
    controls: motion agreement (C,) of the copies that the audit planted itself with the nearest real clip. record: how
    it was measured.
    """

    pairs: pd.DataFrame
    reference: pd.DataFrame
    leaks: dict[str, list[str]]
    tests: list[CopyTest]
    unread: list[str]
    controls: np.ndarray
    pictures: list[Picture]
    record: dict[str, Any]

    @property
    def copies(self) -> pd.DataFrame:
        """The rows of `pairs` that are copies, the clearest first."""
        return self.pairs[self.pairs["copy"]].sort_values("motion_agreement", ascending=False, kind="stable")

    @property
    def found(self) -> float:
        """Share of the planted copies that were found."""
        return float((self.controls >= COPY).mean())

    @property
    def by_design(self) -> str:
        """One sentence on the clips that were edited, or "" where there is none."""
        edited, known = self.record["edited_clips"], self.record["edited_clips_of_known_source"]
        if not edited:
            return ""
        unknown = f", and with all, as their source is not known: {edited - known}" if edited > known else ""
        return (
            f"Edited from a patient's own clip and carrying its pixels by design: {edited}; compared with all other patients: {known}"
            f"{unknown}."
        )

    @property
    def clean(self) -> bool:
        """Whether every clip was audited, the audit proved able to find copies, and there is neither copy nor leak."""
        return not (len(self.copies) or self.leaks or self.unread) and self.found >= FOUND

    @property
    def verdict(self) -> str:
        """One sentence, or more where there is more to say."""
        count, leaks = len(self.copies), sum(map(len, self.leaks.values()))
        said = (
            f"{count or 'No'} cop{'y' if count == 1 else 'ies'} of a real clip and {leaks or 'no'} leak{'s' if leaks != 1 else ''} "
            f"between splits among {len(self.pairs)} synthetic clips."
        )
        if self.by_design:
            said += f" {self.by_design}"
        if self.record["real_clips_unread"]:
            said += (
                f" {self.record['real_clips_unread']} real clips could not be read, so copies of them can't be found."
            )
        if self.unread:
            said += f" {len(self.unread)} synthetic clips could not be read, so nothing is known of them."
        if self.found < FOUND:
            said += (
                f" Only {self.found:.0%} of the copies that the audit planted itself were found, so that it can't vouch for the "
                "others."
            )
        return said
