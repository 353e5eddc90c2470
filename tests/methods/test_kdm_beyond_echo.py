"""The same KDM on faces and bodies: three channels, their own key-points, some of them hidden."""

import pytest
import torch

from echokdm.core.errors import BundleError, GeometryError
from echokdm.evaluation.run import evaluate
from echokdm.methods.kdm.pipeline import KDMPipeline


@pytest.fixture(scope="module", params=["face", "body"])
def trained(request, tiny_yaml, train_tiny):
    text = tiny_yaml.replace("size: 112", "size: 64").replace("data: {", f"data: {{phantom: {request.param}, ")
    bundle = train_tiny(text, request.param) / "run" / "bundle"
    return request.param, KDMPipeline.from_pretrained(bundle), bundle


def test_a_bundle_knows_its_keypoints_and_makes_colour_pictures(trained):
    kind, pipe, _ = trained
    count = {"face": 68, "body": 18}[kind]
    assert pipe.segmenter is None and len(pipe.schema) == count
    source, points = torch.rand(1, 3, 64, 64), torch.rand(3, count, 2) * 40 + 10
    points[1, 5:] = torch.nan  # seen in one frame alone
    out = pipe(source, points[0], points, sector=torch.ones(64, 64, dtype=torch.bool))
    assert out.frames.shape == (3, 3, 64, 64) and out.frames.isfinite().all() and out.flow.isfinite().all()
    again = pipe(source, points[0], points[1:2], sector=torch.ones(64, 64, dtype=torch.bool))
    assert torch.equal(again.frames[0], out.frames[1])


def test_keypoints_of_another_kind_are_refused_and_there_is_no_ventricle_to_find(trained):
    _, pipe, _ = trained
    sector = torch.ones(64, 64, dtype=torch.bool)
    with pytest.raises(GeometryError, match=pipe.schema.name):
        pipe(torch.rand(1, 3, 64, 64), torch.rand(40, 2), torch.rand(2, 40, 2), sector=sector)
    with pytest.raises(BundleError, match="no segmenter"):
        pipe.segment(torch.rand(2, 1, 64, 64), sector, 30.0)


def test_a_bundle_is_scored_on_its_own_kind_of_phantom(trained, tmp_path, monkeypatch, no_weights):
    kind, _, bundle = trained
    monkeypatch.chdir(tmp_path)
    result = evaluate(bundle, f"phantom-{kind}:4", show=False)
    rows = dict(result.tables[0].rows)
    assert {"no edit", "KDM", "KDM without F2I", "KDM without K2F"} <= set(rows) and result.record[
        "data"
    ] == f"phantom-{kind}, split test"
    assert "squeezenet1_1-b8a52dc0.pth" in result.record["LPIPS"]
