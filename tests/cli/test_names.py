"""Names of files and folders, which may be a patient's, are put out by no command; only --show-names tells them."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydicom import dcmread
from pydicom.examples import get_path
from typer.testing import CliRunner, Result

from echokdm.cli.app import app
from echokdm.core.errors import GeometryError
from echokdm.core.naming import called, names_shown, pseudonym, showing_names
from echokdm.core.types import Clip
from echokdm.data.adapters.problems import Problems
from echokdm.io.tracings import read_tracings, write_tracings
from echokdm.pipeline.plan import read_pipeline

RUNNER = CliRunner()
NAME = "KOWALSKI"
HOME = f"{NAME}^ANNA 1970"


def save(path: Path, clip: Clip) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, frames=(clip.frames[:, 0].numpy() * 255).round().astype(np.uint8), fps=clip.fps)
    return path


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_every_bundle, pipeline) -> Path:
    """An empty working directory, and the drawn heart's pipeline as every bundle."""
    as_every_bundle(pipeline)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def home(tmp_path: Path, drawn_clip: Clip, heart, camus) -> Path:
    """A folder whose every name is planted: clips, some of them in sub-folders, outlines, tables, and what is none of
    these."""
    home = tmp_path / HOME
    for name in (f"clips/{NAME} 1.npz", f"clips/{NAME}/{NAME} 2.npz", f"one/{NAME}.npz"):
        save(home / name, drawn_clip)
    (home / "clips" / f"{NAME}.dcm").write_text(f"{NAME}, no clip")
    for name, count in (("good", 20), ("few", 12)):
        write_tracings(
            home / f"{NAME} {name}.csv", {NAME: {0: heart.ellipse(count=count), 12: heart.ellipse(12, count=count)}}
        )
    (home / f"{NAME} lines.csv").write_text(f"FileName,X1,Y1,X2,Y2,Frame\n{NAME},1,2,three,4,0\n")
    (home / f"{NAME}.yaml").write_text(
        yaml.safe_dump({"method": "kdm", "name": "tiny", "data": {"cache": str(home / "cache")}})
    )
    (home / f"{NAME}.npy").write_bytes(b"no array")
    echonet = home / "echonet"
    save(echonet / "Videos" / f"{NAME}9.avi", drawn_clip)
    (echonet / "FileList.csv").write_text(
        "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"
        + "".join(
            f"{NAME}{i},50,1,2,{60 + i},60,30,9,{split}\n"
            for i, split in ((1, "TRAIN"), (2, "TRAIN"), (3, NAME), (3, NAME))
        )
    )
    (echonet / "VolumeTracings.csv").write_text(
        f"FileName,X1,Y1,X2,Y2,Frame\n{NAME}7.avi,1,2,3,4,0\n{NAME}1.avi,1,2,3,4,a\n"
    )
    for i in (1, 2):
        camus(home / "camus", f"patient{NAME}{i}", 4)
    (home / "camus" / "database_nifti" / f"patient{NAME}1" / "Info_4CH.cfg").write_text("ED: one\n")
    (home / "camus" / "database_nifti" / f"patient{NAME}2" / f"patient{NAME}2_4CH_half_sequence_gt.nii.gz").unlink()
    for split in ("train", "test"):
        (home / "videos" / split).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(home / "videos" / split / f"{NAME}-{split}#1.png")
        (home / "videos" / split / f"{NAME}#x.txt").write_text("none")
    (home / "faces").mkdir()
    (home / "faces" / f"{NAME}.pts").write_text("version: 1")
    (home / "pose" / f"{NAME}_json").mkdir(parents=True)
    (home / "pose" / f"{NAME}_json" / f"{NAME}.json").write_text('{"people": []}')
    dataset = dcmread(get_path("ybr_color"))
    dataset.PatientName = NAME
    (home / "export" / NAME).mkdir(parents=True)
    dataset.save_as(home / "export" / NAME / f"{NAME}.dcm")
    (home / "export" / f"{NAME}.txt").write_text(NAME)
    return home


def put_out(result: Result, folder: Path) -> list[str]:
    """Where the planted name is printed or written: in names below `folder`, or in bytes."""
    found = [line for line in result.output.splitlines() if NAME in line or "1970" in line]
    for path in folder.rglob("*"):
        told = str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        found += [str(path)] if NAME.encode() in told else []
    return found


