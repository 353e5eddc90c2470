"""The shipped pipelines from a clean clone: those that need no data run, in small counts, and the others say what they
need."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.pipeline.options import Augment, Evaluate, Ingest, Train
from echokdm.pipeline.plan import read_pipeline
from echokdm.pipeline.run import run_pipeline
from echokdm.pipeline.stages import overrides_of

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "pipelines").glob("*.yaml"))


def source_of(path: Path) -> str:
    """What the pipeline ingests; "" where it ingests nothing."""
    return yaml.safe_load(path.read_text())["stages"].get("ingest", {}).get("source", "")


ALONE = [path for path in SHIPPED if not source_of(path) or source_of(path).startswith("phantom-")]
NEEDY = {path: source_of(path) for path in SHIPPED if path not in ALONE}


@pytest.fixture(autouse=True)
def clone(no_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder that has nothing but the configurations, on a machine without ImageNet's weights."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)


def small(path: Path, few: Callable[..., list[str]]) -> list[str]:
    """Overrides of a pipeline that shrink counts alone."""
    overrides = []
    for step in read_pipeline(path).steps:
        counts: list[str] = []
        if isinstance(step.options, Train):
            counts = [
                f"set.{override}" for override in few(Path(step.options.config), overrides_of(step.options.values))
            ]
        if isinstance(step.options, Evaluate):
            kind = {"face": "face", "motion-transfer": "face", "pose": "body"}.get(path.stem)
            counts = ["patients=1"] if kind is None else [f"data=phantom-{kind}:2"]
        if isinstance(step.options, Ingest):
            counts = ["source=phantom-heart:1"]
        if isinstance(step.options, Augment):
            counts = ["per_clip=1", "steps=1", "tries=1", "tolerance=60"]  # points: any clip will do
        overrides += [f"stages.{step.name}.{count}" for count in counts]
    return overrides


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_a_pipeline_without_a_data_set_runs(
    path: Path, few: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echokdm.methods.residual_flow.scores.TARGETS", 1)
    monkeypatch.setattr("echokdm.evaluation.run.STRENGTHS", (0.0, 0.5))
    pipeline = read_pipeline(path, small(path, few))
    run_pipeline(pipeline)
    page = (pipeline.out / "report" / "report.html").read_text()
    assert all(step.name in page for step in pipeline.steps)
    for step in pipeline.steps:
        if step.kind == "train":
            assert (pipeline.out / step.name / "bundle" / "model_index.json").is_file()
        if step.kind == "evaluate":
            tables = (pipeline.out / step.name / "tables.md").read_text()
            assert "SSIM" in tables and "LPIPS_squeeze" not in tables and "squeezenet1_1-b8a52dc0.pth" in tables


def test_all_shipped_are_of_one_kind_or_the_other() -> None:
    assert [path.stem for path in ALONE] == ["a4c-phantom-smoke", "face", "motion-transfer", "pose"]


@pytest.mark.parametrize("path", NEEDY, ids=lambda path: path.stem)
def test_a_pipeline_with_a_data_set_names_it_and_plans(path: Path, tmp_path: Path, camus: Callable[..., None]) -> None:
    told = CliRunner().invoke(app, ["run", str(path), "--dry-run"])
    adapter, _, folder = NEEDY[path].rpartition(":")
    assert told.exit_code == 2 and folder not in told.output and adapter in told.output and "ingest" in told.output
    shown = CliRunner().invoke(app, ["run", str(path), "--dry-run", "--show-names"])
    assert shown.exit_code == 2 and f"'{folder}'" in shown.output
    camus(tmp_path / "data", "patient0001", 2, es=2)
    (tmp_path / "data" / "Videos").mkdir()
    # a plan asks for files; what is in them is looked at when it runs
    (tmp_path / "data" / "Videos" / "0X1.avi").touch()
    (tmp_path / "data" / "FileList.csv").write_text("FileName,EF,ESV,EDV,Split\n0X1,50,40,80,TRAIN\n")
    (tmp_path / "data" / "VolumeTracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "0X1.avi,1,2,3,4,0\n" * 21)
    source = f"{adapter}:{tmp_path / 'data'}" if adapter else str(tmp_path / "data")
    planned = CliRunner().invoke(app, ["run", str(path), "--dry-run", "--set", f"stages.ingest.source={source}"])
    assert planned.exit_code == 0, planned.output
    assert (
        planned.output.count("never ran") == len(yaml.safe_load(path.read_text())["stages"])
        and not (tmp_path / "runs").exists()
    )
