"""The command line: instant where it should be, one sentence and exit code 2 on bad input, nothing left behind."""

import errno
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from echokdm.cli.app import app
from echokdm.cli.parsing import parse_drag
from echokdm.core.errors import ConfigError
from echokdm.core.types import Clip
from echokdm.io.tracings import write_tracings
from echokdm.report.command import repeatable

RUNNER = CliRunner()


@pytest.fixture
def drawn(as_every_bundle, pipeline) -> None:
    """The bundle is the drawn heart's pipeline."""
    as_every_bundle(pipeline)


def save(path: Path, clip: Clip) -> Path:
    frames = (clip.frames[:, 0].numpy() * 255).round().astype(np.uint8)
    np.savez_compressed(path, frames=frames, fps=clip.fps, spacing_mm=clip.spacing_mm)
    return path


def refused(result: Result, words: str) -> None:
    """Exit code 2 and one line that holds the words."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if not line.endswith("...")]
    assert len(lines) == 1 and lines[0].startswith("Error: ") and re.search(words, lines[0]), result.stderr


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys; from echokdm.cli.app import app\ntry: app([{!r}])\nexcept SystemExit: pass\n"
        "assert not [m for m in ('torch', 'numpy', 'diffusers', 'monai', 'pydicom', 'matplotlib') if m in sys.modules]"
    )
    for flag, word in (("--help", "keypoints"), ("--version", "echokdm")):
        done = subprocess.run([sys.executable, "-c", code.format(flag)], capture_output=True, text=True)
        assert done.returncode == 0 and word in done.stdout, done.stderr


def test_help_is_instant() -> None:
    """By processor time, the least of three: with its core's twin busy a process takes half as much again."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", "from echokdm.cli.app import app; app(['--help'])"], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5