WORKS = [
    "synth HOME/one/NAME.npz",
    "synth HOME/one/NAME.npz --keypoints 'HOME/NAME good.csv' --ef 40",
    "synth HOME/one/NAME.npz --out OUT",
    "synth HOME/one/NAME.npz --driving HOME/one/NAME.npz",
    "keypoints HOME/one/NAME.npz",
    "keypoints HOME/one/NAME.npz --out OUT",
    "keypoints HOME/one/NAME.npz --keypoints 'HOME/NAME good.csv'",
    "augment HOME/clips OUT --per-clip 1 --ef uniform:38-39 --dicom --nifti",
    "augment HOME/clips OUT --per-clip 1 --ef uniform:38-39 --motion library:HOME/one",
    "deid HOME/export OUT",
    "data preview clips HOME/one",
    "data preview clips HOME/one --out OUT",
    "train HOME/NAME.yaml --dry-run",
]
REFUSED = [
    "synth HOME/NAME.dcm",
    "synth HOME/clips/NAME.dcm",
    "synth HOME/one/NAME.npz HOME/one/NAME.npz",
    "synth --ef HOME",
    "HOME/one/NAME.npz",
    "synth HOME/one/NAME.npz --driving HOME/NAME.dcm",
    "synth HOME/one/NAME.npz --keypoints HOME/NAME.csv",
    "synth HOME/one/NAME.npz --out HOME",
    "synth HOME/one/NAME.npz --out HOME/NAME.npy",
    "keypoints HOME/clips/NAME.dcm",
    "keypoints HOME/one/NAME.npz --keypoints 'HOME/NAME few.csv'",
    "keypoints HOME/one/NAME.npz --keypoints 'HOME/NAME lines.csv'",
    "augment HOME/NAME OUT",
    "augment HOME/faces OUT",
    "augment HOME/clips HOME/faces",
    "augment HOME/clips OUT --motion HOME",
    "augment HOME/clips OUT --motion library:HOME/NAME",
    "augment HOME/clips OUT --ef HOME/NAME.csv",
    "augment HOME/clips OUT --ef match:HOME/NAME.csv",
    "augment HOME/clips OUT --ef 'match:HOME/NAME good.csv'",
    "augment HOME/clips OUT --engine HOME",
    "audit HOME/NAME HOME/clips",
    "audit HOME/clips HOME/NAME",
    "audit HOME/faces HOME/clips",
    "audit HOME/echonet HOME/clips",
    "audit HOME/clips HOME/clips --out HOME",
    "evaluate --data HOME/NAME",
    "evaluate --data HOME/faces",
    "evaluate --data HOME/clips --out HOME",
    "validate HOME/echonet",
    "validate HOME/clips",
    "validate HOME/NAME",
    "validate HOME/NAME.npy",
    "data check echonet-dynamic HOME/echonet",
    "data check camus HOME/camus",
    "data check voxceleb HOME/videos",
    "data check faces-pts HOME/faces",
    "data check openpose HOME/pose",
    "data check clips HOME/clips",
    "data check clips HOME/NAME",
    "data check HOME clips",
    "data preview camus HOME/camus",
    "data preview clips HOME/NAME",
    "data preview clips HOME/one --out HOME",
    "deid HOME/NAME OUT",
    "deid HOME/export HOME/faces",
    "deid HOME/export OUT --salt HOME/NAME.bin",
    "adapt HOME/NAME --out OUT",
    "adapt HOME/camus --out OUT",
    "adapt HOME/clips:NAME --out OUT",
    "adapt HOME/one --out HOME",
    "train HOME/none/NAME.yaml",
    "train HOME/NAME.npy",
    "train HOME/NAME.yaml --set HOME/NAME",
    "train HOME/NAME.yaml --set HOME/NAME=1",
    "train HOME/NAME.yaml --set data.cache.a=HOME/NAME",
    "run HOME/NAME.yaml",
    "run HOME/none/NAME.yaml",
    "run HOME/NAME.npy",
    "run HOME/NAME.yaml --set stages.ingest.source=HOME/NAME",
    "fetch HOME/NAME OUT --study 1.2",
    "fetch https://NAME:NAME@pacs.test OUT",
    "send http://127.0.0.1:9 HOME/NAME.npy",
    "send HOME/NAME HOME/NAME.npy",
    "listen HOME/faces --idle 1",
    "export a4c HOME/faces --to hub-folder",
]


