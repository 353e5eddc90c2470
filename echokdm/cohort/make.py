"""Many synthetic clips with labels that are right: plan, synthesise, measure again, keep what agrees, write an EchoNet
folder.

A label is computed from the key-points that a clip was drawn by, so it is right by construction; a clip is kept where
the segmenter finds the same ejection fraction in its pixels, so that the picture says what the label says.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from echokdm.cohort.folder import MANIFEST, CohortFolder, Labels, check_free, labels_of
from echokdm.cohort.plan import Source, placed
from echokdm.cohort.workers import Engine, serial
from echokdm.core import defaults
from echokdm.core.errors import ConfigError, GeometryError, OutputError
from echokdm.core.frames import each
from echokdm.core.seeding import derive_seed
from echokdm.core.types import Clip
from echokdm.core.versions import versions
from echokdm.echo.bundle import Bundle, HeartPipeline, Progress, load_pipeline, quiet, weights_hash
from echokdm.echo.derive import Derived, segment_keypoints, simpson
from echokdm.echo.edit import edit_clip
from echokdm.echo.plan import Trajectory
from echokdm.echo.plan import plan as plan_trajectory
from echokdm.echo.wish import Sampling, Wish
from echokdm.io.atomic import claim
from echokdm.ops.cycle import clip_ejection_fraction
from echokdm.ops.ventricle import outline_of_tracing, self_crossing

SHARE = 4  # clips of one source that a worker makes at a time: opening the source costs little beside them


@dataclass(frozen=True)
class Made:
    """What a planned clip came to. measured: percent, None where no ventricle was found. reason: why it was rejected,
    else "".

    clip, trajectory, labels: None where the motion allows no such ejection fraction.
    """

    clip: Clip | None
    trajectory: Trajectory | None
    labels: Labels | None
    measured: float | None
    tries: int
    seed: int
    reason: str


@dataclass(frozen=True)
class Making:
    """How a cohort's clips are made, on which their bytes depend.

    tolerance: points by which the EF measured on a clip may miss its label; else it is made again, up to `tries` times:
    from other noise, and with a wish halfway to what was measured (with `one_frame` from the third try on), at most
    `tolerance` off the one asked for; then rejected, with a row in the manifest alone. one_frame: make a clip from its
    source's end-diastolic frame alone, as KDM does, instead of editing every frame. steps: of F2I with `one_frame`, see
    KDMPipeline. dicom, nifti: write each clip in these forms too.
    """

    tolerance: float = defaults.TOLERANCE
    tries: int = defaults.TRIES
    steps: int = defaults.STEPS
    dicom: bool = False
    nifti: bool = False
    one_frame: bool = False

    def check(self) -> None:
        """Raises ConfigError for what no cohort can be made with."""
        if not self.tolerance > 0 or self.tries < 1 or not 1 <= self.steps <= 1000:
            raise ConfigError("A cohort needs a tolerance above 0 points, 1 or more tries and 1 to 1000 steps.")


def augment_cohort(
    plan: pd.DataFrame,
    sources: Sequence[Source],
    out: str | Path,
    options: Making = Making(),
    *,
    bundle: Bundle = defaults.BUNDLE,
    drivers: Sequence[Source] = (),
    engine: Engine = serial,
    progress: Progress = quiet,
) -> pd.DataFrame:
    """Make the planned clips of `cohort.plan.plan_cohort` and write them to the folder `out`; returns its manifest.

    out: `Videos/<id>.avi`, FileList.csv, VolumeTracings.csv (end-systole and end-diastole), manifest.csv, run.json;
    with `options.dicom` DICOM/<id>.dcm, with `options.nifti` NIfTI/<id>.nii.gz and its ventricle <id>_gt.nii.gz. EF,
    EDV and ESV are those of the written tracings, in mL where the source's spacing is known, else in px^3; the column
    VolumeUnit says which.
    Every clip is its source, edited frame by frame (`edit.edit_clip`), and carries that patient's pixels; FileList.csv
    says so in the column Edited.
    drivers: those of `cohort.motion.borrow_motions`, where the plan has any. engine: `cohort.workers.ray_engine`
    for more processes or machines, which read the sources' files themselves; the bytes are the same.
    A run that was stopped goes on with the same arguments and ends with the same bytes. Raises OutputError (the folder
    holds something else, another run has it, or the disk is full), ConfigError, BundleError.
    """
    options.check()
    pipeline = load_pipeline(bundle, progress=progress)
    record = run_record(plan, pipeline.bundle_name, weights_hash(pipeline), options)
    record["source_clips_not_searched_for_print"] = sorted(
        sources[i].number for i in plan["source"].unique() if not sources[i].searched
    )
    folder = CohortFolder(out, record)
    check_free(folder.root)
    with claim(folder.root, "augment", inside=True):
        if folder.begin():
            progress("This cohort is complete already")
            return read_manifest(folder.root)
        missing = plan[[folder.part(name) is None for name in plan["id"]]]
        finished = len(plan) - len(missing)
        progress(f"Making {len(missing)} clips")
        try:
            for _ in engine(partial(Maker, pipeline, folder, record, options), _shares(missing, sources, drivers)):
                finished += 1
                progress(f"Made {finished} of {len(plan)} clips")
            folder.merge(list(plan["id"]))
        except OutputError as error:
            finished = sum(folder.part(name) is not None for name in plan["id"])
            raise OutputError(
                f"{error} {finished} of {len(plan)} clips are done and kept; the same command goes on from there."
            ) from error
        return read_manifest(folder.root)


Planned = tuple[dict[str, Any], Source | None]  # a row of the plan, and whose motion it takes


def _shares(
    plan: pd.DataFrame, sources: Sequence[Source], drivers: Sequence[Source]
) -> list[tuple[Source, list[Planned]]]:
    """What a worker makes at a time: up to SHARE clips of one source."""
    shares = []
    for place, rows in plan.groupby("source", sort=False):
        records = [(row, drivers[row["driver"]] if row["driver"] >= 0 else None) for row in rows.to_dict("records")]
        shares += [(sources[place], records[start : start + SHARE]) for start in range(0, len(records), SHARE)]
    return shares


class Maker:
    """A worker that makes planned clips of a source and writes them; what it works with goes from the driver to each
    worker once.

    Called with a source and rows of `plan_cohort`, it yields the name of each clip as it is finished.
    """

    def __init__(
        self, pipeline: HeartPipeline, folder: CohortFolder, record: dict[str, Any], options: Making, device: str
    ) -> None:
        if versions() != record["versions"]:
            raise ConfigError(
                "A worker has other versions of Python or of its packages than the machine that began the cohort; "
                "install the same on all."
            )
        self.pipeline, self.folder, self.record, self.options = placed(pipeline, device), folder, record, options

    def __call__(self, share: tuple[Source, list[Planned]]) -> Iterator[str]:
        source, rows = share
        self.folder.join()
        opened = None
        for row, driver in rows:
            if self.folder.part(row["id"]) is None:  # else a worker died just after it
                opened = opened or source.open()
                made = make_clip(row, opened, None if driver is None else driver.open(), self.pipeline, self.options)
                _write_clip(self.folder, row, made, opened, self.record, self.options)
            yield row["id"]


def make_clip(
    row: dict[str, Any], source: Derived, driving: Derived | None, pipeline: HeartPipeline, options: Making = Making()
) -> Made:
    """Synthesise one planned clip until what is measured on it agrees with its label, `options.tries` times at most;
    the last try else.

    row: of `plan_cohort`. driving: whose motion is taken, None for the source's own. Where the picture does not follow
    the key-points that far, a wish nearer to what it shows is one that picture and label can both keep. With
    `one_frame` other noise comes first: on real clips it moves what is measured by up to 7 points, and leaves the wish
    as it was asked; an edited clip changes little by it.
    """
    wish = row["asked"]
    for number in range(1, options.tries + 1):
        seed = derive_seed(row["seed"], 3, number)
        made = _try(source, driving, wish, seed, number, pipeline, options)
        if not made.reason:
            break
        if made.measured is not None and (number > 1 or not options.one_frame):
            step = float(np.clip((made.measured - row["asked"]) / 2, -options.tolerance, options.tolerance))
            wish = float(np.clip(row["asked"] + step, row["low"], row["high"]))
    return made


def _try(
    source: Derived,
    driving: Derived | None,
    ef: float,
    seed: int,
    number: int,
    pipeline: HeartPipeline,
    options: Making,
) -> Made:
    try:
        trajectory = plan_trajectory(source, source.ed, Wish(ef=ef), driving)
    except GeometryError as error:
        return Made(None, None, None, None, number, seed, str(error))
    edited = edit_clip(
        source, trajectory, pipeline, Sampling(seed, source.ed if options.one_frame else None, options.steps)
    )
    spacing = source.model.clip.spacing_mm
    clip = edited.model.clip
    labels = labels_of(trajectory.keypoints, trajectory.ed, trajectory.es, spacing)
    try:
        points = segment_keypoints(
            pipeline, clip.frames, torch.as_tensor(source.model.sector_mask), trajectory.motion_fps, made=True
        ).keypoints
        measured = clip_ejection_fraction(simpson(points, spacing), trajectory.beats)
    except GeometryError:
        measured = None
    return Made(clip, trajectory, labels, measured, number, seed, _fault(clip, labels, measured, options.tolerance))


def _fault(clip: Clip, labels: Labels, measured: float | None, tolerance: float) -> str:
    """Why a clip is not kept, or ""."""
    rows = np.stack([labels.ed_rows, labels.es_rows])
    height, width = clip.size
    if (rows < -0.5).any() or (rows > np.array([width, height, width, height]) - 0.5).any():
        return "the outline leaves the frame"
    if self_crossing(outline_of_tracing(rows)).any():
        return "the outline crosses itself"
    if measured is None:
        return "no ventricle found in the clip"
    if not abs(measured - labels.ef) <= tolerance:
        return f"measured {measured:.1f}, drawn {labels.ef:.1f}"
    return ""


def _write_clip(
    folder: CohortFolder, row: dict[str, Any], made: Made, source: Derived, record: dict[str, Any], options: Making
) -> None:
    """A planned clip's files and its part, or the part alone where it was rejected. record: of the run."""
    edited = not options.one_frame
    facts = row | {
        "edited": int(edited),
        "drawn": None if made.labels is None else round(made.labels.ef, 2),
        "confidence": None if source.clip_confidence is None else round(source.clip_confidence, 3),
        "measured": None if made.measured is None else round(made.measured, 2),
        "tries": made.tries,
        "seed": made.seed,
        "accepted": int(not made.reason),
        "reason": made.reason,
    }
    manifest = {column: facts[column] for column in MANIFEST}
    if made.reason or made.clip is None or made.trajectory is None:
        folder.finish_clip(row["id"], manifest)
        return
    from echokdm.report.synthesis import check_masked

    check_masked(made.clip.frames, source.model.sector_mask)
    if options.dicom:
        from echokdm.io.dicom_out import Origin, write_dicom

        origin = Origin(record["bundle"]["weights_sha256"], record["bundle"]["name"], [row["id"], str(made.seed)])
        write_dicom(folder.root / "DICOM" / f"{row['id']}.dcm", made.clip, origin, mask_verified=source.searched)
    if options.nifti:
        from echokdm.io.write import write_nifti
        from echokdm.ops.ventricle import keypoints_to_mask

        masks = np.stack([keypoints_to_mask(points, *made.clip.size) for points in made.trajectory.keypoints])
        for ending, volume in (("", each(made.clip.frames, lambda some: some[:, 0])), ("_gt", masks)):
            write_nifti(
                folder.root / "NIfTI" / f"{row['id']}{ending}.nii.gz",
                volume,
                spacing_mm=made.clip.spacing_mm,
                fps=made.clip.fps,
            )
    folder.finish_clip(row["id"], manifest, made.clip, made.labels, row["split"], row["subject"], edited)


def run_record(plan: pd.DataFrame, bundle: str, weights: str, options: Making) -> dict[str, Any]:
    """Everything that a cohort's bytes follow from, for run.json: no path, no name, no time."""
    text = plan.drop(columns="source_ef").to_csv(index=False, lineterminator="\n")
    return {
        "synthetic": True,
        "use": "research only",
        "options": asdict(options),
        "bundle": {"name": bundle, "weights_sha256": weights},
        "planned": len(plan),
        "plan_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "versions": versions(),
    }


def read_manifest(folder: str | Path) -> pd.DataFrame:
    """manifest.csv of a finished cohort; a row a planned clip, `accepted` bool."""
    table = pd.read_csv(Path(folder) / "manifest.csv", dtype={"id": str, "subject": str, "note": str, "reason": str})
    return table.fillna({"note": "", "reason": ""}).assign(accepted=table["accepted"].astype(bool))
