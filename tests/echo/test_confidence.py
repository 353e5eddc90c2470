"""What is known of an outline's confidence is in the files, in one sentence, and nowhere where nothing is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.cohort.make import augment_cohort
from echokdm.cohort.plan import plan_cohort, read_sources
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints
from echokdm.echo.synthesis import synthesize
from echokdm.echo.wish import Wish
from echokdm.io.tracings import write_tracings
from echokdm.report.synthesis import report_html, run_record, write_keypoints


@pytest.fixture
def doubting(pipeline, heart):
    """The drawn pipeline, unsure of frames 3 to 5 and sure of the others."""
    pipeline.confidence = torch.full((heart.frames,), 0.98)
    pipeline.confidence[3:6] = 0.25
    return pipeline


def test_key_points_files_tell(drawn_clip: Clip, doubting, heart, tmp_path: Path) -> None:
    derived = derive_keypoints(drawn_clip, bundle=doubting)
    assert derived.flagged == [3, 4, 5] and derived.clip_confidence == pytest.approx(0.98 - 3 * 0.73 / heart.frames)
    assert f"in 3 of {heart.frames} frames" in derived.sureness and "frames 3-5" in derived.sureness
    write_keypoints(derived, tmp_path / "k")
    table = pd.read_csv(tmp_path / "k" / "volumes.csv")
    assert np.flatnonzero(table["confidence"] < 0.5).tolist() == [3, 4, 5] and table["confidence"].max() == 0.98
    measures = json.loads((tmp_path / "k" / "measures.json").read_text())
    assert measures["flagged_frames"] == [3, 4, 5] and measures["confidence"] == pytest.approx(
        derived.clip_confidence, abs=1e-3
    )


def test_outlines_of_a_file_have_none(drawn_clip: Clip, doubting, heart, tmp_path: Path) -> None:
    write_tracings(tmp_path / "t.csv", {"clip": {t: heart.ellipse(t) for t in range(heart.frames)}})
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv", bundle=doubting)
    assert (
        derived.confidence is None
        and derived.flagged is None
        and derived.clip_confidence is None
        and derived.sureness == ""
    )
    write_keypoints(derived, tmp_path / "k")
    assert pd.read_csv(tmp_path / "k" / "volumes.csv")["confidence"].isna().all()
    assert json.loads((tmp_path / "k" / "measures.json").read_text())["confidence"] is None


def test_a_synthesis_tells_of_its_source(drawn_clip: Clip, doubting, pipeline) -> None:
    result = synthesize(drawn_clip, Wish(ef=30.0), bundle=doubting)
    record = run_record(result, "x")["source"]
    assert record["flagged_frames"] == [3, 4, 5] and 0.8 < record["confidence"] < 0.98
    assert result.source.sureness in report_html(result, "x")


def test_commands_say_it(drawn_clip: Clip, doubting, as_every_bundle, tmp_path: Path) -> None:
    as_every_bundle(doubting)
    clip = tmp_path / "clip.npz"
    np.savez(clip, frames=(drawn_clip.frames[:, 0].numpy() * 255).astype(np.uint8), fps=drawn_clip.fps)
    for command in ("keypoints", "synth"):
        done = CliRunner().invoke(app, [command, str(clip), "--out", str(tmp_path / command)])
        assert done.exit_code == 0 and "it may be off (frames 3-5)" in done.stdout, done.output
    done = CliRunner().invoke(
        app, ["augment", str(clip), str(tmp_path / "made"), "--per-clip", "1", "--tolerance", "30"]
    )
    assert done.exit_code == 0 and "outlines of all 1 clips are trusted" in done.stderr, done.output


def test_a_cohorts_manifest_has_the_source_clips(drawn_clip: Clip, doubting, tmp_path: Path) -> None:
    sources, _ = read_sources([drawn_clip], doubting)
    manifest = augment_cohort(plan_cohort(sources, 1), sources, tmp_path / "sure", bundle=doubting)
    assert manifest["confidence"].tolist() == pytest.approx([float(doubting.confidence.mean())], abs=1e-3)
    doubting.confidence = None
    sources, _ = read_sources([drawn_clip], doubting)
    assert (
        augment_cohort(plan_cohort(sources, 1), sources, tmp_path / "unknown", bundle=doubting)["confidence"]
        .isna()
        .all()
    )
