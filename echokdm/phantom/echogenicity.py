"""How bright each scatterer is: the kind of tissue, slow heterogeneity, and the angle at which the beam meets walls and
fibres."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from echokdm.core.labels import Label
from echokdm.phantom.anatomy import smoothstep
from echokdm.phantom.draws import PatientDraws
from echokdm.phantom.postprocess import box
from echokdm.phantom.sector import LINES, MARGIN, ROWS, SectorGeometry
from echokdm.phantom.tissue import Echo

if TYPE_CHECKING:
    from echokdm.phantom.ultrasound import Tissue

# lowest and highest dB of a patient's draw, against myocardium whose fibres run along the beam
RANGES_DB = {
    Echo.BLOOD: (-50.0, -16.0),
    Echo.MYOCARDIUM: (0.0, 0.0),
    Echo.ENDOCARDIUM: (-3.0, 4.0),
    Echo.PERICARDIUM: (-2.0, 12.0),
    Echo.LEAFLET: (-8.0, 10.0),
    Echo.PAPILLARY: (-4.0, 5.0),
    Echo.TRABECULA: (-7.0, 3.0),
    Echo.ATRIAL_WALL: (-4.0, 6.0),
    Echo.OUTSIDE: (-10.0, 8.0),
    Echo.LUNG: (-24.0, -3.0),
}
# how strongly the kind mirrors: share of the patient's specular dB
SPECULAR = {Echo.ENDOCARDIUM: 0.6, Echo.PERICARDIUM: 1.0, Echo.ATRIAL_WALL: 0.8, Echo.LEAFLET: 0.3}
# how much of it is muscle, which scatters least along its fibres and is weaker in some walls than in others
MUSCLE = {Echo.MYOCARDIUM: 1.0, Echo.ENDOCARDIUM: 1.0, Echo.PAPILLARY: 0.7, Echo.TRABECULA: 0.7, Echo.PERICARDIUM: 0.3}
# share of the patient's heterogeneity, 1 for the rest
TEXTURED = {Echo.BLOOD: 0.0, Echo.OUTSIDE: 1.6, Echo.LUNG: 1.6, Echo.PERICARDIUM: 1.5, Echo.ATRIAL_WALL: 1.5}


class Echogenicity:
    """B patients' brightness of their scatterers, which lie on a (rows, lines) jittered polar grid."""

    def __init__(
        self, seeds: Sequence[int], grid: tuple[int, int], sector: SectorGeometry, device: torch.device | str
    ) -> None:
        d = PatientDraws(seeds, stream=31, device=device)
        self._grid, self._sector = grid, sector
        self._table = torch.stack([d.uniform(*RANGES_DB[kind]) for kind in Echo], 1)
        self._specular_db = d.uniform(1.0, 9.0)[:, None]
        # by which muscle across the beam is brighter than muscle along it
        self._fibre_db = d.uniform(0.0, 8.0)[:, None]
        # lung beside the lateral wall and a beam not yet formed at the apex weaken them further
        self._lateral_db, self._apical_db = d.uniform(0.0, 9.0)[:, None], d.uniform(1.0, 11.0)[:, None]
        self._ragged_mm = d.uniform(0.2, 1.6)[:, None, None]
        self._offset = d.normal(grid[0] * grid[1], 2) * self._ragged_mm
        self._muscle = torch.tensor([MUSCLE.get(kind, 0.0) for kind in Echo], device=device)
        self._shares = torch.tensor([SPECULAR.get(kind, 0.0) for kind in Echo], device=device)
        self._textured = torch.tensor([TEXTURED.get(kind, 1.0) for kind in Echo], device=device)

        def field(rows: int, lines: int, low: float, high: float) -> Tensor:
            noise = F.interpolate(d.normal(1, rows, lines), grid, mode="bicubic", align_corners=True)
            return noise[:, 0] * d.uniform(low, high, 1, 1)

        # streaky across the beam, as fasciae and fibres are
        self._texture = (field(18, 9, 0.5, 3.5) + field(70, 24, 0.5, 3.5)).flatten(1)
        # of the planes before and behind
        self._other_texture = (field(18, 9, 0.0, 2.0) + field(70, 24, 0.0, 2.5)).flatten(1)
        self._halo_db, self._far_db = d.uniform(0.0, 14.0)[:, None], d.uniform(0.0, 14.0)[:, None]
        # An emptied atrium is so flat in some that the scan plane shows its walls, not its blood.
        self._veil = d.chance(0.35)[:, None] * d.uniform(0.3, 1.0)[:, None]
        self._place: Tensor | None = None

    def _incidence(self, kind: Tensor) -> Tensor:
        """(B, N) in [-1, 1]: 1 where walls are met at right angles, -1 where they run along the beam, 0 far from
        any."""
        solid = (kind != Echo.BLOOD).float().view(-1, *self._grid)
        solid = box(box(solid, 9, 5), 9, 5)
        across, along = torch.gradient(F.pad(solid[:, None], (1, 1, 1, 1), mode="replicate")[:, 0], dim=(2, 1))
        across, along = across[:, 1:-1, 1:-1], along[:, 1:-1, 1:-1]
        s = self._sector
        row_mm = s.depth / (ROWS - 1 - 2 * MARGIN)
        rows = torch.arange(self._grid[0], device=solid.device) * ((ROWS - 1) / (self._grid[0] - 1)) - MARGIN
        radius = (s.face_radius[:, None] + rows * row_mm[:, None]).clamp(min=1.0)
        line_mm = radius * ((s.right - s.left) / (LINES - 1 - 2 * MARGIN) * (LINES - 1) / (self._grid[1] - 1))[:, None]
        along = (along / row_mm[:, None, None]).square()
        across = (across / line_mm[:, :, None]).square()
        return ((along - across) / (along + across + 1e-4)).flatten(1)

    def _fibres(self, heart: "Tissue", reference: Tensor) -> Tensor:
        """(B, N) dB of muscle at material points (B, N, 2) mm: its fibres' angle to the beam, and where in the
        ventricle it lies."""
        beam = reference - torch.stack([torch.zeros_like(self._sector.apex_y), self._sector.apex_y], -1)[:, None]
        along_beam = (F.normalize(beam, dim=-1) * heart.fibre_direction(reference)).sum(-1).square()
        across, along = heart.place(reference)
        apical = 1 - smoothstep(along / 0.35)
        lateral = torch.sigmoid(across / 4) * (1 - apical)
        return self._fibre_db * (1 - along_beam) - self._lateral_db * lateral - self._apical_db * apical

    def _around(self, kind: Tensor) -> Tensor:
        """(B, N) dB of the tissue around the heart: fat and pleura beside it are bright, and what lies further off is
        not."""
        outside = ((kind == Echo.OUTSIDE) | (kind == Echo.LUNG)).float().view(-1, *self._grid)
        near = (2 * (1 - box(box(outside, 25, 11), 25, 11))).clamp(0, 1) * outside
        return (near * self._halo_db[..., None] - (outside - near) * self._far_db[..., None]).flatten(1)

    def __call__(self, heart: "Tissue", reference: Tensor, phase: Tensor, through: Tensor) -> tuple[Tensor, Tensor]:
        """Scatterers' material points (B, N, 2) mm at `phase` (B,) -> dB (B, N) and a mask of blood (B, N).

        through: (B,) the scan plane's position in the tissue, 0 on average over the beat.
        """
        reference = reference + self._offset  # walls are ragged: muscle and blood interlock
        tissue = heart.tissue(reference, phase)
        kind = tissue.echo.long()
        if self._place is None:
            closed = heart.tissue(reference, torch.zeros_like(phase)).echo
            self._mirror, self._place = self._specular_db * self._incidence(closed), self._around(closed)
            self._fibred = self._fibres(heart, reference)
        decibel = (
            self._table.gather(1, kind)
            + self._place
            + self._mirror * self._shares[kind]
            + self._fibred * self._muscle[kind]
        )
        decibel = decibel + (self._texture + self._other_texture * through[:, None]) * self._textured[kind]
        blood = kind == Echo.BLOOD
        veiled = self._veil * tissue.atrium_empty[:, None] * (blood & (tissue.label == Label.LA))
        return decibel + veiled * (self._table[:, Echo.OUTSIDE, None] - decibel), blood
