"""How bright each kind of tissue is: decibels against mid-myocardium, one draw a patient and kind."""

from collections.abc import Sequence

import torch
from torch import Tensor

from echokdm.phantom.draws import PatientDraws

# kind: (lowest, highest) dB of a patient's draw, in the order of the heart's echogenicity classes
RANGES_DB = (
    (-50.0, -24.0),  # blood
    (0.0, 0.0),  # myocardium, the reference
    (0.0, 7.0),  # endocardial lining
    (4.0, 14.0),  # pericardium
    (3.0, 13.0),  # valve leaflet
    (-2.0, 6.0),  # papillary muscle
    (-2.0, 6.0),  # trabecula
    (0.0, 9.0),  # atrial wall
    (-10.0, 3.0),  # tissue around the heart
    (-26.0, -6.0),  # lung
)


class Echogenicity:
    """B patients' brightness of each tissue kind."""

    def __init__(self, seeds: Sequence[int], scanner) -> None:
        d = PatientDraws(seeds, stream=31, device=scanner.device)
        self.table_db = torch.stack([d.uniform(low, high) for low, high in RANGES_DB], 1)

    def __call__(self, heart, reference: Tensor, points: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Material points (B, N, 2) and where they are at `phase` (B,) -> dB (B, N) and a mask of blood (B, N)."""
        kind = heart.tissue(reference, phase).echo.long()
        return torch.gather(self.table_db, 1, kind), kind == 0
