"""Print over the sector leaves through no door, and where it was not searched nothing claims to be clean of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.cohort.audit.clips import open_clip
from echokdm.cohort.make import Making, augment_cohort
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.core.errors import ClipError, PrintError
from echokdm.core.types import Clip
from echokdm.deid.gate import search_print
from echokdm.echo.derive import derive_keypoints
from echokdm.echo.synthesis import synthesize
from echokdm.echo.wish import Wish
from echokdm.io import find_sector
from echokdm.pipeline.ingest import ingest, kept_clips
from echokdm.pipeline.plan import read_pipeline
from echokdm.pipeline.work import Work, untracked
from echokdm.report.synthesis import write_synthesis

RUNNER = CliRunner()
SAID = "over the sector"
CLEAN_PIXELS = "113101"


def named(clip: Clip, at: tuple[int, int] = (70, 116), size: int = 12) -> Clip:
    """The clip with a word in white over its sector."""
    ink = Image.new("L", clip.size[::-1])
    ImageDraw.Draw(ink).text(at, "KOWALSKI", fill=255, font=ImageFont.load_default(size))
    share = torch.from_numpy(np.asarray(ink) / 255).float()
    return clip.with_frames(clip.frames * (1 - share) + share)


def save(path: Path, clip: Clip) -> Path:
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, frames=(clip.frames[:, 0].numpy() * 255).round().astype(np.uint8), fps=clip.fps)
    return path


def claims(path: Path) -> tuple[str, bool]:
    """BurnedInAnnotation, and whether clean pixel data is claimed."""
    ds = pydicom.dcmread(path)
    return ds.BurnedInAnnotation, CLEAN_PIXELS in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_every_bundle, pipeline) -> None:
    """The bundle is the drawn heart's pipeline, and the working directory empty."""
    as_every_bundle(pipeline)
    monkeypatch.chdir(tmp_path)


def test_a_word_is_found_and_tissue_is_none(drawn_clip: Clip, pipeline) -> None:
    assert derive_keypoints(drawn_clip, bundle=pipeline).searched
    for size in (8, 12, 16):
        with pytest.raises(PrintError, match=SAID):
            derive_keypoints(named(drawn_clip, size=size), bundle=pipeline)
    assert not derive_keypoints(named(drawn_clip), allow_print=True, bundle=pipeline).searched


def test_a_word_of_three_colours_is_found(drawn_clip: Clip) -> None:
    clip = named(drawn_clip)
    sector = find_sector(drawn_clip)
    with pytest.raises(PrintError):
        search_print(clip.with_frames(clip.frames.repeat(1, 3, 1, 1)), sector)


@pytest.mark.parametrize("command", ["synth", "keypoints"])
def test_a_command_refuses_and_leaves_nothing(command: str, drawn_clip: Clip, drawn: None, tmp_path: Path) -> None:
    clip = save(tmp_path / "clip.npz", named(drawn_clip))
    result = RUNNER.invoke(app, [command, str(clip), "--out", "out"])
    assert (
        result.exit_code == 2
        and SAID in result.stderr
        and "--allow-print" in result.stderr
        and not (tmp_path / "out").exists()
    )
    result = RUNNER.invoke(app, [command, str(clip), "--out", "out", "--allow-print"])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / {"synth": "run.json", "keypoints": "measures.json"}[command]).read_text())
    assert record.get("source", record)["searched_for_print"] is False
    if command == "synth":
        assert claims(tmp_path / "out" / "synth.dcm") == ("YES", False)
        assert (
            "--allow-print" in record["command"]
            and "not searched for print" in (tmp_path / "out" / "report.html").read_text()
        )


