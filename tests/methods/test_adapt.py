"""`echokdm adapt`: kept only where held-out patients gain, learned from nobody who judges, and the card tells no name
or place."""

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import echokdm
from echokdm.cli.app import app
from echokdm.core.errors import DataError, NoGainError, OutputError
from echokdm.core.labels import Label
from echokdm.data.outlined import OutlinedFrames, OutlinedSource, find_source
from echokdm.methods.bundle import find_bundle, set_confidence
from echokdm.methods.kdm import adapt
from echokdm.methods.kdm.adapt import Adapted, Lesson, Part, Scores, check_gain, split_rows
from echokdm.methods.train import load_component, save_component
from echokdm.networks.segmenter import Segmenter
from echokdm.ops.confidence import BIAS, SIGNS

DATA = "phantom-heart:5"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that take seconds."""
    for name, count in {"PHANTOMS": 2, "PHANTOMS_HELD_OUT": 2, "PROCEDURAL": 4, "BATCH": 4}.items():
        monkeypatch.setattr(adapt, name, count)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms are drawn once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def reluctant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle by links, with a segmenter that sees less of the ventricle than there is."""
    folder, shipped = tmp_path_factory.mktemp("bundles") / "reluctant", find_bundle("a4c-phantom")
    folder.mkdir()
    for part in shipped.iterdir():
        if part.name not in ("segmenter", "model_index.json"):
            (folder / part.name).symlink_to(part)
    shutil.copy(shipped / "model_index.json", folder)
    set_confidence(folder, {**dict.fromkeys(SIGNS, 1.0), BIAS: 0.0})
    network = load_component(shipped, "segmenter", Segmenter)
    with torch.no_grad():
        network.unet.final_conv.bias[Label.LV] -= 4
    save_component(network, folder / "segmenter")
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_a_bundle_that_is_better_is_written_with_its_card(
    tmp_path: Path, reluctant: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    row = OutlinedFrames.row

    def noted(self: OutlinedFrames, number: int) -> dict[str, torch.Tensor]:
        seen[self.seed == 0].add(int(self.store["subject"][number]))  # what is judged by is not drawn, and has no seed
        return row(self, number)

    monkeypatch.setattr(OutlinedFrames, "row", noted)
    out = tmp_path / "ours"
    result = echokdm.adapt_bundle(
        DATA, out, bundle=reluctant, also="phantom-heart:3", lesson=Lesson(6, 0.02), cache=cache
    )
    assert result.learned == Part(3, 3) and result.held_out == Part(2, 2) and result.unused == 0
    assert (
        result.after.patients > result.before.patients
        and result.after.phantoms > result.before.phantoms - adapt.PHANTOM_LOSS
    )
    assert len(seen[True]) == 2 and seen[False] and not seen[True] & seen[False], (
        "held-out patients were learned from, maybe by --also"
    )
    assert result.also is not None and result.also.patients == 3 - len(
        seen[True] & {zlib.crc32(f"{n}".encode()) for n in range(3)}
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    pipeline = echokdm.KDMPipeline.from_pretrained(out)
    assert echokdm.KDMPipeline.from_pretrained(reluctant).calibration is not None and pipeline.calibration is None
    before = load_component(reluctant, "segmenter", Segmenter).state_dict()
    assert any(not torch.equal(before[name], value) for name, value in pipeline.segmenter.state_dict().items())
    assert files(out / "f2i") == files(reluctant / "f2i") and not (out / "f2i").is_symlink()
    card = (out / "README.md").read_text()
    assert "3 clips of 3 patients" in card and "2 clips of 2 patients" in card
    assert f"| {result.before.ed:.3f} | {result.after.ed:.3f} |" in card and "# a4c-phantom, adapted" in card
    assert card.startswith("---\nlibrary_name: diffusers") and "Before it was adapted" in card and "CAMUS" not in card
    for told in (str(tmp_path), str(reluctant.parent), str(cache), "phantom-heart", "reluctant"):
        assert all(told.encode() not in path.read_bytes() for path in out.rglob("*") if path.is_file()), told


def test_nothing_is_written_where_nothing_is_gained(tmp_path: Path, reluctant: Path, cache: Path) -> None:
    with pytest.raises(NoGainError, match="Nothing was written: on the 2 held-out patients"):
        echokdm.adapt_bundle(DATA, tmp_path / "new" / "ours", bundle=reluctant, lesson=Lesson(1, 0.0), cache=cache)
    assert not list(tmp_path.iterdir())


def test_harm_is_one_sentence_on_the_command_line(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that were good already, shaken by two steps of a hundred times the rate."""
    monkeypatch.setattr(adapt, "Lesson", lambda steps: Lesson(steps, 10.0))
    result = CliRunner().invoke(
        app, ["adapt", DATA, "--out", str(tmp_path / "ours"), "--train-steps", "2", "--cache", str(cache)]
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert result.exit_code == 2 and len(lines) == 1 and "Nothing was written" in lines[0], result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (Scores(0.9, 0.8, 0.90), ""),
        (Scores(0.9, 0.8, 0.8901), ""),
        (Scores(0.9, 0.8, 0.88), "phantoms"),
        (Scores(0.8, 0.8, 0.9), "patients"),
        (Scores(float("nan"), 0.9, 0.9), "patients"),
        (Scores(0.9, 0.9, float("nan")), "phantoms"),
    ],
)
def test_what_counts_as_better(after: Scores, told: str) -> None:
    result = Adapted(Part(8, 9), Part(2, 2), None, 0, Scores(0.8, 0.8, 0.9), after, 1.0)
    if not told:
        return check_gain(result)
    with pytest.raises(NoGainError, match=told):
        check_gain(result)
    return None


@pytest.mark.parametrize(("patients", "judging"), [(2, 1), (4, 1), (5, 2), (10, 2), (20, 4), (50, 10)])
def test_how_many_judge(patients: int, judging: int) -> None:
    subjects = np.repeat(np.arange(patients) + 7, 3)
    store = {"subject": subjects, "usable": np.arange(3 * patients) != 1}
    learn, judge = split_rows(store, 0)  # type: ignore[arg-type]
    assert len(set(subjects[judge])) == judging and not set(subjects[judge]) & set(subjects[learn])
    assert sorted([*learn, *judge]) == np.flatnonzero(store["usable"]).tolist()
    fewer = {name: values[:-3] for name, values in store.items()}
    if patients > 5:  # of one patient less, nearly the same judge
        assert len(set(subjects[judge]) - set(subjects[split_rows(fewer, 0)[1]])) <= 1  # type: ignore[arg-type]


def test_one_patient_is_too_few() -> None:
    with pytest.raises(DataError, match="at least two patients"):
        split_rows({"subject": np.array([4, 4]), "usable": np.array([True, True])}, 0)  # type: ignore[arg-type]


def test_a_folder_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        echokdm.adapt_bundle("clips:nowhere", tmp_path / "ours")
    result = CliRunner().invoke(app, ["adapt", "clips:nowhere", "--out", str(tmp_path / "ours")])
    assert result.exit_code == 2 and "exists already" in result.stderr and not files(tmp_path / "ours")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("nowhere", "does not exist"),
        ("empty", "missing: any sequence"),
        ("camus:empty", "missing: any sequence"),
        ("notes", "unreadable"),
        ("camsu:empty", "did you mean 'camus'"),
        ("bare", "Not one outlined frame"),
    ],
)
def test_a_wrong_folder_is_one_sentence(data: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from echokdm.io.write import write_gif

    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "notes", "bare"):
        (tmp_path / folder).mkdir()
    (tmp_path / "notes" / "notes.xlsx").write_bytes(b"\x80\x04\x95" + bytes(20))
    write_gif(tmp_path / "bare" / "one.gif", np.random.default_rng(0).random((3, 1, 64, 64), np.float32), 25.0)
    result = CliRunner().invoke(app, ["adapt", data, "--out", "ours"])
    lines = [line for line in result.stderr.splitlines() if line]
    assert result.exit_code == 2 and len(lines) == 1 and lines[0].startswith("Error: "), result.output
    assert told in lines[0] and sorted(path.name for path in tmp_path.iterdir()) == ["bare", "empty", "notes"]


@pytest.mark.parametrize(
    ("inside", "adapter"),
    [
        ("FileList.csv", "echonet-dynamic"),
        ("A4C/FileList.csv", "echonet-pediatric"),
        ("database_nifti/x", "camus"),
        ("patient7/patient7_4CH_half_sequence.nii.gz", "camus"),
        ("patient7/clip.dcm", "clips"),
    ],
)
def test_a_folder_is_told_by_its_content(inside: str, adapter: str, tmp_path: Path) -> None:
    (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).touch()
    assert find_source(tmp_path) == OutlinedSource(adapter, str(tmp_path))
    assert find_source(f"clips:{tmp_path}") == OutlinedSource("clips", str(tmp_path))
