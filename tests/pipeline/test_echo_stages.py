"""From clips to key-points: what is no four-chamber view is told apart, what is kept keeps its patient's split, and no
name leaves."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import Dataset, dcmread
from pydicom.examples import get_path
from pydicom.sr.codedict import codes
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.cohort.validate import validate_folder
from echokdm.core import defaults, frames
from echokdm.core.errors import ClipError, ConfigError
from echokdm.data.clip_store import clip_store
from echokdm.echo.derive import load_pipeline
from echokdm.echo.view import judge_view
from echokdm.io import read_clip
from echokdm.phantom.a4c import A4CPhantom
from echokdm.pipeline.ingest import ingest, kept_clips
from echokdm.pipeline.keypoints import find_keypoints, read_keypointed, read_table
from echokdm.pipeline.work import Work, untracked

NAME = "DOE^JANE"


def work(pipeline, name: str) -> Work:
    """What the runner hands to a stage of a pipeline."""
    step = next(step for step in pipeline.steps if step.name == name)
    reads = {f: pipeline.out / v if (v := getattr(step.options, f)) in step.needs else v for f in step.options.reads}
    return Work(step, pipeline.out / name, pipeline.out, 0, "cpu", reads, [], lambda _: None, lambda _: None, untracked)


@pytest.fixture(scope="module")
def bundle():
    return load_pipeline(defaults.BUNDLE)


@pytest.fixture(scope="module")
def hearts():
    return A4CPhantom([1010100, 1010101]).clip(15.0)


def test_a_view_is_judged_by_its_ventricle(bundle, hearts) -> None:
    heart = hearts[0]
    seen = judge_view(heart, bundle)
    assert seen.verdict == "kept" and seen.keypoints.shape == (40, 2)
    noise = heart.with_frames(
        torch.rand(heart.frames.shape, generator=torch.Generator().manual_seed(0)) * (heart.frames.amax(0) > 0)
    )
    assert judge_view(noise, bundle).verdict == "refused"
    assert judge_view(heart.with_frames(heart.frames.flip(2)), bundle).verdict == "refused"
    still = heart.with_frames(heart.frames[:1].expand(len(heart), -1, -1, -1).contiguous())
    assert "moves" in judge_view(still, bundle).reason
    # Hardly beating: found, but odd.
    slow = heart.with_frames(heart.frames[[0, 1, 0, 1, 0, 1]])
    assert judge_view(slow, bundle).verdict == "doubtful"


def test_dicom_loses_its_patient_on_the_way_in(maker, tmp_path) -> None:
    export = tmp_path / "export"
    (export / NAME).mkdir(parents=True)
    dataset = dcmread(get_path("ybr_color"))
    dataset.PatientName, dataset.PatientID = NAME, "MRN 4711"
    dataset.save_as(export / NAME / "4711.dcm")
    (export / NAME / "notes.txt").write_text(NAME)
    pipeline = maker.read(ingest={"source": str(export), "select": "a4c"})
    figures = ingest(work(pipeline, "ingest"))
    assert figures["clips kept"] == 1 and figures["quarantined"] == 1
    (row,) = kept_clips(pipeline.out / "ingest")
    assert row["subject"] == "subject-001" and len(read_clip(pipeline.out / "ingest" / row["file"])) == 30
    for file in pipeline.out.rglob("*"):
        told = file.name.encode() + (file.read_bytes() if file.is_file() else b"")
        assert NAME.encode() not in told and b"MRN 4711" not in told and not told.startswith(b"4711")


def test_a_header_that_names_another_view_is_believed(maker, tmp_path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    dataset = dcmread(get_path("ybr_color"))
    for number, code in enumerate((codes.cid12226.ApicalFourChamber, codes.cid12226.ApicalTwoChamber)):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
        dataset.ViewCodeSequence = [item]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.save_as(export / f"{number}.dcm")
    pipeline = maker.read(ingest={"source": str(export), "select": "a4c"})
    figures = ingest(work(pipeline, "ingest"))
    assert figures["clips kept"] == 1 and figures["quarantined"] == 1
    assert "names another view" in (pipeline.out / "ingest" / "quarantine.csv").read_text()


@pytest.fixture
def folder(tmp_path, hearts) -> Path:
    """Two hearts with names, and noise."""
    made = tmp_path / "clips"
    made.mkdir()
    for name, clip in zip(("doe", "roe"), hearts, strict=True):
        np.savez(
            made / f"{name}.npz",
            frames=np.rint(clip.frames[:, 0].numpy() * 255).astype(np.uint8),
            fps=clip.fps,
            spacing_mm=np.array(clip.spacing_mm),
        )
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64), np.uint8)
    np.savez(made / "zoe.npz", frames=noise, fps=15.0)
    return made


def test_clips_become_an_echonet_folder(maker, folder, monkeypatch) -> None:
    pipeline = maker.read(ingest={"source": f"clips:{folder}", "select": "a4c"}, keypoints={"split": "50/0/50"})
    figures = ingest(work(pipeline, "ingest"))
    assert figures == {"clips kept": 2, "subjects": 2, "doubtful": 0, "quarantined": 1}
    ingested, made = pipeline.out / "ingest", pipeline.out / "keypoints"
    assert "sector" in (ingested / "quarantine.csv").read_text() and not (ingested / "parts").exists()
    find_keypoints(work(pipeline, "keypoints"))
    report = validate_folder(made)
    assert report.sound and report.clips == 2 and report.unit == "mL" and set(report.splits) == {"TRAIN", "TEST"}
    (source,) = read_keypointed(made, ("TRAIN",))
    assert source.keypoints.shape == (len(source.open().clip), 40, 2)
    assert source.limits[0] < source.ef < source.limits[1]
    assert not any(
        name in file.read_bytes() for file in pipeline.out.rglob("*") if file.is_file() for name in (b"doe", b"roe")
    )
    with pytest.raises(ConfigError, match="VAL"):
        read_keypointed(made, ("VAL",))
    # The same again is the same bytes, also where the run was stopped after the first clip and where clips are longer
    # than memory keeps.
    before = {file.name: file.read_bytes() for file in made.rglob("*") if file.is_file()}
    again = dataclasses.replace(work(pipeline, "keypoints"), folder=pipeline.out / "other")
    with pytest.raises(KeyboardInterrupt):
        find_keypoints(dataclasses.replace(again, track=stop_after_one))
    with monkeypatch.context() as patch:
        patch.setattr(frames, "IN_MEMORY", 2**16)
        find_keypoints(again)
    assert {file.name: file.read_bytes() for file in (pipeline.out / "other").rglob("*") if file.is_file()} == before
    # What training draws from it.
    store = clip_store(pipeline.out / "cache", made, "TRAIN", 112)
    assert store.count == 1 and store["image"].shape == (1, 6, 112, 112)
    volumes = store["keypoints"][0, :2, :, 0].std(1)
    assert volumes[0] > volumes[1]  # end-diastole first
    # the valves are shut at end-diastole and at end-systole
    assert (store["opening"][0, :2] < 0.3).all() and (store["opening"] <= 1).all()
    with pytest.raises(ConfigError, match="VAL"):
        clip_store(pipeline.out / "cache2", made, "VAL", 112)


def stop_after_one(items, total, label):
    """A progress bar during which Ctrl-C is pressed."""
    yield next(iter(items))
    raise KeyboardInterrupt


def test_a_folder_without_the_view_is_told(maker, folder) -> None:
    for name in ("doe", "roe"):
        (folder / f"{name}.npz").unlink()
    pipeline = maker.read(ingest={"source": f"clips:{folder}", "select": "a4c"})
    with pytest.raises(ClipError, match="None of the 1 clips shows an apical 4-chamber view"):
        ingest(work(pipeline, "ingest"))
    with pytest.raises(ConfigError, match="clips.csv"):
        kept_clips(folder)
    with pytest.raises(ConfigError, match="key-points"):
        read_table(folder)


def test_the_whole_way_by_the_command(tmp_path, folder, monkeypatch) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"""
name: small
stages:
  ingest: {{source: "clips:{folder}"}}
  keypoints: {{split: 50/0/50}}
  augment: {{bundle: {defaults.BUNDLE}, per_clip: 1, steps: 1, tries: 1, tolerance: 60}}
  audit: {{}}
  report: {{}}
""")
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    plan = runner.invoke(app, ["run", str(path), "--dry-run"])
    assert plan.exit_code == 0 and plan.output.count("never ran") == 5 and not (tmp_path / "runs").exists()
    made = runner.invoke(app, ["run", str(path)])
    assert made.exit_code == 0, made.output
    out = tmp_path / "runs" / "small"
    page = (out / "report" / "report.html").read_text()
    assert "SYN" in (out / "augment" / "manifest.csv").read_text() and validate_folder(out / "augment").sound
    assert all(
        word in page
        for word in ("ingest", "keypoints", "augment", "audit", "clips kept", "planted copies", "data:image/png")
    )
    found = json.loads((out / "audit" / "audit.json").read_text())
    # said to be its source's
    assert not found["copies"] and not found["leaks"] and found["how"]["edited_clips_of_known_source"] == 1
    again = runner.invoke(app, ["run", str(path)])
    assert again.output.count("done already") == 5
    wrong = runner.invoke(app, ["run", str(path), "--set", "stages.augment.per_clp=2"])
    assert wrong.exit_code == 2 and "did you mean 'per_clip'" in wrong.output
