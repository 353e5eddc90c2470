"""Cohorts by workers of Ray: the bytes of the engine that works alone, also where a worker is killed or its disk is
full."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from echokdm.cli.app import OneSentence
from echokdm.cli.cohort import augment
from echokdm.cohort.make import augment_cohort
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.cohort.workers import Engine, WorkerError, ray_engine
from echokdm.core.errors import ConfigError, OutputError
from echokdm.core.types import Clip
from echokdm.io.atomic import atomic_file


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Two workers."""
    pytest.importorskip("ray", reason="the extra echokdm[cluster] is not installed")
    with ray_engine(2) as made:
        yield made


@pytest.fixture
def files(drawn_clip: Clip, still_clip: Clip, tmp_path: Path) -> list[Path]:
    """The drawn heart, one that stands still, and the drawn heart's mirror image, under a patient's name."""
    paths = []
    for name, clip in (("a", drawn_clip), ("b", still_clip), ("c", drawn_clip.with_frames(drawn_clip.frames.flip(3)))):
        paths.append(tmp_path / "Doe^Jane" / f"{name}.npz")
        paths[-1].parent.mkdir(exist_ok=True)
        np.savez_compressed(paths[-1], frames=(clip.frames[:, 0].numpy() * 255).astype(np.uint8), fps=clip.fps)
    return paths


@pytest.fixture
def sent(pipeline):
    """The drawn heart's pipeline, sent to workers with its code, since they can't import a test."""
    from ray import cloudpickle

    module = sys.modules[type(pipeline).__module__]
    cloudpickle.register_pickle_by_value(module)
    yield pipeline
    cloudpickle.unregister_pickle_by_value(module)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failing(pipeline, fail):
    """The pipeline, which calls `fail(seed)` before each clip."""

    class Failing:
        components, segment, bundle_name = pipeline.components, pipeline.segment, pipeline.bundle_name

        def __call__(self, *arguments, drawing, **options):
            fail(drawing.seed)
            return pipeline(*arguments, drawing=drawing, **options)

    return Failing()


def test_a_killed_worker_changes_no_byte(
    files: list[Path], engine: Engine, sent, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    sources, refused = read_sources(files, sent)
    plan = plan_cohort(sources, 3)
    augment_cohort(plan, sources, tmp_path / "alone", bundle=sent)
    killed, seeds = tmp_path / "killed", []

    def fail(seed):
        seeds.append(seed)
        if len(seeds) == 2 and not killed.exists():  # one of them has finished a clip of its three
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    found, also_refused = read_sources(files, sent, engine=engine)
    assert also_refused == refused and len(refused) == 1
    assert all(
        np.array_equal(a.keypoints, b.keypoints) and (a.number, a.subject) == (b.number, b.subject)
        for a, b in zip(found, sources, strict=True)
    )
    told = []
    manifest = augment_cohort(
        plan, found, tmp_path / "spread", bundle=failing(sent, fail), engine=engine, progress=told.append
    )
    assert killed.exists() and manifest["id"].tolist() == plan["id"].tolist() and told[-1] == "Made 6 of 6 clips"
    assert contents(tmp_path / "spread") == contents(tmp_path / "alone")
    assert "Doe" not in "".join(capfd.readouterr())


def test_an_item_that_ends_every_worker_stops_the_run(engine: Engine) -> None:
    class Worker:
        def __call__(self, item):
            if item == "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            return [item]

    with pytest.raises(WorkerError, match="one clip that ended each"):
        list(engine(lambda device: Worker(), ["sound", "deadly"]))


def test_a_full_disk_stops_clearly_and_the_run_goes_on(files: list[Path], engine: Engine, sent, tmp_path: Path) -> None:
    sources, _ = read_sources(files, sent)
    plan = plan_cohort(sources, 2)
    augment_cohort(plan, sources, tmp_path / "alone", bundle=sent)

    def fail(seed):
        if len(list((tmp_path / "out" / "Videos").glob("*.avi"))) >= 1:
            with atomic_file(tmp_path / "video.avi"):
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"disk is full.*[12] of 4 clips are done.*goes on"):
        augment_cohort(plan, sources, tmp_path / "out", bundle=failing(sent, fail), engine=engine)
    assert not (tmp_path / "out" / "run.json").exists()
    augment_cohort(plan, sources, tmp_path / "out", bundle=sent)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_worker_that_does_not_see_the_folder_or_has_other_versions_stops_it(
    files: list[Path], pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, _ = read_sources(files[:1], pipeline)
    plan = plan_cohort(sources, 1)

    def elsewhere(build, items):
        (tmp_path / "out" / "cohort-parts" / "run.json").unlink()
        yield from build("cpu")(items[0])

    with pytest.raises(OutputError, match="disk that all machines share"):
        augment_cohort(plan, sources, tmp_path / "out", bundle=pipeline, engine=elsewhere)

    def older(build, items):
        monkeypatch.setattr("echokdm.cohort.make.versions", lambda: {"python": "3.10"})
        yield from build("cpu")(items[0])

    with pytest.raises(ConfigError, match="other versions"):
        augment_cohort(plan, sources, tmp_path / "out", bundle=pipeline, engine=older)


def test_without_ray_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'echokdm\[cluster\]'"), ray_engine(1):
        pass


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match="No Ray cluster answers"), ray_engine(1):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--workers", "2"], "add --engine ray"), (["--engine", "ray", "--workers", "0"], "1 or more")],
)
def test_workers_are_rays_and_counted_from_one(
    options: list[str], words: str, pipeline, tmp_path: Path, as_every_bundle
) -> None:
    as_every_bundle(pipeline)
    app = typer.Typer(cls=OneSentence)
    app.command("augment")(augment)
    app.command("other")(lambda: None)  # with one command alone there is no group
    (tmp_path / "clips").mkdir()
    np.savez(tmp_path / "clips" / "a.npz", frames=np.zeros((2, 8, 8), np.uint8))
    result = CliRunner().invoke(app, ["augment", str(tmp_path / "clips"), str(tmp_path / "out"), *options])
    assert result.exit_code == 2 and words in result.stderr