def test_public_names_are_there_and_lazy() -> None:
    code = (
        "import sys, echokdm; assert 'torch' not in sys.modules; echokdm.read_clip, echokdm.synthesize, echokdm.derive_keypoints\n"
        "assert {'read_clip', 'synthesize', 'derive_keypoints', 'KDMPipeline', '__version__'} <= set(dir(echokdm))\n"
        "assert echokdm.__version__[0].isdigit() and not hasattr(echokdm, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drag_is_parsed() -> None:
    assert parse_drag(["12:-4,0", "3:1.5,2"]) == {12: (-4.0, 0.0), 3: (1.5, 2.0)}
    assert parse_drag(["3-5:0,2"]) == {3: (0.0, 2.0), 4: (0.0, 2.0), 5: (0.0, 2.0)}
    for text in ("12", "12:1", "a:1,2", "1:2,3,4", "1.5:2,3"):
        with pytest.raises(ConfigError, match="i:dx,dy"):
            parse_drag([text])
    with pytest.raises(ConfigError, match="twice"):
        parse_drag(["3:1,2", "3:2,1"])


def test_command_is_kept_without_paths() -> None:
    words = repeatable("synth", clip="CLIP", ef=35.0, drag=["1:2,3", "4:5,6"], driving=None, demo=False, seed=0)
    assert words == "echokdm synth CLIP --ef 35 --drag 1:2,3 --drag 4:5,6 --seed 0"
    assert repeatable("synth", clip=None, demo=True, frames=12) == "echokdm synth --demo --frames 12"


def test_synth_writes_its_folder(here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None) -> None:
    clip = save(tmp_path / "patient.npz", drawn_clip)
    result = RUNNER.invoke(app, ["synth", str(clip), "--ef", "30", "--steps", "2"])
    assert result.exit_code == 0, result.output
    names = sorted(p.name for p in (here / "synth-1").iterdir())
    assert names == ["keypoints.csv", "report.html", "run.json", "synth.dcm", "synth.gif", "synth.mp4"]
    assert "30.0 %" in result.stdout
    for file in ("run.json", "report.html", "keypoints.csv"):
        text = (here / "synth-1" / file).read_text()
        assert "patient" not in text.replace("They show no\npatient", "") and str(tmp_path) not in text, file
    assert '"command": "echokdm synth CLIP --ef 30 --steps 2' in (here / "synth-1" / "run.json").read_text()
    page = (here / "synth-1" / "report.html").read_text()
    for part in ("read the clip", "load the bundle", "find the ventricle", "make the frames", "measure the output"):
        assert page.count(part) == 1, part


def test_keypoints_writes_its_folder(here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None) -> None:
    clip = save(tmp_path / "clip.npz", drawn_clip)
    result = RUNNER.invoke(app, ["keypoints", str(clip)])
    assert result.exit_code == 0 and "EF" in result.stdout, result.output
    assert len(list((here / "keypoints-1").iterdir())) == 6


def test_existing_folder_needs_overwrite(here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None) -> None:
    clip = save(tmp_path / "clip.npz", drawn_clip)
    (here / "out").mkdir()
    (here / "out" / "mine.txt").write_text("kept")
    refused(RUNNER.invoke(app, ["synth", str(clip), "--out", "out"]), "--overwrite")
    assert [p.name for p in (here / "out").iterdir()] == ["mine.txt"]
    assert RUNNER.invoke(app, ["synth", str(clip), "--out", "out", "--overwrite"]).exit_code == 0
    assert len(list((here / "out").iterdir())) == 7
    (here / "file").write_text("x")
    refused(RUNNER.invoke(app, ["keypoints", str(clip), "--out", "file", "--overwrite"]), "name a folder")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Name one clip"),
        (["CLIP", "--demo"], "Name one clip"),
        (["CLIP", "--ef", "4"], "outside 5 to 80"),
        (["CLIP", "--ef", "81"], "outside 5 to 80"),
        (["CLIP", "--drag", "12"], "i:dx,dy"),
        (["CLIP", "--drag", "40:1,1"], "points 0 to 39"),
        (["CLIP", "--drag", "10:500,0"], "."),
        (["CLIP", "--without", "all"], "f2i or k2f"),
        (["CLIP", "--frames", "1"], "--frames"),
        (["CLIP", "--fps", "0"], "--fps"),
        (["CLIP", "--fps", "1"], "--fps"),
        (["CLIP", "--steps", "0"], "--steps"),
        (["CLIP", "--seed", "-1"], "--seed"),
        (["CLIP", "--from-frame", "24"], "frames 0 to 23"),
        (["CLIP", "--keypoints", "none.csv"], "The tracing file does not exist"),
        (["CLIP", "--driving", "none.dcm"], "can't be opened"),
        (["none.dcm"], "can't be opened"),
        (["TEXT"], "not a clip"),
        (["TRUNCATED"], "damaged|no image"),
        (["CORRUPT"], "damaged|no image"),
        (["STILL"], "single frame"),
        (["STILL", "--ef", "40"], "single frame"),
        (["FROZEN"], "[Nn]othing moves"),
        (["EMPTY"], "--keypoints"),
        (["RGB"], "."),
        (["PALETTE"], "."),
        (["JPEG2K"], "."),
        (["DOPPLER"], "Doppler"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    options: list[str], words: str, here: Path, tmp_path: Path, drawn: None, request: pytest.FixtureRequest
) -> None:
    files = {
        name: lambda name=name: bad_file(name, tmp_path, request)
        for name in (
            "CLIP",
            "TEXT",
            "TRUNCATED",
            "CORRUPT",
            "STILL",
            "FROZEN",
            "EMPTY",
            "RGB",
            "PALETTE",
            "JPEG2K",
            "DOPPLER",
        )
    }
    arguments = [str(files[word]()) if word in files else word for word in options]
    refused(RUNNER.invoke(app, ["synth", *arguments]), words)
    assert list(here.iterdir()) == []


def bad_file(name: str, folder: Path, request: pytest.FixtureRequest) -> Path:
    """A file of the kind named."""
    from pydicom.examples import get_path

    if name in ("RGB", "PALETTE", "JPEG2K"):
        return Path(get_path({"RGB": "rgb_color", "PALETTE": "palette_color", "JPEG2K": "jpeg2k"}[name]))
    if name == "TEXT":
        (folder / "notes.dcm").write_text("not a clip\n" * 50)
        return folder / "notes.dcm"
    if name in ("TRUNCATED", "CORRUPT"):
        data = bytearray(Path(get_path("ybr_color")).read_bytes())
        if name == "CORRUPT":
            data[30_000:-30_000] = bytes(len(data) - 60_000)
        path = folder / f"{name}.dcm"
        path.write_bytes(data[: len(data) // 2] if name == "TRUNCATED" else data)
        return path
    clip: Clip = request.getfixturevalue({"STILL": "still_clip", "EMPTY": "empty_clip"}.get(name, "drawn_clip"))
    if name == "FROZEN":
        clip = clip.with_frames(clip.frames[:1].repeat(10, 1, 1, 1))
    if name == "DOPPLER":
        frames = (clip.frames.repeat(1, 3, 1, 1).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
        frames[:, 60:110, 85:120] = (200, 40, 20)
        np.savez_compressed(folder / "doppler.npz", frames=frames, fps=25.0)
        return folder / "doppler.npz"
    return save(folder / f"{name.lower()}.npz", clip)


@pytest.mark.parametrize("command", ["synth", "keypoints"])
def test_unknown_bundle_names_what_there_is(command: str, here: Path, tmp_path: Path, drawn_clip: Clip) -> None:
    clip = save(tmp_path / "clip.npz", drawn_clip)
    refused(RUNNER.invoke(app, [command, str(clip), "--bundle", "a4c-phantm"]), "There is no bundle .a4c-phantm")
    assert list(here.iterdir()) == []


def test_unknown_device(here: Path, tmp_path: Path, drawn_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from echokdm.methods.kdm import pipeline as module

    monkeypatch.setattr(module.KDMPipeline, "from_pretrained", classmethod(lambda cls, name: torch.nn.Linear(1, 1)))
    refused(
        RUNNER.invoke(app, ["synth", str(save(tmp_path / "clip.npz", drawn_clip)), "--device", "warp9"]), "--device cpu"
    )


def test_outline_of_another_shape_is_refused(here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None, heart) -> None:
    clip = save(tmp_path / "clip.npz", drawn_clip)
    write_tracings(tmp_path / "t.csv", {"clip": {0: heart.ellipse(count=12)}})
    refused(RUNNER.invoke(app, ["synth", str(clip), "--keypoints", str(tmp_path / "t.csv")]), "12 chords")
    assert list(here.iterdir()) == []


def test_full_disk_is_said_and_nothing_left(
    here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("echokdm.io.write.write_gif", full)
    refused(RUNNER.invoke(app, ["synth", str(save(tmp_path / "clip.npz", drawn_clip))]), "disk is full")
    assert list(here.iterdir()) == []


def test_interrupt_leaves_nothing(
    here: Path, tmp_path: Path, drawn_clip: Clip, drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("echokdm.io.dicom_out.write_dicom", interrupt)
    result = RUNNER.invoke(app, ["synth", str(save(tmp_path / "clip.npz", drawn_clip))])
    assert result.exit_code not in (0, 2) and "Traceback" not in result.output
    assert list(here.iterdir()) == []


def test_doctor_speaks() -> None:
    result = RUNNER.invoke(app, ["doctor"])
    assert "torch" in result.stdout


def test_unknown_yaml_key_names_the_nearest(here: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("method: kdm\nname: mine\nk2f:\n  stepps: 5\n")
    refused(RUNNER.invoke(app, ["train", str(config)]), "steps")
    assert list(here.iterdir()) == []


def test_an_output_in_which_nothing_could_be_measured_ends_with_code_3(
    here: Path, drawn, drawn_clip: Clip, pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = pipeline.segment

    def lose(frames, *seen):
        monkeypatch.setattr(pipeline, "segment", lambda *_: (np.zeros((len(frames), 112, 112), bool), None))
        return find(frames, *seen)

    monkeypatch.setattr(pipeline, "segment", lose)
    done = RUNNER.invoke(app, ["synth", str(save(here / "clip.npz", drawn_clip)), "--out", "out"])
    assert done.exit_code == 3 and "nothing could be measured" in done.stderr
    assert (here / "out" / "synth.dcm").exists()
    assert "nothing could be measured" in json.loads((here / "out" / "run.json").read_text())["warning"]
    assert "nothing could be measured" in (here / "out" / "report.html").read_text()


def test_keypoints_and_synth_print_one_ejection_fraction(here: Path, drawn, drawn_clip: Clip) -> None:
    clip = str(save(here / "clip.npz", drawn_clip))
    one, other = RUNNER.invoke(app, ["keypoints", clip]), RUNNER.invoke(app, ["synth", clip])
    assert one.exit_code == other.exit_code == 0
    printed = re.search(r"^EF (\d+\.\d) %", one.stdout, re.M)
    source = re.search(r"^EF source +(\d+\.\d) %", other.stdout, re.M)
    assert printed and source and printed[1] == source[1]
