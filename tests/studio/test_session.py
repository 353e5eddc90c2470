"""What a session makes of its steps, and that an export is what `synth` writes."""

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from drawn import DrawnPipeline
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.io.tracings import read_tracings
from echokdm.ops.ventricle import outline_of_tracing
from echokdm.studio.edits import MOST_STEPS, Change, Edit, History
from echokdm.studio.heart import OUTLINES, Heart
from echokdm.studio.session import FAILED, Session, Threads


def change(**what: object) -> Change:
    return Change.model_validate(what)


def move(picture: str, frame: int, point: int, to: np.ndarray) -> Change:
    return change(frame=frame, move={"picture": picture, "frame": frame, "point": point, "to": tuple(to.tolist())})


def whole(session: Session) -> Session:
    """The session when its result is made."""
    end = time.monotonic() + 60
    while session.making.result is None and not session.making.error and time.monotonic() < end:
        time.sleep(0.02)
    assert not session.making.error
    return session


def drawn(session: Session) -> np.ndarray:
    return np.asarray(session.asked.source.heart.model.to_source(session.asked.trajectory.keypoints))


def test_a_dragged_point_is_where_it_was_put_in_every_frame(session: Session) -> None:
    before = drawn(session)
    session.change(move("result", 12, 10, before[12, 10] + np.array([-10.0, 3.0])))
    moved = drawn(session) - before
    assert np.allclose(moved[:, 10], [-10, 3], atol=0.02)  # the other frames by the same, on top of their own motion
    assert np.all(np.diff(np.abs(moved[12, 10:16, 0])) < 0) and abs(moved[12, 30, 0]) < 0.5  # neighbours less and less
    session.change(move("result", 0, 11, drawn(session)[0, 11] + np.array([0.0, 2.0])))
    assert np.allclose((drawn(session) - before)[5, 10], [-10, 3], atol=0.02)  # the first drag holds


def test_a_corrected_outline_moves_no_pixel_and_the_others_follow(session: Session) -> None:
    heart = session.asked.source.heart
    own = heart.keypoints_source.copy()
    out = own[0, 10] + np.array([-6.0, 0.0])
    session.change(move("source", 0, 10, out))
    now = session.asked.source.heart
    assert now.given and now.found.all() and now.clip is heart.clip
    widths = (
        np.hypot(*(now.keypoints_source[:, 10] - now.keypoints_source[:, 29]).T),
        np.hypot(*(own[:, 10] - own[:, 29]).T),
    )
    assert widths[0][0] - widths[1][0] == pytest.approx(6, abs=0.7)
    assert widths[0][12] / widths[1][12] == pytest.approx(widths[0][0] / widths[1][0], rel=0.03)
    frames = np.stack([np.asarray(frame) for frame in whole(session).making.result.clip.frames])  # type: ignore[union-attr]
    assert np.allclose(frames, np.stack([session.source_frame(t) for t in range(len(frames))]), atol=1e-4)
    rows = next(iter(read_tracings_of(session).values()))
    assert np.allclose(outline_of_tracing(rows[0])[10], out, atol=1e-3)  # as it was put, in the file


def read_tracings_of(session: Session) -> dict[str, dict[int, np.ndarray]]:
    file = session.folder / "saved.csv"
    file.write_bytes(session.outlines())
    return read_tracings(file)


def test_walls_are_moved_one_by_one(session: Session, opened: Heart) -> None:
    asked = []
    for walls in ({"apical-septal": 0}, {"mid-septal": 0.5}, {"apical-septal": 1}, None):
        session.change(change(wishes={"walls": walls}))
        asked.append(session.asked.edit.walls)
    both = {"apical-septal": 0, "mid-septal": 0.5}
    assert asked == [{"apical-septal": 0}, both, {"mid-septal": 0.5}, {}]


def test_history_goes_back_and_forth_and_lies_in_the_file(session: Session, opened: Heart) -> None:
    for ef in (50, 30):
        session.change(change(wishes={"ef": ef}))
    session.change(change(wishes={"walls": {"apical-septal": 0, "mid-septal": 1}}))
    assert session.asked.edit.walls == {"apical-septal": 0} and session.asked.edit.ef == 30
    session.undo(2, 0)
    assert session.asked.edit.ef == 50 and (session.history.at, len(session.history.steps)) == (1, 4)
    session.undo(-1, 0)
    assert session.asked.edit == Edit(ef=30)
    again = Session(opened, session.folder, threads := Threads())
    assert again.asked.edit == Edit(ef=30) and again.making.key == session.making.key
    threads.close()
    session.change(change(clear="all"))
    session.undo(1, 0)
    assert session.asked.edit == Edit(ef=30)
    session.undo(99, 0)
    assert session.asked.edit == Edit()