def test_what_was_searched_says_so(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    write_synthesis(synthesize(drawn_clip, Wish(ef=40), bundle=pipeline), tmp_path / "out")
    assert claims(tmp_path / "out" / "synth.dcm") == ("NO", True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["source"]["searched_for_print"] is True
    assert "not searched for print" not in (tmp_path / "out" / "report.html").read_text()


def test_a_still_is_taken_and_nothing_is_claimed_of_it(
    still_clip: Clip, drawn_clip: Clip, pipeline, tmp_path: Path
) -> None:
    result = synthesize(still_clip, driving=named(drawn_clip), bundle=pipeline)  # no pixel of a driving clip is put out
    write_synthesis(result, tmp_path / "out")
    assert claims(tmp_path / "out" / "synth.dcm") == ("YES", False)


def test_a_cohort_leaves_such_clips_out_or_claims_nothing(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    sources, refused = read_sources([drawn_clip, named(drawn_clip)], pipeline)
    assert [source.number for source in sources] == [1] and refused[0].startswith("clip 2: ") and SAID in refused[0]
    allowed, _ = read_sources([named(drawn_clip)], pipeline, allow_print=True)
    for name, given, claimed in (("searched", sources, ("NO", True)), ("allowed", allowed, ("YES", False))):
        augment_cohort(
            plan_cohort(given, 1, "uniform:38-39"), given, tmp_path / name, Making(dicom=True), bundle=pipeline
        )
        assert [claims(path) for path in (tmp_path / name / "DICOM").iterdir()] == [claimed]
        record = json.loads((tmp_path / name / "run.json").read_text())
        assert record["source_clips_not_searched_for_print"] == ([] if claimed[1] else [1])


def ingested(folder: Path, source: Path, **options: bool) -> Path:
    """What the stage `ingest` makes of a folder of clips."""
    text = f"name: t\nstages: {{ingest: {{source: 'clips:{source}', select: all{''.join(f', {k}: {v}' for k, v in options.items())}}}}}\n"
    folder.mkdir()
    (folder / "p.yaml").write_text(text)
    pipeline = read_pipeline(folder / "p.yaml", [], folder)
    (step,) = pipeline.steps
    reads = {field: getattr(step.options, field) for field in step.options.reads}
    ingest(Work(step, folder / "ingest", folder, 0, "cpu", reads, [], lambda _: None, lambda _: None, untracked))
    return folder / "ingest"


def test_a_pipeline_keeps_such_clips_out(drawn_clip: Clip, tmp_path: Path) -> None:
    save(tmp_path / "clips" / "a.npz", drawn_clip)
    save(tmp_path / "clips" / "b.npz", named(drawn_clip))
    made = ingested(tmp_path / "one", tmp_path / "clips")
    assert [(row["clip"], row["searched"]) for row in kept_clips(made)] == [("C000001", "1")]
    assert not (made / "clips" / "C000002.npz").exists() and SAID in (made / "quarantine.csv").read_text()
    made = ingested(tmp_path / "two", tmp_path / "clips", allow_print=True)
    assert [row["searched"] for row in kept_clips(made)] == ["0", "0"]


def test_pictures_of_a_data_set_are_black_instead(drawn_clip: Clip, drawn: None, tmp_path: Path) -> None:
    """A preview shows the sector alone, and an audit's pictures no clip with print."""
    bannered = drawn_clip.with_frames(drawn_clip.frames.clone())
    bannered.frames[..., :6, 4:40] = 1  # beside the sector
    save(tmp_path / "clips" / "a.npz", bannered)
    result = RUNNER.invoke(app, ["data", "preview", "clips", "clips", "--out", "a.png"])
    tile = np.asarray(Image.open("a.png").convert("L"))[18 : 18 + 150, :190]  # below its title, 0.96 of the clip's size
    assert result.exit_code == 0 and not result.stderr and tile[1:5, 6:36].max() == 0 and tile[80].max() > 60
    path = save(tmp_path / "clips" / "a.npz", named(drawn_clip))
    result = RUNNER.invoke(app, ["data", "preview", "clips", "clips", "--out", "b.png"])
    assert (
        result.exit_code == 0
        and SAID in result.stderr
        and not np.asarray(Image.open("b.png").convert("L"))[18 : 18 + 150, :190].any()
    )
    open_clip(path, "salt")
    with pytest.raises(PrintError):
        open_clip(path, "salt", shown=True)


@pytest.fixture
def fault(test_data: Path, tmp_path: Path) -> Path:
    """A folder with a clip on whose sector an invented name stands."""
    (tmp_path / "clips").mkdir()
    return Path(shutil.copy(test_data / "faults" / "name_over_sector_16px.dcm", tmp_path / "clips"))


@pytest.mark.parametrize("command", [["synth"], ["keypoints"], ["augment"]])
def test_a_name_over_a_real_sector_leaves_by_no_command(
    command: list[str], fault: Path, drawn: None, tmp_path: Path
) -> None:
    places = [str(fault.parent), "out", "--dicom"] if command == ["augment"] else [str(fault), "--out", "out"]
    result = RUNNER.invoke(app, [*command, *places])
    assert result.exit_code == 2 and SAID in result.stderr and not (tmp_path / "out").exists()


def test_a_name_over_a_real_sector_leaves_by_no_pipeline(fault: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=SAID):
        ingested(tmp_path / "one", fault.parent)
    assert not list((tmp_path / "one").rglob("*.npz"))
