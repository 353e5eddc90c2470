"""Cohorts of a drawn heart: labels are those of the tracings, verified on the pixels, repeatable, resumable, without a
source's name."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from echokdm.cli.app import OneSentence
from echokdm.cli.cohort import augment
from echokdm.cohort import folder as cohort_write
from echokdm.cohort.make import Making, augment_cohort
from echokdm.cohort.motion import borrow_motions
from echokdm.cohort.plan import Source, plan_cohort, read_sources
from echokdm.cohort.validate import validate_folder
from echokdm.core.errors import ClipError, EchoKDMError, GeometryError, OutputError
from echokdm.core.types import Clip
from echokdm.data.adapters import find_adapter
from echokdm.io import read_clip
from echokdm.io.tracings import read_tracings
from echokdm.ops.ventricle import outline_of_tracing, simpson_volume


@pytest.fixture
def two(drawn_clip: Clip, pipeline) -> list[Source]:
    """The drawn heart, and its mirror image without a pixel spacing."""
    mirrored = drawn_clip.with_frames(drawn_clip.frames.flip(3), spacing_mm=None)
    return read_sources([drawn_clip, mirrored], pipeline)[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Missing:
    """A pipeline that moves the source's frames by `gain` times what was drawn."""

    def __init__(self, pipeline, gain: float) -> None:
        self.pipeline, self.gain = pipeline, gain
        self.components, self.size, self.bundle_name = pipeline.components, pipeline.size, pipeline.bundle_name

    def __call__(self, source, source_keypoints, target_keypoints, *, drawing, **options):
        return self.pipeline(
            source, source_keypoints, target_keypoints, drawing=replace(drawing, gamma=self.gain), **options
        )

    def segment(self, *arguments, **options):
        return self.pipeline.segment(*arguments, **options)


def test_a_clip_moves_as_its_driver_does(two, pipeline, tmp_path) -> None:
    plan = plan_cohort(two, 1, "uniform:35-40")
    own = augment_cohort(plan, two, tmp_path / "own", Making(tolerance=15), bundle=pipeline)
    borrowed = borrow_motions(plan, two)
    other = augment_cohort(borrowed, two, tmp_path / "other", Making(tolerance=15), bundle=pipeline, drivers=two)
    assert list(other["motion"]) == ["clip 2", "clip 1"] and list(own["motion"]) == ["own", "own"]
    assert np.abs(other["drawn"] - other["asked"]).max() < 0.1  # the wish is set on the other's motion
    assert (tmp_path / "own" / "VolumeTracings.csv").read_bytes() != (
        tmp_path / "other" / "VolumeTracings.csv"
    ).read_bytes()


def test_sources_that_cannot_be_used_are_told_by_number(
    drawn_clip: Clip, still_clip: Clip, empty_clip: Clip, pipeline
) -> None:
    same = drawn_clip.with_frames(drawn_clip.frames, subject="somebody")
    sources, refused = read_sources([still_clip, same, empty_clip, same], pipeline)
    assert [line[:7] for line in refused] == ["clip 1:", "clip 3:"] and [s.number for s in sources] == [2, 4]
    assert sources[0].subject == sources[1].subject != "somebody"
    with pytest.raises(ClipError, match="still"):
        read_sources([still_clip], pipeline)


