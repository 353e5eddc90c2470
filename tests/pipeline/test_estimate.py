"""A dry run tells how much there is to do and about how long it takes, by what is known before anything is done."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ConfigError
from echokdm.pipeline import stages as module
from echokdm.pipeline.estimate import duration, estimate
from echokdm.pipeline.run import plan_lines, run_pipeline


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Ten files in folders of folders."""
    for number in range(10):
        (tmp_path / "export" / f"study {number % 3}" / "series").mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / f"study {number % 3}" / "series" / f"{number}.dcm").write_bytes(b"x")
    return tmp_path / "export"


def counts(pipeline) -> dict[str, str]:
    """Each stage's amount without its time."""
    return {name: str(amount).partition(",")[0] for name, amount in estimate(pipeline).items() if amount.what}


def test_files_are_counted_and_shared_out(maker, export) -> None:
    amounts = counts(
        maker.read(
            ingest={"source": str(export)},
            keypoints={"split": "50/20/30"},
            augment={"per_clip": 6},
            evaluate={"data": "keypoints"},
            audit={},
        )
    )
    assert amounts | {"train": ""} == {
        "ingest": "10 files",
        "keypoints": "10 clips",
        "train": "",
        "augment": "30 clips",
        "evaluate": "5 clips",
        "audit": "40 clips",
    }


def test_a_data_set_s_own_splits_count(maker) -> None:
    """Two hearts to learn from, and two that are held out."""
    amounts = counts(maker.read(augment={"per_clip": 3}))
    assert amounts["ingest"] == "4 sequences" and amounts["augment"] == "6 clips"


def test_a_training_is_its_steps_at_its_size(maker) -> None:
    def train(text: str):
        (maker.folder / "train.yaml").write_text(f"method: kdm\nname: small\n{text}\n")
        return estimate(maker.read())["train"]

    usual, larger, shorter = train("size: 112"), train("size: 224"), train("size: 112\nf2i: {steps: 0}")
    assert usual.what == "steps" and usual.count > shorter.count > 0
    assert larger.count == usual.count and larger.seconds == pytest.approx(4 * usual.seconds)
    assert usual.seconds > shorter.seconds


def test_what_was_found_takes_the_place_of_the_guess(maker, export, monkeypatch) -> None:
    """Of ten files three were kept, of which two are to be augmented."""

    def ingests(work) -> dict:
        work.folder.mkdir(parents=True)
        return {"clips kept": 3}

    def finds(work) -> dict:
        work.folder.mkdir(parents=True)
        return {"clips": 3, "clips in TRAIN": 2, "clips in TEST": 1}

    def stops(work) -> dict:
        raise ConfigError("No training today.")

    monkeypatch.setattr(module, "CHECK", {})
    monkeypatch.setattr(module, "RUN", {"ingest": ingests, "keypoints": finds, "train": stops})
    pipeline = maker.read(ingest={"source": str(export)})
    with pytest.raises(ConfigError):
        run_pipeline(pipeline)
    amounts = counts(pipeline)
    assert amounts["keypoints"] == "3 clips" and amounts["augment"] == "4 clips"
    *lines, last = plan_lines(pipeline)
    assert [";" in line for line in lines] == [False, False, True, True, True]  # what is done is not told again
    left = sum(estimate(pipeline)[name].seconds for name in ("train", "augment", "report"))
    assert last.startswith(f"About {duration(left)} of one core")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.5, "10 s"),
        (44, "40 s"),
        (100, "2 min"),
        (5300, "88 min"),
        (7000, "2 h"),
        (170_000, "47 h"),
        (864_000, "10 days"),
    ],
)
def test_a_guess_is_told_in_one_number(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_the_command_prints_both(maker, export) -> None:
    path = maker.write(
        ingest={"source": str(export)}, train={"config": str(maker.folder / "train.yaml"), "set": {"perceptual": None}}
    )
    told = CliRunner().invoke(
        app,
        [
            "run",
            str(path),
            "--dry-run",
            "--set",
            "stages.train=null",
            "--set",
            "stages.augment.bundle=a4c",
            "--out",
            str(maker.out),
        ],
    )
    assert told.exit_code == 0, told.output
    assert (
        "ingest     to run   never ran; 10 files, about" in told.stdout
        and "of one core in all" in told.stdout.splitlines()[-1]
    )
    assert not maker.out.exists() and json.dumps(str(export))[1:-1] not in told.output
