"""The validator of EchoNet-Dynamic folders: a sound one passes, each planted fault is told, all faults are told at
once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from echokdm.cli.app import OneSentence
from echokdm.cli.cohort import validate
from echokdm.cohort import validate as rules
from echokdm.core.errors import DataError
from echokdm.io.write import write_avi
from echokdm.ops.ventricle import simpson_volume

FRAMES = 6
Edit = Callable[[pd.DataFrame, pd.DataFrame], "tuple[pd.DataFrame, pd.DataFrame] | None"]


def tracing(shrink: float, lean: float = 0.2) -> np.ndarray:
    """Axis and 20 chords (21, 4) of an ellipse that leans by `lean` radians."""
    depth = 30 * shrink * ((np.arange(20) + 0.5) / 10 - 1)
    half = 15 * shrink * np.sqrt(1 - (depth / (30 * shrink)) ** 2)
    rows = np.concatenate([[[0, -30 * shrink, 0, 30 * shrink]], np.stack([-half, depth, half, depth], 1)]).reshape(
        -1, 2, 2
    )
    turn = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    return (rows @ turn + [56, 58]).reshape(-1, 4)


def volume(rows: np.ndarray) -> float:
    """px^3."""
    return float(simpson_volume(np.concatenate([rows[1:, :2], rows[:0:-1, 2:]])))


def sound(root: Path, edit: Edit | None = None) -> Path:
    """A folder of three clips; `edit` changes its file list and its tracings before they are written."""
    frames = np.random.default_rng(0).random((FRAMES, 1, 112, 112)).astype(np.float32)
    files, lines = [], []
    for name, shrink, split in (("0XA", 0.8, "TRAIN"), ("0XB", 0.85, "VAL"), ("0XC", 0.9, "TEST")):
        write_avi(root / "Videos" / f"{name}.avi", frames, 30.0)
        ed, es = tracing(1.0), tracing(shrink)
        edv, esv = volume(ed), volume(es)
        files.append([name, 100 * (1 - esv / edv), esv, edv, 112, 112, 30, FRAMES, split])
        lines += [[f"{name}.avi", *row, frame] for frame, rows in ((4, es), (1, ed)) for row in rows]
    tables = (
        pd.DataFrame(files, columns=rules.COLUMNS),
        pd.DataFrame(lines, columns=["FileName", "X1", "Y1", "X2", "Y2", "Frame"]),
    )
    tables = (edit(*tables) if edit else None) or tables
    for name, table in zip(("FileList.csv", "VolumeTracings.csv"), tables, strict=True):
        table.to_csv(root / name, index=False)
    return root


def found(root: Path) -> dict[str, list[str]]:
    """Kind of problem -> the places concerned."""
    return rules.validate_folder(root).problems.found


def test_a_sound_folder(tmp_path: Path) -> None:
    report = rules.validate_folder(sound(tmp_path))
    assert report.sound and not report.problems.found
    assert (report.clips, report.frames, report.unit) == (3, 3 * FRAMES, "px^3")
    assert report.splits == {"TRAIN": 1, "VAL": 1, "TEST": 1}


def test_names_may_carry_avi_in_either_table(tmp_path: Path) -> None:
    def edit(files, lines):
        files.loc[0, "FileName"] = "0XA.avi"
        lines["FileName"] = lines["FileName"].str.removesuffix(".avi")

    assert not found(sound(tmp_path, edit))


def test_volumes_in_millilitres_by_an_unknown_spacing_are_compared_with_each_other_alone(tmp_path: Path) -> None:
    def edit(files, lines):
        files[["ESV", "EDV"]] /= 350.0
        files.loc[2, "EF"] += 1

    report = rules.validate_folder(sound(tmp_path, edit))
    assert report.unit == "unknown" and list(report.problems.found) == [rules.WRONG_EF]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.8, 0.6)])
def test_millilitres_are_checked_where_the_spacing_is_given(spacing: tuple[float, float], tmp_path: Path) -> None:
    def edit(files, lines):
        ml = [
            float(simpson_volume(np.concatenate([r[1:, :2], r[:0:-1, 2:]]), spacing))
            for r in map(tracing, (0.8, 0.85, 0.9, 1.0))
        ]
        files["ESV"], files["EDV"] = ml[:3], ml[3]
        files["EF"] = 100 * (1 - files["ESV"] / files["EDV"])
        files["VolumeUnit"], files["RowSpacing"], files["ColumnSpacing"] = "mL", *spacing
        files.loc[1, "ColumnSpacing"] = 2.0

    report = rules.validate_folder(sound(tmp_path, edit))
    assert report.unit == "mL" and [place.split()[0] for place in report.problems.found[rules.OTHER_VOLUME]] == ["0XB"]


def rows_of(lines: pd.DataFrame, name: str = "0XB.avi", frame: int = 1) -> np.ndarray:
    """Index of one tracing's lines: the axis, then the chords."""
    return lines.index[(lines["FileName"] == name) & (lines["Frame"] == frame)].to_numpy()