def test_the_history_has_an_end() -> None:
    history = History()
    for ef in range(5, 5 + MOST_STEPS + 20):
        history = history.then(Edit(ef=ef))
    assert len(history.steps) == MOST_STEPS and history.edit.ef == 4 + MOST_STEPS + 20
    assert history.then(history.edit) is history


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"wishes": {"ef": 90}}, "An ejection fraction of 90 %"),
        ({"wishes": {"walls": {"apical": 0}}}, "apical"),
        ({"wishes": {"gls": 4}}, "--gls 4 is outside"),
        ({"wishes": {"m_mode": (0, 0, 500, 20)}}, "leaves the picture"),
        ({"move": {"picture": "result", "frame": 500, "point": 1, "to": (3, 4)}}, "There is no frame 500"),
        ({"move": {"picture": "source", "frame": 0, "point": 1, "to": (1, 1)}}, "outside the ultrasound sector"),
        ({"move": {"picture": "result", "frame": 0, "point": 10, "to": (180, 70)}}, "cross itself"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(session: Session, asked: dict[str, object], told: str) -> None:
    with pytest.raises((GeometryError, ConfigError), match=told):
        session.change(change(**asked))
    assert session.asked.edit == Edit() and session.history == History()


def test_what_comes_as_json_is_its_own_kind_alone() -> None:
    for data in (
        b"",
        b"[]",
        b'{"ef": 30}',
        b'{"move": {"picture": "result", "frame": -1, "point": 0, "to": [0, 0]}}',
        b'{"wishes": {"ef": NaN}}',
        b'{"clear": "edit"}',
        b'{"move": {"picture": "x", "frame": 0, "point": 40, "to": [0, 0]}}',
    ):
        with pytest.raises(ConfigError, match="^What was sent is nothing that this page asks for: reload it.$"):
            Change.parse(data)


def test_a_number_is_asked_as_the_command_tells_it() -> None:
    asked = Change.parse(b'{"wishes": {"ef": 33.33333333333, "m_mode": [1234.5678, 1, 2, 3]}}').wishes
    assert asked is not None and asked.ef == 33.3333 and asked.m_mode == (1234.57, 1, 2, 3)


def test_the_newest_step_is_what_is_made(session: Session) -> None:
    for ef in (50, 45, 40, 35):
        session.change(change(frame=3, wishes={"ef": ef}))
    result = whole(session).making.result
    assert result is not None and result.wish.ef == 35 and session.making.first == 3
    # what was shown first is the frame of the whole
    assert np.array_equal(session.result_frame(3)[0], session.making.pixels)


def test_a_fault_in_a_thread_is_one_sentence(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(session)
    monkeypatch.setattr(DrawnPipeline, "__call__", lambda *_, **__: 1 / 0)
    session.change(change(wishes={"ef": 30}))
    end = time.monotonic() + 30
    while not session.making.error and time.monotonic() < end:
        time.sleep(0.02)
    assert session.making.error == FAILED
    with pytest.raises(ConfigError, match=FAILED):
        session.export()


def test_an_export_is_what_synth_writes_by_the_command(
    session: Session, clip_file: Path, tmp_path: Path, as_every_bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes in every file but report.html, which holds timings."""
    session.change(move("source", 0, 10, session.asked.source.heart.keypoints_source[0, 10] + np.array([-4.0, 1.0])))
    session.change(move("result", 12, 32, drawn(session)[12, 32] + np.array([5.25, 0.0])))
    session.change(
        change(wishes={"ef": 30, "edv": 90, "walls": {"mid-lateral": 0.5}, "m_mode": (60.0, 60.0, 140.0, 80.5)})
    )
    with zipfile.ZipFile(whole(session).export()) as archive:
        archive.extractall(tmp_path)
    out = tmp_path / "synth"
    assert not list(session.folder.glob("tmp*"))
    monkeypatch.chdir(out)
    as_every_bundle(DrawnPipeline())
    command = session.heart.command(session.asked.edit, OUTLINES)
    assert command == (
        f"echokdm synth CLIP --ef 30 --edv 90% --wall mid-lateral=0.5 --keypoints {OUTLINES} --drag 32:5.25,0 "
        "--m-mode 60,60,140,80.5 --steps 2 --seed 0 --bundle drawn --device cpu"
    )
    words = [str(clip_file) if word == "CLIP" else word for word in command.split()[1:]]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "again")])
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert sorted([*names, OUTLINES]) == sorted(path.name for path in out.iterdir())
    for name in set(names) - {"report.html"}:
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name