def invoke(words: str, home: Path, out: Path, *more: str) -> Result:
    quoted = re.findall(r"'[^']*'|\S+", words)
    return RUNNER.invoke(
        app,
        [word.strip("'").replace("NAME", NAME).replace("HOME", str(home)).replace("OUT", str(out)) for word in quoted]
        + list(more),
    )


@pytest.mark.parametrize("words", WORKS)
def test_what_a_command_puts_out_names_no_file(words: str, home: Path, work: Path) -> None:
    out = home / f"{NAME} out"
    result = invoke(words, home, out)
    assert result.exit_code == 0, result.output
    assert not put_out(result, work)
    assert not out.is_dir() or not put_out(result, out)


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_command_says_of_bad_input_names_no_file(words: str, home: Path, work: Path) -> None:
    before = sorted(home.rglob("*"))
    result = invoke(words, home, home / f"{NAME} out")
    assert result.exit_code == 2, (result.output, result.exception)
    assert not put_out(result, work) and "Traceback" not in result.output
    assert [path for path in sorted(home.rglob("*")) if path not in before] == [] and list(work.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "validate HOME/echonet",
        "data check camus HOME/camus",
        "data check faces-pts HOME/faces",
        "keypoints HOME/one/NAME.npz --keypoints HOME/NAME.csv",
    ],
)
def test_names_are_shown_where_they_are_asked_for(words: str, home: Path, work: Path) -> None:
    """Before the command or after it; not in the run after."""
    for place in (invoke(words, home, home, "--show-names"), invoke(f"--show-names {words}", home, home)):
        assert place.exit_code == 2 and NAME in place.stderr, place.output
    assert NAME not in invoke(words, home, home).output and not names_shown()


def test_a_pipeline_names_no_file(home: Path, work: Path) -> None:
    target = home / f"{NAME} targets.csv"
    target.write_text("FileName,EF\na,38.5\n")
    stages = {
        "ingest": {"source": f"clips:{home / 'clips' / NAME}", "select": "all"},
        "keypoints": {"split": "TRAIN"},
        "augment": {"bundle": "a4c", "per_clip": 1, "ef": f"match:{target}"},
        "report": {},
    }
    config = home / f"{NAME}.yaml"
    config.write_text(yaml.safe_dump({"name": "one", "stages": stages}))
    out = home / f"{NAME} out"
    ran = RUNNER.invoke(app, ["run", str(config), "--out", str(out)])
    assert ran.exit_code == 0 and (out / "report" / "report.html").exists(), ran.output
    assert not put_out(ran, out) and not put_out(ran, work)
    told = RUNNER.invoke(app, ["run", str(config), "--out", str(out), "--dry-run"])
    assert told.stdout.count("cached") == 4 and NAME not in told.output
    target.write_text("FileName,EF\na,38.6\n")  # what a path leads to is part of the recipe, though the path is not
    told = RUNNER.invoke(app, ["run", str(config), "--out", str(out), "--dry-run"])
    assert [line.split()[1] for line in told.stdout.splitlines()[:-1]] == [
        "cached",
        "cached",
        "to",
        "to",
    ] and NAME not in told.output
    moved = RUNNER.invoke(app, ["run", str(config), "--set", f"stages.ingest.source=clips:{home / NAME}"])
    assert moved.exit_code == 2 and NAME not in moved.output


def test_a_stage_made_null_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "name: p\nstages:\n  ingest: {source: 'phantom-heart:2'}\n  keypoints:\n  report:\n"
    )
    assert [step.name for step in read_pipeline(tmp_path / "p.yaml").steps] == ["ingest", "keypoints", "report"]
    assert [step.name for step in read_pipeline(tmp_path / "p.yaml", ["stages.keypoints=null"]).steps] == [
        "ingest",
        "report",
    ]


def test_default_folders_are_numbered(home: Path, work: Path) -> None:
    for number in (1, 2):
        assert invoke("keypoints HOME/one/NAME.npz", home, home).exit_code == 0
        assert (work / f"keypoints-{number}" / "overlay.png").exists()
    (work / "keypoints-1" / "overlay.png").unlink()
    for file in (work / "keypoints-1").iterdir():
        file.unlink()
    os.rmdir(work / "keypoints-1")
    assert invoke("keypoints HOME/one/NAME.npz", home, home).exit_code == 0
    # no lock and no staging stays
    assert sorted(path.name for path in work.iterdir()) == ["keypoints-1", "keypoints-2"]


