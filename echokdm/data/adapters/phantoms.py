"""The simulators as data sets: in place of a folder they take a number of identities, such as `echokdm data preview
phantom-face 100`."""

import colorsys
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from echokdm.core.errors import DataError
from echokdm.data.adapters.build import labels_of
from echokdm.data.adapters.problems import Problems

if TYPE_CHECKING:
    import torch

    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

HELD_OUT = 1_000_000  # seeds of held-out identities start here
FRAMES = 12  # of a sequence, one period
SIDE = 128  # px; the heart's is 112


@dataclass(frozen=True)
class Phantom:
    """One kind of simulated identity. kind: "heart", "face", "body" or "views"."""

    name: str
    schema: str
    what: str
    kind: str
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """`root` identities in the split train, others in test: as many but at most 8, or a tenth where that is more.

        Raises DataError where `root` is no number.
        """
        text = os.fspath(root)
        if not text.isdecimal() or int(text) < 1:
            raise DataError(f"{self.name} is simulated: give a number of identities in place of a folder.")
        count = int(text)
        seeds = {"train": range(count), "test": range(HELD_OUT, HELD_OUT + max(min(8, count), count // 10))}
        rows = [
            {"sequence": f"{split}/{seed}", "subject": str(seed), "split": split, "path": "", "_seed": seed}
            for split in seeds
            for seed in seeds[split]
        ]
        return Problems(self.name).finish(pd.DataFrame(rows))

    def read(self, row: "Row") -> "Sequence":
        """One period in FRAMES frames; label `condition` (T, 3, S, S): what each pixel shows, as colours."""
        import torch

        phases = torch.arange(FRAMES)[None] / FRAMES
        return self._heart(row, phases) if self.kind == "heart" else self._posed(row, phases)

    def _heart(self, row: "Row", phases: "torch.Tensor") -> "Sequence":
        import torch

        from echokdm.core.types import A4C_BLOODPOOL_40, Sequence
        from echokdm.phantom.a4c import A4CPhantom

        phantom = A4CPhantom([row["_seed"]])
        points = phantom.keypoints(phases)[0].float()
        # One beat in FRAMES frames, in mm: what a scanner's file would tell.
        labels = {
            "EF": float(phantom.ejection_fraction[0]),
            "fps": FRAMES * float(phantom.heart_rate[0]) / 60,
            "spacing_mm": (float(phantom.mm_per_px[0]),) * 2,
            "condition": _coloured(phantom.masks(phases)[0]),
        }
        return Sequence(
            phantom.frames(phases)[0].float(),
            points,
            torch.ones(points.shape[:2], dtype=torch.bool),
            A4C_BLOODPOOL_40,
            labels | labels_of(row),
        )

    def _posed(self, row: "Row", phases: "torch.Tensor") -> "Sequence":
        import torch

        from echokdm.core.types import Sequence
        from echokdm.phantom.body import BodyPhantom
        from echokdm.phantom.face import FacePhantom
        from echokdm.phantom.views import ViewsPhantom

        kinds: dict[str, type[FacePhantom | BodyPhantom | ViewsPhantom]] = {
            "face": FacePhantom,
            "body": BodyPhantom,
            "views": ViewsPhantom,
        }
        phantom = kinds[self.kind]([row["_seed"]], SIDE)
        seen = phantom.keypoints_visible(phases)[0]
        points = torch.where(seen[..., None], phantom.keypoints(phases)[0], 0.0)
        labels = {"condition": _coloured(phantom.layers(phases)[0])}
        return Sequence(phantom.frames(phases)[0], points, seen, phantom.schema, labels | labels_of(row))


def _coloured(classes: "torch.Tensor") -> "torch.Tensor":
    """(T, S, S) of small whole numbers -> (T, 3, S, S): class 0 black, then bright hues that lie far apart."""
    import torch

    palette = torch.tensor([(0.0, 0.0, 0.0)] + [colorsys.hsv_to_rgb(i * 0.382 % 1, 1.0, 1.0) for i in range(255)])
    return palette[classes.long()].permute(0, 3, 1, 2).contiguous()


_WHAT = "simulated {}: a number of identities in place of a folder"
HEART = Phantom("phantom-heart", "a4c-bloodpool-40", _WHAT.format("apical-four-chamber views"), "heart")
FACE = Phantom("phantom-face", "ibug-68", _WHAT.format("faces"), "face")
BODY = Phantom("phantom-body", "openpose-18", _WHAT.format("people"), "body")
VIEWS = Phantom("phantom-views", "learned-8", _WHAT.format("objects seen from all sides"), "views")