def test_labels_are_the_tracings_own_and_read_back(two: list[Source], pipeline, tmp_path: Path) -> None:
    plan = plan_cohort(two, 2, "uniform:25-55", split="50/50/0")
    manifest = augment_cohort(plan, two, tmp_path / "out", Making(dicom=True, nifti=True), bundle=pipeline)
    assert manifest["accepted"].all() and (manifest["measured"] - manifest["drawn"]).abs().max() < 5
    assert np.allclose(manifest["drawn"], plan["asked"], atol=0.02)
    report = validate_folder(tmp_path / "out")
    assert report.sound, report.problems.lines()
    assert report.clips == 4 and report.unit == "mixed"
    files = pd.read_csv(tmp_path / "out" / "FileList.csv", index_col="FileName")
    assert list(files["VolumeUnit"]) == ["mL", "mL", "px^3", "px^3"]
    assert (files["Edited"] == 1).all() and (manifest["edited"] == 1).all()
    assert files.groupby("Subject")["Split"].nunique().max() == 1 and set(files["Split"]) == {"TRAIN", "VAL"}
    traced = read_tracings(tmp_path / "out" / "VolumeTracings.csv")
    adapter = find_adapter("echonet-dynamic")
    for row in adapter.index(tmp_path / "out").to_dict("records"):
        listed = files.loc[row["sequence"]]
        spacing = None if np.isnan(listed["RowSpacing"]) else (listed["RowSpacing"], listed["ColumnSpacing"])
        points = {frame: outline_of_tracing(rows) for frame, rows in traced[row["sequence"]].items()}
        volumes = [float(simpson_volume(p, spacing)) for p in points.values()]
        assert max(volumes) == pytest.approx(listed["EDV"], rel=1e-4) and min(volumes) == pytest.approx(
            listed["ESV"], rel=1e-4
        )
        item = adapter.read(row)
        seen = item.visible.all(1).nonzero()[:, 0].tolist()
        assert seen == sorted(points) and item.frames.shape == (24, 1, 112, 112)
        assert max(np.linalg.norm(item.keypoints[frame].numpy() - points[frame], axis=1).max() for frame in seen) < 0.5
        again = simpson_volume(item.keypoints[seen].numpy())
        assert 100 * (1 - again.min() / again.max()) == pytest.approx(listed["EF"], abs=0.5)
    for name in plan["id"]:
        assert (tmp_path / "out" / "DICOM" / f"{name}.dcm").exists() and (
            tmp_path / "out" / "NIfTI" / f"{name}_gt.nii.gz"
        ).exists()


def test_edited_clips_keep_each_frames_own_speckle_and_those_from_one_frame_do_not(
    two: list[Source], pipeline, tmp_path: Path
) -> None:
    def speckle(frames: torch.Tensor) -> torch.Tensor:
        """What changes from frame to frame below the ventricle."""
        return (frames - frames.mean(0))[:, :, 75:85].flatten()

    plan, own = plan_cohort(two[:1], 1, "uniform:50-50"), speckle(two[0].open().model.clip.frames)
    likeness = {}
    for one_frame in (False, True):
        out = tmp_path / str(one_frame)
        manifest = augment_cohort(plan, two, out, Making(one_frame=one_frame, tolerance=15), bundle=pipeline)
        assert manifest["accepted"].all() and (manifest["edited"] == int(not one_frame)).all()
        assert (pd.read_csv(out / "FileList.csv")["Edited"] == int(not one_frame)).all() and validate_folder(out).sound
        assert json.loads((out / "run.json").read_text())["options"]["one_frame"] is one_frame
        made = speckle(read_clip(out / "Videos" / "SYN000001.avi").frames)
        likeness[one_frame] = float(torch.corrcoef(torch.stack([made, own]))[0, 1])
    assert likeness[False] > 0.6 and abs(likeness[True]) < 0.3
    with pytest.raises(OutputError, match="another"):
        augment_cohort(plan, two, tmp_path / "True", Making(tolerance=15), bundle=pipeline)


def test_end_systole_is_traced_first_as_the_reference_loader_has_it(
    two: list[Source], pipeline, tmp_path: Path
) -> None:
    augment_cohort(plan_cohort(two, 1), two, tmp_path / "out", bundle=pipeline)
    lines = pd.read_csv(tmp_path / "out" / "VolumeTracings.csv")
    for _, clip in lines.groupby("FileName"):
        first, last = (clip[clip["Frame"] == clip["Frame"].iloc[i]] for i in (0, -1))
        widths = [np.hypot(part["X2"] - part["X1"], part["Y2"] - part["Y1"]).sum() for part in (first, last)]
        assert len(first) == len(last) == 21 and widths[0] < widths[1]