POINTS = ["X1", "Y1", "X2", "Y2"]


def no_edv(files, lines):
    return files.drop(columns="EDV"), lines


def bad_number(files, lines):
    files["FPS"] = files["FPS"].astype(object)
    files.loc[1, "FPS"] = "fast"


def climbing(files, lines):
    files.loc[1, "FileName"] = "../0XB"
    return files, lines.drop(lines.index[lines["FileName"] == "0XB.avi"])


def twice(files, lines):
    return pd.concat([files, files.iloc[[1]]]), lines


def gone(files, lines):
    files.loc[1, "FileName"] = "0XQ"
    lines["FileName"] = lines["FileName"].replace("0XB.avi", "0XQ.avi")


def bad_split(files, lines):
    files.loc[1, "Split"] = "DEV"


def bad_edited(files, lines):
    files["Edited"] = ["1", "yes", "0"]


def one_patient(files, lines):
    files["Subject"] = ["p", "p", "q"]


def fewer_frames(files, lines):
    files.loc[1, "NumberOfFrames"] = 5


def other_fps(files, lines):
    files.loc[1, "FPS"] = 50


def other_size(files, lines):
    files.loc[1, "FrameWidth"] = 128


def other_header(files, lines):
    return files, lines[["FileName", "Frame", *POINTS]]


def one_frame(files, lines):
    return files, lines.drop(rows_of(lines))


def three_frames(files, lines):
    extra = lines.loc[rows_of(lines)].assign(Frame=2)
    return files, pd.concat([lines, extra])


def late_frame(files, lines):
    lines.loc[rows_of(lines), "Frame"] = FRAMES  # numbered from 1, the last one


def half_frame(files, lines):
    lines["Frame"] = lines["Frame"].astype(float)
    lines.loc[rows_of(lines)[20], "Frame"] = 1.5


def nineteen(files, lines):
    return files, lines.drop(rows_of(lines)[20])


def axis_last(files, lines):
    rows = rows_of(lines)
    lines.loc[rows, POINTS] = np.roll(lines.loc[rows, POINTS].to_numpy(), -1, 0)


def slanted(files, lines):
    rows = rows_of(lines)[1:]
    half = (lines.loc[rows, "X2"] - lines.loc[rows, "X1"]) / 2
    lines.loc[rows, "Y1"] += 0.5 * half
    lines.loc[rows, "Y2"] -= 0.5 * half


def from_the_base(files, lines):
    rows = rows_of(lines)[1:]
    lines.loc[rows, POINTS] = lines.loc[rows, POINTS].to_numpy()[::-1]


def turned_axis(files, lines):
    rows = rows_of(lines)[:1]
    lines.loc[rows, POINTS] = lines.loc[rows, ["X2", "Y2", "X1", "Y1"]].to_numpy()


def swapped_ends(files, lines):
    rows = rows_of(lines)[8:9]
    lines.loc[rows, POINTS] = lines.loc[rows, ["X2", "Y2", "X1", "Y1"]].to_numpy()


def outside(files, lines):
    lines.loc[lines["FileName"] == "0XB.avi", ["X1", "X2"]] += 50


def wrong_ef(files, lines):
    files.loc[1, "EF"] += 0.3


def wrong_volumes(files, lines):
    files.loc[1, ["EDV", "ESV"]] *= 1.01


def exchanged(files, lines):
    files.loc[1, ["EDV", "ESV"]] = files.loc[1, ["ESV", "EDV"]].tolist()


def other_hearts_tracing(files, lines):
    rows = lines["FileName"] == "0XB.avi"
    lines.loc[rows, POINTS] = lines.loc[lines["FileName"] == "0XC.avi", POINTS].to_numpy()


def unlisted_tracing(files, lines):
    return files, pd.concat([lines, lines.loc[rows_of(lines)].assign(FileName="0XZ.avi")])


