"""What is written: whole, repeatable, self-contained, and without the source's name."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from echokdm.core.errors import OutputError
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints
from echokdm.echo.synthesis import Synthesis, synthesize
from echokdm.echo.wish import Sampling, Wish
from echokdm.io.tracings import write_tracings
from echokdm.report.figures import overlay
from echokdm.report.synthesis import check_masked, overlay_sheet, write_keypoints, write_synthesis
from echokdm.report.synthesis_page import report_html

SYNTH_FILES = ["keypoints.csv", "report.html", "run.json", "synth.dcm", "synth.gif", "synth.mp4"]
SVG = "{http://www.w3.org/2000/svg}"
KEYPOINT_FILES = ["keypoints.csv", "masks.nii.gz", "measures.json", "overlay.png", "volumes.csv", "volumes.svg"]


@pytest.fixture
def result(drawn_clip: Clip, pipeline) -> Synthesis:
    return synthesize(drawn_clip, Wish(ef=30.0), bundle=pipeline)


def test_same_run_same_bytes(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_synthesis(synthesize(drawn_clip, Wish(ef=30.0), bundle=pipeline), tmp_path / name)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == SYNTH_FILES
    for file in set(SYNTH_FILES) - {"report.html"}:  # the report holds timings
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_dicom_is_synthetic_and_calibrated(result: Synthesis, tmp_path: Path, heart) -> None:
    import pydicom

    write_synthesis(result, tmp_path / "out")
    ds = pydicom.dcmread(tmp_path / "out" / "synth.dcm")
    assert ds.pixel_array.shape == (heart.frames, *result.source.clip.size)
    assert ds.BurnedInAnnotation == "NO" and "SYNTHETIC" in ds.SeriesDescription
    assert result.weights_sha256 in ds.ContributingEquipmentSequence[0].ContributionDescription
    assert ds.SequenceOfUltrasoundRegions[0].PhysicalDeltaY * 10 == pytest.approx(0.8)
    assert float(ds.FrameTime) == pytest.approx(1000 / heart.fps)


def test_a_dicom_comes_out_with_its_own_geometry_and_times(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    """Rows, columns, calibrated region and the times of frames that do not follow one another evenly."""
    import pydicom

    from echokdm.io import read_clip
    from echokdm.io.dicom_out import Origin, write_dicom

    times = [0.0] + [30.0, 50.0] * 11 + [40.0]
    told = {"region": (10, 2, 190, 158), "frame_times_ms": times}
    write_dicom(tmp_path / "source.dcm", Clip(drawn_clip.frames, 25.0, (0.8, 0.8), meta=told), Origin("0"))
    write_synthesis(synthesize(read_clip(tmp_path / "source.dcm"), Wish(ef=30.0), bundle=pipeline), tmp_path / "out")
    source, made = (pydicom.dcmread(tmp_path / name) for name in ("source.dcm", "out/synth.dcm"))
    for name in (
        "Rows",
        "Columns",
        "NumberOfFrames",
        "FrameTimeVector",
        "FrameIncrementPointer",
        "SequenceOfUltrasoundRegions",
    ):
        assert made[name] == source[name], name
    assert "FrameTime" not in made


def test_a_validator_finds_no_error_in_what_is_written(result: Synthesis, tmp_path: Path, valid_dicom) -> None:
    write_synthesis(result, tmp_path / "out")
    valid_dicom(tmp_path / "out" / "synth.dcm")


def test_keypoints_csv_holds_what_was_drawn(result: Synthesis, tmp_path: Path) -> None:
    from echokdm.io.tracings import read_tracings

    write_synthesis(result, tmp_path / "out")
    traced = read_tracings(tmp_path / "out" / "keypoints.csv")["synth"]
    assert sorted(traced) == list(range(len(result.clip))) and traced[0].shape == (21, 4)
    assert np.abs(traced[7][1:, :2] - result.keypoints[7, :20]).max() < 1e-4


def test_run_record_repeats_the_run(result: Synthesis, tmp_path: Path) -> None:
    write_synthesis(result, tmp_path / "out", command="echokdm synth CLIP --ef 30")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["synthetic"] is True and record["options"]["ef"] == 30.0 and record["options"]["seed"] == 0
    assert (
        record["bundle"]["weights_sha256"] == result.weights_sha256 and record["versions"]["torch"] == torch.__version__
    )
    assert "timings" not in record and str(tmp_path) not in json.dumps(record)


class Links(HTMLParser):
    """Every address that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for key, value in attrs if key in ("src", "href", "poster", "data")]


def test_report_is_self_contained_and_says_what_it_is(result: Synthesis) -> None:
    page = report_html(result, "echokdm synth CLIP --ef 30")
    links = Links()
    links.feed(page)
    assert len(links.found) >= 7 and all(link.startswith(("data:image/", "data:video/mp4;")) for link in links.found)
    assert "url(" not in page and "<script" not in page
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S)
    for words in (
        "Synthetic",
        "research only",
        "not be used for diagnosis",
        "Ejection fraction",
        "30.0 %",
        "Timings",
        "echokdm synth CLIP --ef 30",
        "Baker",
        "Measured again",
    ):
        assert words in text, words
    charts = [
        base64.b64decode(link.split(",", 1)[1]).decode() for link in links.found if link.startswith("data:image/svg")
    ]
    assert len(charts) == 2
    for chart in charts:
        assert all(
            image.attrib["href"].startswith("data:image/png")
            for image in ElementTree.fromstring(chart).iter(f"{SVG}image")
        )
        assert "http" not in chart.replace("http://www.w3.org/2000/svg", "") and "<script" not in chart
    for link in (link for link in links.found if link.startswith("data:image/png")):
        with Image.open(io.BytesIO(base64.b64decode(link.split(",", 1)[1]))) as image:
            image.verify()


