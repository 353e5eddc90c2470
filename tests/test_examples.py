"""examples/: each runs in a fresh process, a notebook's code as one script, and what it prints and writes is right."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from echokdm.phantom.a4c import A4CPhantom

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))

Runner = Callable[[str], tuple[Path, str]]


def cells_of(path: Path, kind: str) -> list[str]:
    """The text of each cell of one kind."""
    return [
        "".join(cell["source"])
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """run(name) -> (the folder it wrote, what it printed); it starts in an empty `examples` that has `configs` beside
    it."""
    here = tmp_path / "examples"
    here.mkdir()
    (tmp_path / "configs").symlink_to(EXAMPLES.parent / "configs")

    def go(name: str) -> tuple[Path, str]:
        script = tmp_path / f"{name}.py"
        script.write_text("\n".join(cells_of(EXAMPLES / f"{name}.ipynb", "code")), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=here,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert without_figures(done.stdout) == without_figures(shown(name)), (
            f"docs/hooks/tutorials.py {name} records its outputs anew"
        )
        assert [path.name for path in here.iterdir()] == ["out"] and [
            path.name for path in (here / "out").iterdir()
        ] == [name]
        return here / "out" / name, done.stdout

    return go


def shown(name: str) -> str:
    """What the tutorial of a notebook shows as printed."""
    record = json.loads((EXAMPLES.parent / "docs" / "hooks" / "outputs" / f"{name}.json").read_text(encoding="utf-8"))
    return "".join(output.get("text", "") for output in record.values())


def without_figures(text: str) -> str:
    """Its words: numbers hang on the machine's arithmetic, a withheld name on the run."""
    return " ".join(re.sub(r"(?<=name )[0-9a-f]{8}\b|-?\d+(\.\d+)?", "0", text).split())


def number_after(text: str, words: str) -> float:
    """The first number that follows `words`."""
    found = re.search(re.escape(words) + r"\D*?(-?\d+(?:\.\d+)?)", text)
    assert found, f"{words!r} is not printed:\n{text}"
    return float(found[1])


def test_every_example_is_run_by_a_test() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["cohort", "face", "own_data", "quickstart"]
    others = {
        path.name
        for path in EXAMPLES.iterdir()
        if path.suffix != ".ipynb" and not path.name.startswith(("_", ".", "out"))
    }
    tests = {
        "quickstart.py": "test_examples.py",
        "augmentation_study.py": "cohort/test_augmentation_study.py",
        "augmentation_study_cases.py": "cohort/test_augmentation_study.py",
        "plugin": "data/adapters/test_plugin.py",
    }
    assert others == set(tests) and all(
        name in (Path(__file__).parent / test).read_text(encoding="utf-8") for name, test in tests.items()
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_and_nothing_of_a_machine(path: Path) -> None:
    book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert book["nbformat"] == 4 and len(code) < 15
    assert all(cell["outputs"] == [] and cell["execution_count"] is None and cell["metadata"] == {} for cell in code)
    names = [cell["id"] for cell in book["cells"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[\w-]{1,64}", name) for name in names)
    assert not re.search(r"""["'](/|~|[A-Z]:)""", "\n".join(cells_of(path, "code"))), "a path that is not relative"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", "\n".join(cells_of(path, "markdown")))
    assert targets and [target for target in targets if not (EXAMPLES / target).exists()] == []


def test_quickstart_gives_the_ejection_fraction(run: Runner) -> None:
    out, printed = run("quickstart")
    source, drawn, measured = (number_after(printed, f"\n{name}") for name in ("source", "drawn", "measured"))
    assert abs(drawn - 35) < 2 and source > 50
    assert abs(measured - 35) < 12  # on real clips it falls short of what was drawn, as the notebook says
    record = json.loads((out / "ef35" / "run.json").read_text())
    assert record["output"]["frames"] == 16 and record["ef_percent"]["drawn"] == pytest.approx(drawn, abs=0.1)
    assert {"synth.mp4", "synth.gif", "synth.dcm", "keypoints.csv", "report.html"} <= {
        path.name for path in (out / "ef35").iterdir()
    }
    assert "the same bytes: True" in printed


def test_the_quickstart_program(tmp_path: Path) -> None:
    """As the notebook, of any clip: here of a simulated heart's beat."""
    heart = A4CPhantom([1010100]).clip(12.0)[0]
    np.savez(
        tmp_path / "clip.npz",
        frames=np.rint(heart.frames[:, 0].numpy() * 255).astype(np.uint8),
        fps=heart.fps,
        spacing_mm=np.array(heart.spacing_mm),
    )
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "quickstart.py"), "clip.npz", "made"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(heart)} frames of 112 x 112" in done.stdout and abs(number_after(done.stdout, "drawn:") - 35) < 2
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"keypoints", "ef35"}
    assert (tmp_path / "made" / "ef35" / "synth.dcm").is_file() and (
        tmp_path / "made" / "keypoints" / "keypoints.csv"
    ).is_file()


def test_cohort_is_what_was_asked_and_sound(run: Runner) -> None:
    out, printed = run("cohort")
    assert "sound: True" in printed and "refused: []" in printed and "3 clips" in printed
    manifest = pd.read_csv(out / "made" / "manifest.csv")
    assert list(manifest["clip"]) == [1, 1, 2] and manifest["asked"][0] == 45  # the plan as it was changed
    kept = manifest[manifest["accepted"] == 1]
    assert len(kept) >= 2 and (kept["measured"] - kept["drawn"]).abs().max() <= 5
    assert len(list((out / "made" / "Videos").glob("*.avi"))) == len(kept)
    plot = np.asarray(Image.open(out / "asked-measured.png").convert("RGB")).reshape(-1, 3)
    for clip, colour in ((1, (31, 119, 180)), (2, (255, 127, 14))):  # a dot in the plot and one in the legend, at least
        assert (plot == colour).all(1).sum() > 60, f"no dot of clip {clip}"


def test_face_follows_the_drag(run: Runner) -> None:
    out, printed = run("face")
    assert (out / "run" / "bundle" / "model_index.json").is_file()
    dx, dy = re.search(r"flow at the chin: \((\S+), (\S+)\) px", printed).groups()
    assert abs(float(dx)) < 1 and abs(float(dy) + 5) < 1
    frames = [np.asarray(Image.open(out / "gamma.png"), float)[:160, 112 + 164 * k : 272 + 164 * k] for k in range(4)]
    moved = [np.abs(frame - frames[0]).mean() for frame in frames[1:]]
    assert 0 < moved[0] < moved[1] < moved[2]  # the farther, the more is changed
    record = json.loads((out / "generated" / "run.json").read_text())
    assert record["output"]["frames"] == 3 and set(record["options"]["drag"]) == {"7", "8", "9"}


def test_own_data_is_checked_and_read(run: Runner) -> None:
    out, printed = run("own_data")
    assert printed.count("problems: 0") == 2 and number_after(printed, "frames read:") == 36
    assert "1 unreadable: sequence 4 of 4" in printed and "1 missing: name " in printed and "rest2" not in printed
    truth = np.load(out / "lab" / "rest1-outline.npy")
    assert f"key-points {truth.shape}" in printed
    tracings = pd.read_csv(out / "my-clips" / "VolumeTracings.csv")
    assert len(tracings) == 3 * 2 * 21
    sheet = np.asarray(Image.open(out / "my-clips.png").convert("RGB"), int)
    coloured = (sheet.max(2) - sheet.min(2) > 60).sum()  # the clips are gray, key-points are not
    assert coloured > 500