@pytest.mark.parametrize(
    ("edit", "kinds"),
    [
        (no_edv, {"wrong columns"}),
        (bad_number, {"not a number"}),
        (twice, {"listed twice"}),
        (bad_split, {rules.BAD_SPLIT}),
        (bad_edited, {rules.BAD_EDITED}),
        (climbing, {"refused, since the name leads out of the folder", rules.UNLISTED}),
        (gone, {"missing", rules.UNLISTED}),
        (one_patient, {rules.TWO_SPLITS}),
        (fewer_frames, {rules.OTHER_COUNT}),
        (other_fps, {rules.OTHER_FPS}),
        (other_size, {rules.OTHER_SIZE}),
        (other_header, {"wrong columns"}),
        (one_frame, {rules.NOT_TWO}),
        (three_frames, {rules.NOT_TWO}),
        (late_frame, {rules.NO_FRAME}),
        (half_frame, {"not a frame number", rules.COUNT}),
        (nineteen, {rules.COUNT}),
        (axis_last, {rules.NOT_AXIS, rules.OTHER_VOLUME, rules.OTHER_EF}),
        (slanted, {rules.SLANTED, rules.OTHER_VOLUME, rules.OTHER_EF}),
        (from_the_base, {rules.ORDER}),
        (turned_axis, {rules.ORDER}),
        (swapped_ends, {rules.CROSSING}),
        (outside, {rules.OUTSIDE}),
        (wrong_ef, {rules.WRONG_EF, rules.OTHER_EF}),
        (wrong_volumes, {rules.OTHER_VOLUME}),
        (exchanged, {rules.SWAPPED, rules.WRONG_EF, rules.OTHER_VOLUME}),
        (other_hearts_tracing, {rules.OTHER_VOLUME, rules.OTHER_EF}),
        (unlisted_tracing, {rules.ORPHAN}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_told(edit: Edit, kinds: set[str], tmp_path: Path) -> None:
    problems = found(sound(tmp_path, edit))
    assert set(problems) == kinds
    assert all(len(places) == 1 for kind, places in problems.items()), problems


def test_videos_that_are_missing_damaged_or_not_listed(tmp_path: Path) -> None:
    videos = sound(tmp_path) / "Videos"
    (videos / "0XZ.avi").write_bytes((videos / "0XA.avi").read_bytes())
    (videos / "0XA.avi").unlink()
    (videos / "0XB.avi").write_bytes((videos / "0XB.avi").read_bytes()[:3000])
    problems = found(tmp_path)
    assert problems.pop("unreadable")[0].startswith("0XB (")
    assert problems == {"missing": ["0XA.avi"], rules.UNLISTED: ["0XZ"]}


def test_tables_that_are_none_and_folders_that_are_none(tmp_path: Path) -> None:
    (sound(tmp_path / "a") / "VolumeTracings.csv").unlink()
    assert found(tmp_path / "a") == {"missing": ["VolumeTracings.csv"]}
    (sound(tmp_path / "b") / "FileList.csv").write_bytes(b"\x80\x04\x95\x10\x00rest")
    assert list(found(tmp_path / "b")) == ["unreadable"]
    with pytest.raises(DataError, match="does not exist"):
        rules.validate_folder(tmp_path / "none")


def test_the_command_tells_all_problems_at_once(tmp_path: Path) -> None:
    app = typer.Typer(cls=OneSentence)
    app.command("validate")(validate)
    app.command("other")(lambda: None)  # with one command alone there is no group
    good = CliRunner().invoke(app, ["validate", str(sound(tmp_path / "good"))])
    assert good.exit_code == 0 and "3 clips (1 TRAIN, 1 VAL, 1 TEST), 18 frames, volumes in px^3" in good.stdout

    def edit(files, lines):
        bad_split(files, lines)
        late_frame(files, lines)
        other_fps(files, lines)

    bad = CliRunner().invoke(app, ["validate", str(sound(tmp_path / "bad", edit))])
    assert bad.exit_code == 2 and "3 problems:" in bad.stderr
    for words in (
        "Split other than TRAIN, VAL, TEST: FileList.csv line 3",
        "that the clip lacks: FileList.csv line 3",
        "line 3 (50, not 30)",
    ):
        assert words in bad.stderr, bad.stderr
    assert str(tmp_path) not in bad.output and "0XB" not in bad.output