@pytest.mark.parametrize("one_frame", [False, True])
def test_pixels_that_do_not_follow_are_made_again_and_then_rejected(
    one_frame: bool, two: list[Source], pipeline, tmp_path: Path
) -> None:
    plan = plan_cohort(two[:1], 1, "uniform:50-50")
    poor, gain = (0.4, 0.85) if one_frame else (-0.5, 0.5)  # of the whole motion; of what is added to the source's own
    bad = Missing(pipeline, poor)
    manifest = augment_cohort(plan, two, tmp_path / "bad", Making(tries=3, one_frame=one_frame), bundle=bad)
    assert len({call.seed for call in pipeline.calls}) == 3  # other noise each time
    assert not manifest["accepted"].any() and (manifest["tries"] == 3).all()
    assert manifest["reason"].str.fullmatch(r"measured \d+\.\d, drawn \d+\.\d").all()
    # the last wish lay nearer to what was measured
    assert (manifest["drawn"] < 49).all() and (manifest["drawn"] >= 45).all()
    assert len(pd.read_csv(tmp_path / "bad" / "FileList.csv")) == 0 and not list((tmp_path / "bad").rglob("*.avi"))

    first = augment_cohort(
        plan,
        two,
        tmp_path / "once",
        Making(tries=1, tolerance=5.5, one_frame=one_frame),
        bundle=Missing(pipeline, gain),
    )
    gap = (first["drawn"] - first["measured"]).min()
    manifest = augment_cohort(
        plan,
        two,
        tmp_path / "again",
        Making(tries=3, tolerance=gap - 0.2, one_frame=one_frame),
        bundle=Missing(pipeline, gain),
    )
    kept = manifest[manifest["accepted"]]
    # Of one frame other noise comes first; an edited clip hardly changes by it, and the wish moves at once.
    assert len(kept) and (kept["tries"] == (3 if one_frame else 2)).all() and (kept["drawn"] < 50).all()
    assert ((kept["drawn"] - kept["measured"]).abs() <= gap - 0.2).all()
    # The label is what was drawn at last, not what was asked at first.
    listed = pd.read_csv(tmp_path / "again" / "FileList.csv", index_col="FileName")["EF"]
    assert np.allclose(listed[kept["id"]], kept["drawn"], atol=0.01)


def test_a_clip_in_which_nothing_is_found_is_rejected(two: list[Source], pipeline, tmp_path: Path) -> None:
    class Blank(Missing):
        def segment(self, *arguments, **options):
            raise GeometryError("No left ventricle was found with any certainty.")

    manifest = augment_cohort(
        plan_cohort(two[:1], 1), two, tmp_path / "out", Making(tries=1), bundle=Blank(pipeline, 1)
    )
    assert manifest["reason"].tolist() == ["no ventricle found in the clip"] and manifest["measured"].isna().all()


class Stopped(BaseException):
    """As good as a kill: nothing in the package catches it."""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    two: list[Source], pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_cohort(two, 1)
    augment_cohort(plan, two, tmp_path / "whole", bundle=pipeline)
    out, replace = tmp_path / "out", os.replace
    for place, synthesised in (
        ("Videos/SYN000002.avi", 2),
        ("cohort-parts/SYN000002.json", 1),
        ("FileList.csv", 1),
        ("run.json", 0),
    ):

        def stop(source, target, place=place):
            if Path(target) == out / place:
                # what a killed process leaves
                Path(source).with_name(f".{'0' * 8}.tmp.{Path(target).name}").write_bytes(b"half")
                raise Stopped
            replace(source, target)

        pipeline.calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr("echokdm.io.atomic.os.replace", stop)
            with pytest.raises(Stopped):
                augment_cohort(plan, two, out, bundle=pipeline)
        assert len(pipeline.calls) == synthesised
        assert (out / "cohort-parts").is_dir() and not (out / "run.json").exists()
    pipeline.calls.clear()
    augment_cohort(plan, two, out, bundle=pipeline)
    assert not pipeline.calls and contents(out) == contents(tmp_path / "whole")


