"""What was found in a clip as DICOM objects beside it: segmentation.dcm and measures.dcm, which refer to the clip's own
file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echokdm.echo.derive import Derived
from echokdm.echo.synthesis import Synthesis
from echokdm.io.dicom_out import Origin
from echokdm.io.dicom_seg import write_segmentation
from echokdm.io.dicom_sr import Beat, write_measures
from echokdm.io.write import Images
from echokdm.ops.cycle import clip_ejection_fraction, volumes_at
from echokdm.ops.strain import end_systolic_strain

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION, MEASURES = "segmentation.dcm", "measures.dcm"


def write_derived(folder: Path, derived: Derived, masks: Images, source: "Dataset", origin: Origin | None) -> None:
    """Of a clip whose ventricle is known. masks: (T, H, W) in the rows of its file. source, origin: as
    `write_segmentation` takes them."""
    beats = (
        _beats(derived.keypoints, derived.volumes, derived.beats, derived.turns, derived.unit) if derived.moves else []
    )
    write_segmentation(folder / SEGMENTATION, masks, source, origin)
    write_measures(folder / MEASURES, beats, derived.clip_confidence, source, origin)


def write_drawn(folder: Path, result: Synthesis, masks: Images, source: "Dataset", origin: Origin) -> None:
    """Of a synthetic clip, by the outlines that its frames were drawn by. source: of synth.dcm."""
    beats = result.trajectory.beats
    write_segmentation(folder / SEGMENTATION, masks, source, origin)
    write_measures(
        folder / MEASURES,
        _beats(result.trajectory.keypoints, result.drawn_volumes, beats, beats, result.unit),
        None,
        source,
        origin,
    )


def _beats(
    keypoints: np.ndarray,
    volumes: np.ndarray,
    beats: Sequence[tuple[int, int]],
    turns: Sequence[tuple[float, float]],
    unit: str,
) -> list[Beat]:
    """Each beat's measures, of key-points (T, 40, 2) and volumes (T,); turns: the beats in fractions of a frame."""
    found = []
    for (ed, es), turn, (edv, esv) in zip(beats, turns, volumes_at(volumes, turns), strict=True):
        sizes = (float(edv), float(esv)) if unit == "mL" else (None, None)  # UCUM has no cubic pixel
        found.append(
            Beat(
                ed,
                es,
                clip_ejection_fraction(volumes, [turn]),
                end_systolic_strain(keypoints, [(ed, es)])["global"],
                *sizes,
            )
        )
    return found
