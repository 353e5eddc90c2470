"""Every stage once: a second run does nothing, a stopped one goes on, what another recipe made is kept."""

import re
from pathlib import Path

import pytest
from filelock import FileLock

from echokdm.core.errors import ClipError, OutputError
from echokdm.pipeline import stages as module
from echokdm.pipeline.run import plan_lines, run_pipeline
from echokdm.pipeline.work import Work


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """The names of the stages that ran, each of which writes its fingerprint."""
    names: list[str] = []

    def stage(work: Work) -> dict:
        names.append(work.step.name)
        work.folder.mkdir(parents=True, exist_ok=True)
        (work.folder / "made.txt").write_text(work.step.fingerprint)
        work.say("patient 1")
        return {"count": len(work.others)}

    monkeypatch.setattr(module, "RUN", dict.fromkeys(module.RUN, stage))
    monkeypatch.setattr(module, "CHECK", {})
    return names


def states(pipeline) -> dict[str, str]:
    """Each stage's state, from the plan's lines."""
    *lines, _ = plan_lines(pipeline)
    return {name: state for name, state, _ in (re.split(r" {2,}", line) for line in lines)}


def test_a_second_run_does_nothing_and_a_changed_value_reruns_what_follows(maker, ran) -> None:
    run_pipeline(maker.read())
    assert ran == ["ingest", "keypoints", "train", "augment", "report"]
    assert set(states(maker.read()).values()) == {"cached"}
    run_pipeline(maker.read())
    assert len(ran) == 5
    changed = maker.read(["stages.augment.per_clip=3"])
    assert states(changed) == {
        "ingest": "cached",
        "keypoints": "cached",
        "train": "cached",
        "augment": "to run",
        "report": "to run",
    }
    assert any("per_clip is 3, was 2" in line for line in plan_lines(changed))
    assert any("augment changed" in line for line in plan_lines(changed))
    run_pipeline(changed)
    assert ran[5:] == ["augment", "report"]


def test_what_another_recipe_made_is_kept_and_found_again(maker, ran) -> None:
    run_pipeline(maker.read())
    first = (maker.out / "augment" / "made.txt").read_text()
    run_pipeline(maker.read(["stages.augment.per_clip=3"]))
    assert (maker.out / f"augment.{first[:8]}" / "made.txt").read_text() == first
    assert (maker.out / "augment" / "made.txt").read_text() != first
    assert states(maker.read())["augment"] == "kept"
    run_pipeline(maker.read())
    assert (maker.out / "augment" / "made.txt").read_text() == first and len(ran) == 7


def test_a_stage_that_stopped_is_gone_on_with_in_its_folder(maker, ran, monkeypatch) -> None:
    whole = module.RUN["train"]

    def stops(work: Work) -> dict:
        work.folder.mkdir(parents=True)
        (work.folder / "half.txt").write_text("half")
        raise ClipError("The clip is bad.")

    monkeypatch.setitem(module.RUN, "train", stops)
    with pytest.raises(ClipError):
        run_pipeline(maker.read())
    assert ran == ["ingest", "keypoints"] and states(maker.read())["train"] == "stopped"
    monkeypatch.setitem(module.RUN, "train", whole)
    run_pipeline(maker.read())
    assert ran == ["ingest", "keypoints", "train", "augment", "report"] and (maker.out / "train" / "half.txt").exists()
    assert "train: stopped, The clip is bad." in (maker.out / "run.log").read_text()


def test_a_result_that_was_deleted_is_made_again(maker, ran) -> None:
    run_pipeline(maker.read())
    (maker.out / "keypoints" / "made.txt").unlink()
    (maker.out / "keypoints").rmdir()
    run_pipeline(maker.read())
    assert ran[5:] == ["keypoints"]


def test_folders_of_others_are_left_alone(maker, ran) -> None:
    run_pipeline(maker.read())
    with pytest.raises(OutputError, match="another pipeline"):
        run_pipeline(maker.read(name="other"))
    maker.out = maker.folder / "thesis"
    maker.out.mkdir()
    (maker.out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds no pipeline"):
        run_pipeline(maker.read())
    assert [path.name for path in maker.out.iterdir()] == ["thesis.txt"]
    maker.out = maker.out / "thesis.txt"
    with pytest.raises(OutputError, match="is a file"):
        run_pipeline(maker.read())


def test_two_runs_at_once_are_refused(maker, ran) -> None:
    maker.out.mkdir()
    with FileLock(maker.out / ".lock"), pytest.raises(OutputError, match="Another run is at work"):
        run_pipeline(maker.read())
    assert not ran


def test_what_a_later_stage_lacks_is_told_before_the_training(maker, ran, monkeypatch) -> None:
    def lacks(work: Work, ready: str) -> None:
        if ready == "keypoints":
            raise ClipError(f"No clip for {work.step.name}.")

    monkeypatch.setattr(module, "CHECK", {"augment": lacks})
    for _ in range(2):
        with pytest.raises(ClipError, match="No clip for augment"):
            run_pipeline(maker.read())
    assert "train" not in ran


def test_inputs_are_places(maker, monkeypatch) -> None:
    seen: dict[str, dict] = {}
    monkeypatch.setattr(module, "CHECK", {})
    monkeypatch.setattr(
        module, "RUN", dict.fromkeys(module.RUN, lambda work: seen.setdefault(work.step.name, dict(work.reads)) and {})
    )
    run_pipeline(maker.read())
    assert seen["augment"] == {"clips": maker.out / "keypoints", "bundle": maker.out / "train" / "bundle"}
    assert seen["ingest"]["source"] == "phantom-heart:2" and Path(seen["train"]["config"]).name == "train.yaml"
