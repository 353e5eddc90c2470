"""`echokdm generate`: what was asked reaches the method, outputs are whole, wrong wishes are one sentence."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core import defaults
from echokdm.core.errors import ConfigError, GeometryError
from echokdm.methods.generate import PictureWish, generate
from echokdm.ops.resample import rescale_centres
from echokdm.ops.warp import sample_points
from echokdm.phantom.face import FacePhantom

RUNNER = CliRunner()
TINY = """
method: kdm
name: tiny-face
size: 64
precision: "no"
flow_target: truth
data: {phantom: face, patients: 2, procedural: 2, held_out: 1, cache: CACHE}
of_net: {steps: 0}
image_codec: {steps: 1, batch: 1, block_out_channels: [8, 8], codes: 16, perceptual: null, discriminator_weight: 0}
flow_codec: {steps: 1, batch: 1, block_out_channels: [8, 8, 8], latent_channels: 4, codes: 16, perceptual: null, discriminator_weight: 0}
k2f: {steps: 1, batch: 1, block_out_channels: [8, 32], prediction: v_prediction}
f2i: {steps: 1, batch: 1, block_out_channels: [8, 16], prediction: v_prediction}
k2i: {steps: 0}
landmarks: {steps: 1, batch: 1}
"""


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A folder with a bundle, a face as `face.png` with `face.pts`, and another pose of it as `pose.npy`; 128 px."""
    from echokdm.methods.train import train_config

    folder = tmp_path_factory.mktemp("face")
    (folder / "tiny.yaml").write_text(TINY.replace("CACHE", str(folder / "cache")))
    train_config(folder / "tiny.yaml", out=folder / "run")
    phantom, phases = FacePhantom([5], 128), torch.tensor([[0.0, 0.3]])
    frames, points = phantom.frames(phases)[0], phantom.keypoints(phases)[0].numpy()
    Image.fromarray((frames[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(folder / "face.png")
    rows = "\n".join(f"{x + 1:.3f} {y + 1:.3f}" for x, y in points[0])
    (folder / "face.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    np.save(folder / "pose.npy", points)
    return folder


def test_keypoints_in_the_pictures_own_pixels_are_carried_to_the_models(face):
    whole = generate(
        face / "run" / "bundle",
        [face / "face.png"],
        PictureWish(keypoints=face / "pose.npy"),
        source_keypoints=[face / "face.pts"],
        whole=True,
    )
    truth = torch.from_numpy(np.load(face / "pose.npy"))
    assert torch.allclose(whole.request.target_keypoints, (truth + 0.5) / 2 - 0.5, atol=1e-3)
    assert torch.allclose(whole.request.source_keypoints[0], whole.request.target_keypoints[0], atol=2e-3)
    assert whole.made.frames.shape == (2, 3, 64, 64) and whole.made.flow.shape == (2, 2, 64, 64)
    cut = generate(
        face / "run" / "bundle",
        [face / "face.png"],
        PictureWish(keypoints=face / "pose.npy"),
        source_keypoints=[face / "face.pts"],
    )
    box = cut.request.source_keypoints[0].amax(0) - cut.request.source_keypoints[0].amin(0)
    assert 0.5 < float(box.max()) / 64 < 0.6  # 1 / 1.8 of the square


def test_drag_and_gamma(face):
    dragged = generate(
        face / "run" / "bundle",
        [face / "face.png"],
        PictureWish(drag={30: (3.0, -2.0)}),
        source_keypoints=[face / "face.pts"],
        whole=True,
    )
    assert len(dragged.made.frames) == 1
    # The flow is made to carry the points: where the nose's tip goes, the flow leads back to where it was.
    flow = dragged.made.carried.flow
    finer = flow.shape[-1] / 64
    assert torch.allclose(
        dragged.request.target_keypoints[0, 30] - dragged.request.source_keypoints[0, 30], torch.tensor([1.5, -1.0])
    )
    back = sample_points(flow, rescale_centres(dragged.request.target_keypoints[:, 30:31], 1 / finer))[0, 0] / finer
    assert torch.allclose(back, torch.tensor([-1.5, 1.0]), atol=0.3)
    swept = generate(
        face / "run" / "bundle",
        [face / "face.png"],
        PictureWish(keypoints=face / "pose.npy", gammas=[0.0, 0.5, 1.0]),
        source_keypoints=[face / "face.pts"],
        whole=True,
    )
    assert torch.equal(swept.made.flow[0], torch.zeros(2, 64, 64)) and torch.allclose(
        swept.made.flow[1] * 2, swept.made.flow[2], atol=1e-5
    )


def test_a_photo_comes_back_at_its_own_size_and_untouched_further_off(face):
    """The phantom drawn at 128 px into a larger picture, of which the model sees a square of 64 px."""
    phantom = FacePhantom([5], 128)
    photo = torch.rand(3, 200, 310, generator=torch.Generator().manual_seed(0)) * 0.2
    photo[:, 30:158, 90:218] = phantom.frames(torch.zeros(1, 1))[0, 0]
    pixels = (photo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(face / "photo.png")
    np.save(face / "photo.npy", phantom.keypoints(torch.zeros(1, 1))[0].numpy() + np.float32([90, 30]))
    wish = PictureWish(drag={i: (0.0, 9.0) for i in (*range(6, 11), 56, 57, 58, 65, 66, 67)})
    made = generate(face / "run" / "bundle", [face / "photo.png"], wish, source_keypoints=[face / "photo.npy"])
    assert made.frames.shape == (1, 3, 200, 310)
    result = (made.frames[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    changed = np.abs(result.astype(int) - pixels).max(2) > 0
    points = np.load(face / "photo.npy")[0]
    margin = 0.2 * np.ptp(points, axis=0).max() + 2
    assert changed.any()
    assert (
        not changed[: int(points[48:, 1].min() - margin)].any()
        and not changed[int(points[:, 1].max() + 9 + margin) :].any()
    )
    assert (
        not changed[:, : int(points[:, 0].min() - margin)].any()
        and not changed[:, int(points[:, 0].max() + margin) :].any()
    )


def test_a_page_tells_in_words_what_was_asked(face, tmp_path):
    words = [
        "generate",
        "--bundle",
        str(face / "run" / "bundle"),
        "--source",
        str(face / "face.png"),
        "--source-keypoints",
        str(face / "face.pts"),
        "--drag",
        "30-31:3,-2",
        "--drag",
        "8:0,4",
        "--out",
        str(tmp_path / "out"),
    ]
    assert RUNNER.invoke(app, words).exit_code == 0
    assert {f.name for f in (tmp_path / "out").iterdir()} == {"generated.png", "strip.png", "run.json", "report.html"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "30, 31 by (3, -2) pixels; 8 by (0, 4) pixels" in page and "1 of 128 x 128 pixels" in page
    assert not any(sign in page.split("</style>")[1] for sign in ("{'", "[0", "None", "True"))


def test_a_driving_clip_is_followed_by_what_the_detector_finds(face):
    np.savez_compressed(
        face / "drive.npz",
        frames=(FacePhantom([9], 64).frames(torch.arange(3)[None] / 8)[0].permute(0, 2, 3, 1).numpy() * 255).astype(
            np.uint8
        ),
        fps=10.0,
    )
    out = generate(
        face / "run" / "bundle", [face / "face.png"], PictureWish(driving=face / "drive.npz", relative=True), whole=True
    )
    assert len(out.made.frames) == 3 and out.fps == 10.0
    assert torch.allclose(out.made.flow[0].abs().max(), torch.tensor(0.0), atol=8.0)


def test_the_command_writes_all_of_its_outputs_twice_the_same(face, tmp_path):
    words = [
        "generate",
        "--bundle",
        str(face / "run" / "bundle"),
        "--source",
        str(face / "face.png"),
        "--source-keypoints",
        str(face / "face.pts"),
        "--keypoints",
        str(face / "pose.npy"),
        "--seed",
        "3",
    ]
    for name in ("a", "b"):
        result = RUNNER.invoke(app, [*words, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    names = {"frames", "generated.mp4", "generated.gif", "strip.png", "run.json", "report.html"}
    assert {f.name for f in (tmp_path / "a").iterdir()} == names
    assert [f.name for f in sorted((tmp_path / "a" / "frames").iterdir())] == ["00000.png", "00001.png"]
    for name in [*names - {"report.html", "frames"}, "frames/00001.png"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert json.loads((tmp_path / "a" / "run.json").read_text())["method"] == "kdm"
    assert "face.png" not in (tmp_path / "a" / "report.html").read_text()
    assert "exists already" in RUNNER.invoke(app, [*words, "--out", str(tmp_path / "a")]).output


def test_a_picture_in_which_no_face_is_found_is_refused(face):
    with pytest.raises(GeometryError, match="No face"):
        generate(face / "run" / "bundle", [face / "face.png"], PictureWish(driving=face / "face.png"))


def test_keypoints_of_another_picture_are_refused(face):
    np.save(face / "far.npy", np.load(face / "pose.npy")[:1] + 200)
    with pytest.raises(GeometryError, match="belong to another one"):
        generate(
            face / "run" / "bundle",
            [face / "face.png"],
            PictureWish(keypoints=face / "pose.npy"),
            source_keypoints=[face / "far.npy"],
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"condition": "face.png"}, "does not take --condition"),
        ({"sources": 2}, "does not take several --source"),
        ({}, "--driving, --keypoints or --drag"),
        ({"drag": {8: (1, 1)}, "driving": "face.png"}, "leave --driving and --keypoints out"),
        ({"drag": {68: (1, 1)}, "source_keypoints": ["face.pts"]}, "points 0 to 67"),
        ({"sources": 0}, "at least one picture"),
    ],
)
def test_a_wish_that_the_method_does_not_know_is_told(face, options, words):
    sources, files = (
        [face / "face.png"] * options.pop("sources", 1),
        [face / file for file in options.pop("source_keypoints", ())],
    )
    wish = PictureWish(**{k: face / v if isinstance(v, str) else v for k, v in options.items()})
    with pytest.raises(ConfigError, match=words):
        generate(face / "run" / "bundle", sources, wish, source_keypoints=files, whole=True)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("none.pts", "key-points does not exist"),
        ("face.png", "of no kind that is known"),
        ("wrong.npy", "needs \\(T, 68, 2\\)"),
        ("person.json", "hold openpose-18 joints"),
    ],
)
def test_keypoints_of_another_kind_are_told(face, file, words):
    np.save(face / "wrong.npy", np.zeros((4, 2)))
    (face / "person.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [10.0, 12.0, 1.0] * 18}]}))
    with pytest.raises(GeometryError, match=words):
        generate(
            face / "run" / "bundle",
            [face / "face.png"],
            PictureWish(keypoints=face / file),
            source_keypoints=[face / "face.pts"],
        )


def test_frames_without_anybody_are_counted(face):
    """Of a folder of OpenPose's files, some of which hold no person."""
    from echokdm.core.schemas import schema
    from echokdm.data.keypoint_files import read_keypoints

    folder = face / "people"
    folder.mkdir()
    person = {"pose_keypoints_2d": [10.0, 12.0, 1.0] * 18}
    for number, people in enumerate(([], [person], [])):
        (folder / f"{number}.json").write_text(json.dumps({"people": people}))
    assert read_keypoints(folder, schema("openpose-18")).isnan().all(-1).all(-1).tolist() == [True, False, True]
    (folder / "1.json").unlink()
    with pytest.raises(GeometryError, match="No person is found in any of the 2 files"):
        read_keypoints(folder, schema("openpose-18"))
    pose = np.load(face / "pose.npy")
    pose[1:] = np.nan
    np.save(face / "gaps.npy", pose)
    made = generate(
        face / "run" / "bundle",
        [face / "face.png"],
        PictureWish(keypoints=face / "gaps.npy"),
        source_keypoints=[face / "face.pts"],
    )
    assert made.empty == len(pose) - 1 > 0


def test_a_drag_of_no_point_is_refused_before_a_picture_is_read(face):
    with pytest.raises(ConfigError, match="points 0 to 67"):
        generate(
            face / "run" / "bundle",
            [face / "none.png"],
            PictureWish(drag={68: (1.0, 1.0)}),
            source_keypoints=[face / "face.pts"],
        )


def test_an_echo_bundle_leads_to_synth(face):
    with pytest.raises(ConfigError, match="echokdm synth"):
        generate(defaults.BUNDLE, [face / "face.png"], PictureWish(drag={0: (1.0, 1.0)}))