def test_complete_cohorts_stay_and_others_are_not_mixed_in(two: list[Source], pipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = augment_cohort(plan_cohort(two, 1), two, out, bundle=pipeline)
    before = contents(out)
    pipeline.calls.clear()
    again = augment_cohort(plan_cohort(two, 1), two, out, bundle=pipeline)
    assert again.equals(manifest) and not pipeline.calls and contents(out) == before
    for plan, options in ((plan_cohort(two, 1, seed=1), {}), (plan_cohort(two, 1), {"tolerance": 4.0})):
        with pytest.raises(OutputError, match="another"):
            augment_cohort(plan, two, out, Making(**options), bundle=pipeline)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for name, words in (("mine", "holds no cohort"), ("file", "is a file")):
        with pytest.raises(OutputError, match=words):
            augment_cohort(plan_cohort(two, 1), two, tmp_path / name, bundle=pipeline)
    assert contents(out) == before and contents(tmp_path / "mine") == {"notes.txt": b"keep"}


def test_a_full_disk_stops_clearly_and_the_run_goes_on(
    two: list[Source], pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = plan_cohort(two, 1), tmp_path / "out"
    write = cohort_write.CohortFolder.finish_clip

    def full(self, name, *arguments, **options):
        if name == "SYN000002":
            with cohort_write.atomic_file(self.videos / f"{name}.avi") as path:
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
        write(self, name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cohort_write.CohortFolder, "finish_clip", full)
        with pytest.raises(OutputError, match="disk is full.*1 of 2 clips are done.*goes on"):
            augment_cohort(plan, two, out, bundle=pipeline)
    assert [path.name for path in (out / "Videos").iterdir()] == ["SYN000001.avi"]
    assert augment_cohort(plan, two, out, bundle=pipeline)["accepted"].all() and validate_folder(out).sound


@pytest.fixture
def app(as_every_bundle, pipeline) -> typer.Typer:
    """The command, with the drawn heart's pipeline as its bundle."""
    as_every_bundle(pipeline)
    made = typer.Typer(cls=OneSentence)
    made.command("augment")(augment)
    made.command("other")(lambda: None)  # with one command alone there is no group
    return made


def test_the_command_names_no_source(app: typer.Typer, drawn_clip: Clip, still_clip: Clip, tmp_path: Path) -> None:
    clips = tmp_path / "Doe^Jane"
    clips.mkdir()
    for name, clip in (("JaneDoe1970.npz", drawn_clip), ("Zoe.npz", still_clip)):
        np.savez_compressed(clips / name, frames=(clip.frames[:, 0].numpy() * 255).astype(np.uint8), fps=clip.fps)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["augment", str(clips), str(out), "--per-clip", "1", "--ef", "balance", "--dicom"])
    assert result.exit_code == 0, result.output
    assert (
        "1 of 1 clips accepted, from 1 of 2 source clips" in result.stdout
        and "left out, clip 2: Motion" in result.stderr
    )
    for text in (
        result.stdout,
        result.stderr,
        *map(str, contents(out)),
        *(data.decode("latin-1") for data in contents(out).values()),
    ):
        assert not [word for word in ("Jane", "Doe", "Zoe", "1970", str(clips)) if word in text]
    record = json.loads((out / "run.json").read_text())
    assert record["synthetic"] and record["planned"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none", "out"], "folder of clips does not exist"),
        ([".", "taken"], "holds no cohort"),
        ([".", "out", "--ef", "50"], "uniform:20-70"),
        ([".", "out", "--split", "most"], "80/10/10"),
        (["empty", "out"], "folder of clips holds no clip"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_nothing_written(
    arguments: list[str], words: str, app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("keep")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["augment", *arguments])
    assert result.exit_code == 2 and result.stderr.startswith("Error: ") and words in result.stderr, result.output
    assert contents(tmp_path) == {"taken/notes.txt": b"keep"}


def test_errors_are_the_packages_own(two: list[Source], pipeline, tmp_path: Path) -> None:
    for options in ({"tolerance": 0.0}, {"tries": 0}, {"steps": 0}):
        with pytest.raises(EchoKDMError):
            augment_cohort(plan_cohort(two, 1), two, tmp_path / "out", Making(**options), bundle=pipeline)
    assert not (tmp_path / "out").exists()


def test_commands_are_light_until_run() -> None:
    code = "import sys, echokdm.cli.cohort; assert not [m for m in ('torch', 'numpy', 'pandas') if m in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)
