"""The whole evaluation: on phantoms, and on a folder of clips."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from echokdm.core.errors import ClipError, ConfigError, OutputError
from echokdm.core.types import Clip
from echokdm.echo.derive import Derived
from echokdm.echo.wish import Sampling
from echokdm.evaluation import run as module
from echokdm.evaluation.resynthesis import beat_thirds


@pytest.fixture
def quick(monkeypatch, pairs, no_weights):
    """No LPIPS, and the phantoms that are drawn already."""
    monkeypatch.setattr("echokdm.evaluation.held_out.held_out_pairs", lambda seeds, size: pairs)


def test_phantom_tables_are_printed_and_written(quick, tiny_pipeline, tmp_path, capsys):
    out = tmp_path / "tables"
    result = module.evaluate(tiny_pipeline, patients=2, out=out, sampling=Sampling(steps=1))
    shown, told = capsys.readouterr()
    assert "KDM without K2F" in shown and "Quoted" in shown and "sha256" in shown
    assert {f.name for f in out.iterdir()} == {"tables.md", "tables.csv", "tables.json", "images.csv", "flows.csv"}
    record = json.loads((out / "tables.json").read_text())["record"]
    assert "seeds 1010000 to 1010001" in record["data"] and "sector" in record["mask"] and record == result.record
    for text in (told, record["LPIPS"]):  # what is missing, where it belongs, and how to know it
        assert all(
            part in text
            for part in ("squeezenet1_1-b8a52dc0.pth", "SHA-256 b8a52dc0", "checkpoints", "ECHOKDM_BACKBONES")
        )
    with pytest.raises(OutputError, match="exists"):
        module.evaluate(tiny_pipeline, patients=2, out=out)


def test_nonsense_is_refused(quick, tiny_pipeline, tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        module.evaluate(tiny_pipeline, patients=0)
    with pytest.raises(ClipError, match="--data does not exist"):
        module.evaluate(tiny_pipeline, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="no clip"):
        module.evaluate(tiny_pipeline, tmp_path / "empty")


def test_a_folder_of_clips(quick, tiny_pipeline, tmp_path, pairs, monkeypatch):
    """Two clips, one in a sub-folder, of four frames, the first of which is the source.

    An untrained segmenter finds no heart in the output: MD is not known.
    """
    frames = torch.cat([pairs.source[:1], pairs.target[:1], pairs.source[:1], pairs.target[:1]])
    points = torch.cat([pairs.source_keypoints[:1], pairs.target_keypoints[:1]]).repeat(2, 1, 1).double().numpy()
    clip = Clip(frames, 20.0)
    derived = Derived(
        clip, None, SimpleNamespace(clip=clip, sector_mask=pairs.sector[0].numpy()), points, np.ones(4, bool), True
    )
    monkeypatch.setattr(module, "derive_keypoints", lambda file, bundle, allow_print: derived)
    for name in ("SURNAME.npz", "SURNAME/SURNAME.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / name, frames=np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "notes.txt").write_text("not a clip")
    result = module.evaluate(tiny_pipeline, tmp_path, sampling=Sampling(steps=1), show=False)
    scores = result.scores["frames"]
    assert set(scores["clip"]) == {"clip 1", "clip 2"} and set(scores["frame"]) == {1, 2, 3}
    scores = scores[scores["clip"] == "clip 1"]
    still = scores[scores["method"] == "no edit"].set_index("frame")
    assert still.loc[2, "MSE_img"] == 0 and still.loc[1, "MSE_img"] > 0 and still.loc[1, "MD"] > 0.5
    assert scores[scores["method"] == "KDM"]["MD"].isna().all()
    assert "SURNAME" not in str(result.record) and any("third of the beat" in t.title for t in result.tables)


def test_thirds_of_beats():
    def volumes(frames: int, knots: dict[int, float]) -> np.ndarray:
        return np.interp(np.arange(frames), list(knots), list(knots.values()))

    two = beat_thirds(volumes(20, {2: 9, 6: 4, 11: 9, 15: 4, 19: 8}), [(2, 6), (11, 15)])
    assert two[2:11].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and two[0] == 2 and two[11] == 0
    one = beat_thirds(volumes(30, {0: 9, 11: 4, 29: 9}), [(0, 11)])  # its length is told by its systole
    assert one[0] == 0 and one[11] == 1 and one[29] == 2
    seen = beat_thirds(volumes(30, {0: 9, 11: 4, 24: 9, 29: 7}), [(0, 11)])  # full again at frame 24
    assert np.flatnonzero(np.diff(seen)).tolist() == [7, 15, 23] and seen[24] == 0
    backwards = beat_thirds(volumes(30, {0: 6, 5: 4, 21: 9, 29: 5}), [(21, 5)])  # it starts in systole
    assert backwards[21] == backwards[0] == 0 and backwards[5] == 1 and backwards[20] == 2
