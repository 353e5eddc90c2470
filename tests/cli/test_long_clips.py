"""Long clips: the same outputs as of short ones, in memory that does not grow with them."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from echokdm.core import frames
from echokdm.core.frames import LongFrames
from echokdm.core.types import Clip
from echokdm.echo.derive import derive_keypoints
from echokdm.echo.synthesis import synthesize
from echokdm.echo.wish import Sampling, Wish
from echokdm.io import read_clip
from echokdm.io.dicom_out import Origin, write_dicom
from echokdm.report.synthesis import write_keypoints, write_synthesis
from echokdm.report.synthesis_page import report_html

GROWTH = 100  # MB that a clip of three times as many frames may take more; with all of them in memory it takes 280

# Prints the peak of memory in MB after clips of 32 and of 96 frames. A process of its own, with little kept in memory:
# where frames stay there is what `IN_MEMORY` says, and below it memory grows.
MEASURE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from drawn import DrawnPipeline
from echokdm.core import frames
from echokdm.echo.derive import derive_keypoints
from echokdm.report.synthesis import write_keypoints, write_synthesis
from echokdm.echo.synthesis import synthesize
frames.IN_MEMORY = 2**22
folder, pipeline = Path(sys.argv[1]), DrawnPipeline()
for count in (32, 96):
    clip = folder / f"{count}.mp4"
    write_keypoints(derive_keypoints(clip, bundle=pipeline), folder / "keypoints", overwrite=True)
    result = synthesize(derive_keypoints(clip, allow_print=True, bundle=pipeline), bundle=pipeline)
    write_synthesis(result, folder / "synth", overwrite=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def save_video(path: Path, clip: Clip, count: int) -> None:
    """The clip, over and over, twice its size: 320 x 400."""
    pictures = (clip.frames[:, 0].numpy() * 255).round().astype(np.uint8).repeat(2, 1).repeat(2, 2)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:], "yuv420p"
        for t in range(count):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[t % len(pictures)], format="gray")))
        output.mux(stream.encode())


def test_memory_is_flat_in_a_clips_length(drawn_clip: Clip, tmp_path: Path) -> None:
    for count in (32, 96):
        save_video(tmp_path / f"{count}.mp4", drawn_clip, count)
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), str(Path(__file__).parents[1])],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    short, long = (float(line) for line in told.split())
    assert long - short < GROWTH, f"{short:.0f} and {long:.0f} MB"


WAYS = {"edited": (Wish(ef=30),), "moved": (Wish(), Sampling(from_frame=0)), "square": (Wish(edv="90%", size=128),)}


def outputs(clip: Clip, pipeline, folder: Path, ways: list[str]) -> dict[str, bytes]:
    write_keypoints(derive_keypoints(clip, bundle=pipeline), folder / "keypoints")
    for name in ways:
        write_synthesis(synthesize(clip, *WAYS[name], bundle=pipeline), folder / name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("ways", "tint"), [(["edited", "moved", "square"], [1.0]), (["edited"], [1.0, 0.8, 0.6])])
def test_long_clips_give_what_short_ones_give(
    drawn_clip: Clip, pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ways: list[str], tint: list[float]
) -> None:
    write_dicom(
        tmp_path / "clip.dcm",
        drawn_clip.with_frames(drawn_clip.frames * torch.tensor(tint).view(1, -1, 1, 1)),
        Origin(""),
    )
    short = read_clip(tmp_path / "clip.dcm")
    expected = outputs(short, pipeline, tmp_path / "short", ways)
    monkeypatch.setattr(frames, "IN_MEMORY", 2**16)
    monkeypatch.setattr(frames, "_PART", 2**17)
    long = read_clip(tmp_path / "clip.dcm")
    assert (
        isinstance(long.frames, LongFrames)
        and torch.equal(long.frames[:], short.frames)
        and torch.equal(long.gray[:], short.gray)
    )
    found = outputs(long, pipeline, tmp_path / "long", ways)
    assert set(found) == set(expected)
    same = {name for name in found if found[name] == expected[name]}
    # A GIF begins anew every few frames, and a square is cut out of a long output when that is rounded.
    apart = {f"square/synth.{end}" for end in ("mp4", "gif", "dcm")} | {f"{name}/synth.gif" for name in ways}
    assert {name for name in found if not name.endswith("html")} - same <= apart
    for name in ways:
        one, other = (read_clip(tmp_path / length / name / "synth.gif") for length in ("long", "short"))
        assert (
            len(one) == len(other)
            and (one.frames[:] - other.frames[:]).abs().max() < (1.5 if name == "square" else 0.1) / 255
        )


def test_the_pages_film_of_a_long_clip_ends(
    drawn_clip: Clip, pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = synthesize(drawn_clip, bundle=pipeline)
    whole = report_html(result, "echokdm synth CLIP")
    monkeypatch.setattr("echokdm.report.synthesis_page.FILM", 8)
    page = report_html(result, "echokdm synth CLIP")
    assert (
        "The film shows the first 8 of 24 frames" in page and "The film shows" not in whole and len(page) < len(whole)
    )
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(re.search(r"data:video/mp4;base64,([^\"']+)", page)[1]))
    assert len(read_clip(tmp_path / "film.mp4")) == 8