def test_a_run_at_work_keeps_its_number(home: Path, work: Path) -> None:
    import subprocess
    import sys

    hold = "from echokdm.io.atomic import claim\nwith claim('keypoints-1', 'keypoints'):\n    print('held', flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert invoke("keypoints HOME/one/NAME.npz", home, home).exit_code == 0
        other.communicate("\n")
    assert (work / "keypoints-2" / "overlay.png").exists() and not (work / "keypoints-1").exists()


def test_a_preview_is_the_same_whatever_its_files_are_called(home: Path, work: Path) -> None:
    """Names would be drawn over the tiles, where no search for text finds them."""
    (home / "other").mkdir()
    for split in ("train", "test"):
        (home / "videos" / split / f"{NAME}#x.txt").unlink()
        (home / "other" / split).mkdir()
        (home / "other" / split / f"a-{split}#1.png").write_bytes(
            (home / "videos" / split / f"{NAME}-{split}#1.png").read_bytes()
        )
    for folder in ("videos", "other"):
        assert invoke(f"data preview voxceleb HOME/{folder} --out {folder}.png", home, home).exit_code == 0
    assert (work / "videos.png").read_bytes() == (work / "other.png").read_bytes()
    assert invoke("data preview voxceleb HOME/videos --out shown.png", home, home, "--show-names").exit_code == 0
    assert (work / "shown.png").read_bytes() != (work / "other.png").read_bytes()


def test_what_has_no_place_is_told_by_a_salted_hash() -> None:
    problems = Problems("camus", ["FileList.csv"])
    problems.add("missing", ["FileList.csv", f"{NAME}.avi", f"{NAME} (2)"], "late")
    assert problems.found["missing"][2] == f"{NAME} (2) (late)"
    problems.locate([NAME], ["line 4"])
    assert problems.withheld and problems.lines() == [
        f"3 missing: FileList.csv (late), line 4 (late), {pseudonym(f'{NAME} (2)')} (late)"
    ]
    assert pseudonym("a") == pseudonym("a") != pseudonym("b") and re.fullmatch("name [0-9a-f]{8}", pseudonym("a"))
    with showing_names():
        assert (
            problems.lines() == [f"3 missing: FileList.csv (late), {NAME}.avi (late), {NAME} (2) (late)"]
            and not problems.withheld
        )


def test_a_file_is_called_by_what_it_is(tmp_path: Path) -> None:
    assert called("The mask file", tmp_path / NAME) == "The mask file"
    with showing_names():
        assert called("The mask file", tmp_path / NAME) == f"The mask file '{NAME}'"
        with pytest.raises(GeometryError, match=NAME):
            read_tracings(tmp_path / f"{NAME}.csv")
    with pytest.raises(GeometryError) as error:
        read_tracings(tmp_path / f"{NAME}.csv")
    assert NAME not in str(error.value)


def test_a_record_holds_no_trace_of_its_source(home: Path, work: Path) -> None:
    assert invoke("synth HOME/one/NAME.npz", home, home).exit_code == 0
    source = json.loads((work / "synth-1" / "run.json").read_text())["source"]
    assert source["frames"] == 24 and not [value for value in source.values() if isinstance(value, str)]


@pytest.mark.parametrize("index", [-1, 40])
def test_a_point_that_is_none_is_refused_before_any_work(index: int, home: Path, work: Path) -> None:
    """Before the clip is looked for, which is not there."""
    result = invoke(f"synth HOME/none.dcm --drag {index}:1,1", home, home)
    assert (
        result.exit_code == 2 and result.stderr == f"Error: --drag names point {index}, and there are points 0 to 39.\n"
    )


def test_clips_in_sub_folders_are_augmented(home: Path, work: Path) -> None:
    """A cohort that lies among them is no source of itself, when the same command is given again."""
    for _ in range(2):
        result = invoke("augment HOME/clips OUT --per-clip 1 --ef uniform:38-39", home, home / "clips" / "made")
        assert result.exit_code == 0 and "from 2 of 2 source clips" in result.stdout, result.output
