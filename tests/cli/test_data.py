"""`echokdm adapters` and `echokdm data`: every problem in one go, exit codes, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from echokdm.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three pictures of 40 x 30 with 68 landmarks each."""
    root = tmp_path / "faces"
    for split, name in (("train", "a"), ("train", "b"), ("test", "c")):
        (root / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (90, 40, 20)).save(root / split / f"{name}.png")
        points = "".join(f"{5 + i % 20} {5 + i // 5}\n" for i in range(68))
        (root / split / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}}}\n")
    return root


def test_adapters_are_listed_without_torch() -> None:
    code = "import sys; from echokdm.cli.app import app\ntry: app(['adapters'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in ("echonet-dynamic    a4c-bloodpool-40", "voxceleb           none", "faces-pts          ibug-68"):
        assert line in done.stdout, done.stdout


def test_a_sound_folder(faces: Path) -> None:
    result = RUNNER.invoke(app, ["data", "check", "faces-pts", str(faces)])
    assert result.exit_code == 0, result.output
    assert (
        "3 sequences, 3 frames" in result.stdout
        and "40 x 30 (3)" in result.stdout
        and "No problem found." in result.stdout
    )
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:3]] == [["test", "1"], ["train", "2"]]


def test_every_problem_in_one_go(faces: Path) -> None:
    (faces / "train" / "a.pts").write_text("n_points: 3\n{\n1 2\n}")
    (faces / "test" / "c.png").write_bytes((faces / "test" / "c.png").read_bytes()[:60])
    (faces / "test" / "gone.pts").write_text("")
    result = RUNNER.invoke(app, ["data", "check", "faces-pts", str(faces)])
    assert result.exit_code == 2 and "3 problems:" in result.stderr
    for words in (
        "1 without a picture: name ",
        "1 unreadable: sequence 1 of 3 (This clip is truncated",
        "1 with bad key-points: sequence 2 of 3 (",
        "--show-names",
    ):
        assert words in result.stderr, result.stderr
    shown = RUNNER.invoke(app, ["data", "check", "faces-pts", str(faces), "--show-names"])
    for words in (
        "1 without a picture: test/gone.pts",
        "1 unreadable: test/c (This clip is truncated",
        "1 with bad key-points: train/a (",
    ):
        assert words in shown.stderr and words not in result.stderr, shown.stderr
    assert "--show-names" not in shown.stderr
    assert (
        str(faces) not in result.output
        and "train          2 sequences       2 subjects         1 frames" in result.stdout
    )


def test_mixed_sizes_are_a_problem_where_one_is_needed(tmp_path: Path) -> None:
    for split, side in (("train", 16), ("train", 16), ("test", 24)):
        (tmp_path / split).mkdir(exist_ok=True)
        Image.new("RGB", (side, side)).save(
            tmp_path / split / f"{len(list((tmp_path / split).iterdir()))}#{split}{side}.png"
        )
    (tmp_path / "test" / "0#test24.png").rename(tmp_path / "test" / "9#test24.png")
    for name, code in (("voxceleb", 2), ("mgif", 0)):
        result = RUNNER.invoke(app, ["data", "check", name, str(tmp_path)])
        assert result.exit_code == code, result.output
        assert ("1 of another image size than most: sequence 3 of 3" in result.stderr) is (code == 2), result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "faces-ptz", "."], "did you mean 'faces-pts'"),
        (["check", "faces-pts", "none"], "does not exist"),
        (["check", "faces-pts", "x.pkl"], "pickle"),
        (["preview", "faces-pts", "none"], "does not exist"),
        (["preview", "faces-pts", ".", "--count", "0"], "--count"),
        (["preview", "faces-pts", "."], "missing: any sequence"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04\x95rest")
    result = RUNNER.invoke(app, ["data", *words])
    lines = result.stderr.splitlines()
    assert result.exit_code == 2 and len(lines) == 1 and told in lines[0], result.output
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


def test_preview_draws_key_points(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(app, ["data", "preview", "faces-pts", str(faces), "--count", "2"])
    assert result.exit_code == 0 and "2 of 3 sequences" in result.stdout, result.output
    sheet = np.asarray(Image.open(tmp_path / "faces-pts-preview.png").convert("RGB")).astype(int)
    tile = sheet[22:150, :192]
    # coloured limbs, white dots
    assert sheet.shape[1] == 2 * 196 and (np.ptp(tile, axis=2) > 150).any() and (tile.min(2) > 200).any()
    again = RUNNER.invoke(app, ["data", "preview", "faces-pts", str(faces)])
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    assert (
        RUNNER.invoke(
            app, ["data", "preview", "faces-pts", str(faces), "--overwrite", "--out", "faces-pts-preview.png"]
        ).exit_code
        == 0
    )


def test_preview_leaves_nothing_behind(faces: Path, tmp_path: Path) -> None:
    (faces / "train" / "a.pts").write_text("n_points: 3\n{\n1 2\n}")
    out = tmp_path / "new" / "sheet.png"
    result = RUNNER.invoke(app, ["data", "preview", "faces-pts", str(faces), "--out", str(out)])
    assert result.exit_code == 2 and "68 finite points" in result.stderr and not out.parent.exists()
