"""What was measured of the left ventricle as a DICOM structured report: TID 1500 "Measurement Report" (PS3.16), by
highdicom.

Names are those of CID 12300 "Core Echo Measurements": single plane, apical four chambers, method of disks; strain of
the endocardial line.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echokdm.core.quiet import quiet
from echokdm.io.atomic import atomic_file
from echokdm.io.dicom_out import MAKER, Origin
from echokdm.io.dicom_source import content_time, is_synthetic, new_uids

if TYPE_CHECKING:
    from pydicom import Dataset

# LOINC, but for strain, which DICOM names itself: value, scheme, meaning.
EDV = ("79999-9", "LN", "Left ventricular end diastolic volume single plane 4C (MOD)")
ESV = ("80004-5", "LN", "Left ventricular end systolic volume single plane 4C (MOD)")
EF = ("79993-2", "LN", "Left ventricular ejection fraction single plane 4C (MOD)")
GLS = ("130687", "DCM", "LV End-systolic GLS 4CH (Endocardial)")
BEAT = ("122149", "DCM", "Beat Number")
CONFIDENCE = ("111012", "DCM", "Certainty of Finding")
_MEAN = ("373098007", "SCT", "Mean")
_VENTRICLE = ("87878005", "SCT", "Left ventricle")
_ECHO = ("40701008", "SCT", "Echocardiography")
_ML, _PERCENT, _ONE = ("mL", "UCUM", "mL"), ("%", "UCUM", "%"), ("1", "UCUM", "no units")

Code = tuple[str, str, str]


_MEASURES = (
    ("edv", EDV, _ML, ("ed",)),
    ("esv", ESV, _ML, ("es",)),
    ("ef", EF, _PERCENT, ("ed", "es")),
    ("gls", GLS, _PERCENT, ("ed", "es")),
)
"""Of a beat: its attribute, what it is, its unit, the frames that it is of."""


@dataclass(frozen=True)
class Beat:
    """What was measured of one beat. ed, es: its frames, from 0. ef, gls: percent. edv, esv: mL, None where there is no
    spacing."""

    ed: int
    es: int
    ef: float
    gls: float
    edv: float | None = None
    esv: float | None = None


def write_measures(
    path: str | os.PathLike[str],
    beats: Sequence[Beat],
    confidence: float | None,
    source: "Dataset",
    origin: Origin | None = None,
) -> dict[str, str]:
    """Write an Enhanced SR (PS3.3 A.35.2): the means over the beats and the confidence, then each beat with the frames
    that it is of.

    beats: none where nothing moves. confidence: 0 to 1, None where it is not known. source: as
    `dicom_source.read_source` gives it. origin: of the outlines, None where a person gave them. The document belongs to
    the source's patient and study. The same measures, source and origin give the same bytes.

    Returns the new UIDs, keys "series" and "instance".
    """
    from importlib.metadata import version

    from highdicom import sr

    made = origin.told() if origin else ["outlines given by a person"]
    uid_of = new_uids(source, ["measures", version(MAKER), *made, repr((list(beats), confidence))])
    date, time = content_time(source)
    with quiet("pydicom"), quiet("highdicom"):  # which quote what they find odd
        document = sr.EnhancedSR(
            [source],
            _report(beats, confidence, source, made),
            uid_of["series"],
            902,
            uid_of["instance"],
            1,
            manufacturer=MAKER,
            is_complete=True,
            manufacturer_model_name=MAKER,
            software_versions=version(MAKER),
            content_date=date,
            content_time=time,
            series_description=f"{'SYNTHETIC ' * is_synthetic(source)}Left ventricle, measures, {MAKER}",
        )
        del document.InstanceCreationDate, document.InstanceCreationTime  # of now, as is when highdicom contributed
        del document.ContributingEquipmentSequence[0].ContributionDateTime
        if is_synthetic(source):
            document.SyntheticData = "YES"
        with atomic_file(path) as temporary:
            document.save_as(temporary, enforce_file_format=True)
    return {"series": uid_of["series"], "instance": uid_of["instance"]}


def _report(beats: Sequence[Beat], confidence: float | None, source: "Dataset", made: list[str]) -> Any:
    """The content: who measured, and a group of measurements (TID 1501) of the clip and of each beat. made: of the
    outlines."""
    from importlib.metadata import version

    from highdicom import sr
    from pydicom.sr.codedict import codes

    algorithm = sr.AlgorithmIdentification(MAKER, version(MAKER), made)
    device = sr.DeviceObserverIdentifyingAttributes(
        _device(made), name=MAKER, manufacturer_name=MAKER, model_name=MAKER
    )
    clip = [sr.SourceImageForMeasurementGroup(str(source.SOPClassUID), str(source.SOPInstanceUID))]

    def group(name: str, numbers: list[Any]) -> Any:
        tracking = sr.TrackingIdentifier(new_uids(source, ["tracking", *made, name])["other"], name)
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking,
            algorithm_id=algorithm,
            measurements=numbers,
            source_images=clip,
            finding_sites=[sr.FindingSite(_code(_VENTRICLE))],
        )

    sure = [] if confidence is None else [_number(CONFIDENCE, 100 * confidence, _PERCENT)]
    groups = [group("Clip", [*_means(beats), *sure])]
    groups += [group(f"Beat {n}", [_number(BEAT, n, _ONE), *_numbers(beat, source)]) for n, beat in enumerate(beats, 1)]
    return sr.MeasurementReport(
        sr.ObservationContext(sr.ObserverContext(codes.DCM.Device, device)), _code(_ECHO), groups
    )


def _means(beats: Sequence[Beat]) -> list[Any]:
    """Over the beats, of what is known of each."""
    found = [(name, [getattr(beat, key) for beat in beats], unit) for key, name, unit, _ in _MEASURES]
    return [
        _number(name, sum(values) / len(values), unit, derivation=_code(_MEAN))
        for name, values, unit in found
        if values and None not in values
    ]


def _numbers(beat: Beat, source: "Dataset") -> list[Any]:
    """What is known of a beat, each number with the source's frames that it is of."""
    from highdicom import sr

    found = []
    for key, name, unit, ends in _MEASURES:
        if (value := getattr(beat, key)) is not None:
            frames = [getattr(beat, end) + 1 for end in ends] if "NumberOfFrames" in source else None
            image = sr.SourceImageForMeasurement(str(source.SOPClassUID), str(source.SOPInstanceUID), frames)
            found.append(_number(name, value, unit, referenced_images=[image]))
    return found


def _number(name: Code, value: float, unit: Code, **rest: Any) -> Any:
    """A measurement (TID 300)."""
    from highdicom import sr

    return sr.Measurement(_code(name), round(value, 3), _code(unit), **rest)


def _code(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(*code)


def _device(made: Sequence[str]) -> str:
    """A UID of the software with these weights, the same for every patient."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[f"{word}\n" for word in (MAKER, *made)]))