def test_report_compares_with_the_real_frames_only_where_that_is_fair(
    drawn_clip: Clip, pipeline, result: Synthesis
) -> None:
    assert "No edit" in report_html(synthesize(drawn_clip, sampling=Sampling(from_frame=0), bundle=pipeline), "x")
    # nothing else than the clip itself
    assert "No edit" not in report_html(synthesize(drawn_clip, bundle=pipeline), "x")
    assert "No edit" not in report_html(result, "x")


def test_report_without_measurement(result: Synthesis) -> None:
    from dataclasses import replace

    assert "found no ventricle in the synthetic frames" in report_html(replace(result, measured=None), "x")


def test_pixels_outside_the_sector_are_not_written(result: Synthesis, tmp_path: Path) -> None:
    from dataclasses import replace

    frames = result.clip.frames.clone()
    frames[3, 0, 0, 0] = 0.5
    with pytest.raises(OutputError, match="outside the sector"):
        write_synthesis(
            replace(result, edited=replace(result.edited, clip=result.clip.with_frames(frames))), tmp_path / "out"
        )
    assert list(tmp_path.iterdir()) == []
    check_masked(result.clip.frames, result.mask)


def test_interrupt_leaves_nothing(result: Synthesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("echokdm.report.synthesis.report_html", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_synthesis(result, tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_keypoints_outputs(drawn_clip: Clip, tmp_path: Path, heart) -> None:
    import nibabel

    write_tracings(tmp_path / "t.csv", {"clip": {t: heart.ellipse(t) for t in range(heart.frames)}})
    derived = derive_keypoints(drawn_clip, keypoints=tmp_path / "t.csv")
    write_keypoints(derived, tmp_path / "k")
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == KEYPOINT_FILES
    record = json.loads((tmp_path / "k" / "measures.json").read_text())
    assert (
        record["volume_unit"] == "mL"
        and record["ef_percent"] == pytest.approx(38.6, abs=1)
        and len(record["beats"]) >= 1
    )
    masks = nibabel.load(tmp_path / "k" / "masks.nii.gz")
    assert masks.shape == (drawn_clip.size[1], drawn_clip.size[0], 1, heart.frames)
    truth = np.pi * heart.half_width * heart.half_length
    assert np.asarray(masks.dataobj)[:, :, 0, 0].sum() == pytest.approx(truth, rel=0.03)
    assert len((tmp_path / "k" / "volumes.csv").read_text().splitlines()) == heart.frames + 1


def test_keypoints_output_reads_back_as_input(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    derived = derive_keypoints(drawn_clip, bundle=pipeline)
    write_keypoints(derived, tmp_path / "k")
    again = derive_keypoints(drawn_clip, keypoints=tmp_path / "k" / "keypoints.csv")
    assert np.abs(again.keypoints - derived.keypoints).max() < 0.6
    assert again.ejection_fraction == pytest.approx(derived.ejection_fraction, abs=1.5)
    masks = derive_keypoints(drawn_clip, keypoints=tmp_path / "k" / "masks.nii.gz")
    assert masks.ejection_fraction == pytest.approx(derived.ejection_fraction, abs=3)


def test_outlines_of_a_file_read_upside_down_are_in_the_files_rows(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    from echokdm.io.tracings import read_masks, read_tracings

    turned = drawn_clip.with_frames(drawn_clip.frames, meta={"flipped": "vertical"})
    derived = derive_keypoints(turned, bundle=pipeline)
    write_keypoints(derived, tmp_path / "k")
    rows = read_tracings(tmp_path / "k" / "keypoints.csv")["clip"][0]
    assert rows[0, 1] > rows[0, 3]  # the apex is below in the file
    middle = np.argwhere(read_masks(tmp_path / "k" / "masks.nii.gz")[0]).mean(0)
    assert middle[0] == pytest.approx(drawn_clip.size[0] - 1 - derived.keypoints_source[0, :, 1].mean(), abs=2)
    for file in ("keypoints.csv", "masks.nii.gz"):
        again = derive_keypoints(turned, keypoints=tmp_path / "k" / file)
        assert np.abs(again.keypoints.mean(1) - derived.keypoints.mean(1)).max() < 0.6


def test_overlay_names_both_phases_and_numbers_their_points(drawn_clip: Clip, pipeline) -> None:
    derived = derive_keypoints(drawn_clip, bundle=pipeline)
    sheet = np.asarray(overlay_sheet(derived))
    inside = torch.as_tensor(np.asarray(derived.sector.mask))
    scale = max(1.0, min(3.0, 720 / derived.clip.size[1]))
    tiles = {
        title: np.asarray(
            overlay(derived.clip.frames[frame] * inside, derived.keypoints_source[frame], scale, every=5, title=title)
        )
        for frame, title in ((derived.ed, f"ED, frame {derived.ed}"), (derived.es, f"ES, frame {derived.es}"))
    }
    ed, es = tiles.values()
    assert (sheet[:, : ed.shape[1]] == ed).all() and (sheet[:, -es.shape[1] :] == es).all() and (ed != es).any()


def test_overlay_shows_nothing_from_outside_the_sector(drawn_clip: Clip, pipeline, tmp_path: Path) -> None:
    frames = drawn_clip.frames.clone()
    frames[:, :, -14:-4, 4:40] = 1.0  # burned-in text
    derived = derive_keypoints(drawn_clip.with_frames(frames), bundle=pipeline)
    write_keypoints(derived, tmp_path / "k")
    picture = np.asarray(Image.open(tmp_path / "k" / "overlay.png").convert("L"))
    scale = picture.shape[0] / drawn_clip.size[0]
    assert picture[int(-14 * scale) :, : int(40 * scale)].max() == 0
