"""Faces, bodies, motion transfer, conditions and views: known key-points come back, every planted problem is told at
once."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.core.errors import ClipError, ConfigError, DataError, GeometryError
from echokdm.data.adapters import find_adapter

POINTS = np.stack([np.arange(68) % 10 + 3.0, np.arange(68) // 10 + 4.0], 1)


def write_pts(path: Path, points: np.ndarray) -> None:
    lines = "".join(f"{x + 1} {y + 1}\n" for x, y in points)
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n{lines}}}\n")


def test_pts(tmp_path: Path, make: SimpleNamespace) -> None:
    for name in ("trainset/a", "testset/b", "testset/unmarked"):
        make.picture(tmp_path / f"{name}.png")
    write_pts(tmp_path / "trainset" / "a.pts", POINTS)
    write_pts(tmp_path / "testset" / "b.pts", POINTS + 100)
    adapter = find_adapter("faces-pts")
    index = adapter.index(tmp_path)
    assert list(index["sequence"]) == ["testset/b", "trainset/a"] and list(index["split"]) == ["test", "train"]
    item = adapter.read(index.iloc[1])
    np.testing.assert_allclose(item.keypoints[0], POINTS)
    assert item.visible.all() and item.schema.name == "ibug-68" and item.frames.shape == (1, 3, 16, 16)
    with pytest.raises(GeometryError, match="another image"):
        adapter.read(index.iloc[0])
    (tmp_path / "testset" / "c.pts").write_text("nothing")
    assert make.found_by("faces-pts", tmp_path) == (
        {"without a picture": ["testset/c.pts"]},
        ["testset/b", "trainset/a"],
    )
    for text in ("", "n_points: 68\n{\n1 2\n}", "n_points: 1\n{\n1 2\n}", "n_points: 68\n{\na b\n}"):
        (tmp_path / "trainset" / "a.pts").write_text(text)
        with pytest.raises(GeometryError, match=".pts file"):
            adapter.read(index.iloc[1])


def test_pts_of_a_real_face(test_data: Path) -> None:
    adapter = find_adapter("faces-pts")
    row = adapter.index(test_data / "face").iloc[0]
    item = adapter.read(row)
    assert item.size == (1024, 817) and item.visible.all()
    np.testing.assert_allclose(item.keypoints[0, 0], [356.417253, 307.455774], rtol=1e-5)
    eyes, mouth = item.keypoints[0, 36:48].mean(0), item.keypoints[0, 48:].mean(0)
    assert mouth[1] > eyes[1] + 20


def dlib_xml(path: Path, files: dict[str, int]) -> None:
    part = "".join(f"<part name='{i:02d}' x='{x:g}' y='{y:g}'/>" for i, (x, y) in enumerate(POINTS))
    box = "<box top='1' left='1' width='9' height='9'>{}</box>"
    images = "".join(
        f"<image file='{file}'>{box.format(part) * n if n else box.format('')}</image>" for file, n in files.items()
    )
    path.write_text(f"<dataset><name>x</name><images>{images}</images></dataset>")


def test_dlib_xml(tmp_path: Path, make: SimpleNamespace) -> None:
    for name in ("one/a.png", "one/b.png"):
        make.picture(tmp_path / name)
    dlib_xml(tmp_path / "labels_train.xml", {"one/a.png": 2})
    dlib_xml(tmp_path / "labels_test.xml", {"one/b.png": 1})
    dlib_xml(tmp_path / "labels.xml", {"one/a.png": 2, "one/b.png": 1})
    adapter = find_adapter("faces-dlib")
    index = adapter.index(tmp_path)
    splits = dict(zip(index["sequence"], index["split"], strict=True))
    assert splits == {"one/a.png#0": "train", "one/a.png#1": "train", "one/b.png#0": "test"}
    np.testing.assert_allclose(adapter.read(index.iloc[0]).keypoints[0], POINTS)
    dlib_xml(tmp_path / "labels_train.xml", {"one/a.png": 0, "one/gone.png": 1, "../b.png": 1, "one/b.png": 1})
    (tmp_path / "labels_val.xml").write_text("<dataset><images>")
    (tmp_path / "bomb_train.xml").write_text('<!DOCTYPE d [<!ENTITY a "b">]><dataset/>')
    problems, _ = make.found_by("faces-dlib", tmp_path)
    assert problems == {
        "unreadable": ["bomb_train.xml", "labels_val.xml"],
        "without parts 0 to 67": ["one/a.png (box 0)"],
        "refused, since the name leads out of the folder": ["../b.png"],
        "missing": ["one/gone.png"],
        "listed twice": ["one/b.png#0"],
        "in two splits": ["one/b.png"],
    }


def test_celebv_hq(tmp_path: Path, make: SimpleNamespace) -> None:
    def clip(video: str) -> dict:
        return {
            "ytb_id": video,
            "duration": {"start_sec": 1.0, "end_sec": 2.5},
            "bbox": {"top": 0, "bottom": 1, "left": 0, "right": 1},
            "attributes": {"appearance": [0, 1]},
        }

    info = tmp_path / "celebvhq_info.json"
    info.write_text(json.dumps({"clips": {"v_0": clip("v"), "v_1": clip("v")}}))
    for name in ("v_0", "v_1"):
        make.video(tmp_path / "processed" / f"{name}.mp4", width=32, height=32)
    points = np.tile(POINTS, (4, 1, 1))
    points[3, 5] = np.nan
    np.save(tmp_path / "processed" / "v_0.npy", points)
    adapter = find_adapter("celebv-hq")
    index = adapter.index(tmp_path)
    assert (
        list(index["subject"]) == ["v", "v"]
        and list(index["appearance"]) == [(0, 1)] * 2
        and list(index["end"]) == [2.5, 2.5]
    )
    item = adapter.read(index.iloc[0])
    np.testing.assert_allclose(item.keypoints[1], POINTS)
    assert not item.visible[3, 5] and item.visible.sum() == 4 * 68 - 1 and adapter.read(index.iloc[1]).keypoints is None
    np.save(tmp_path / "processed" / "v_0.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(GeometryError, match="no array of numbers"):
        adapter.read(index.iloc[0])
    info.write_text(json.dumps({"clips": {"v_0": clip("v"), "v_2": clip("v"), "../v": clip("v")}}))
    problems, usable = make.found_by("celebv-hq", tmp_path)
    assert problems == {
        "missing": ["v_2.mp4"],
        "refused, since the name leads out of the folder": ["../v"],
    } and usable == ["v_0"]
    info.write_bytes(b"\x80\x04\x95rest")
    with pytest.raises(DataError, match="pickle"):
        adapter.index(tmp_path)


def openpose_folder(root: Path, people: list[list[list[float]]], make: SimpleNamespace) -> Path:
    """`clip_json/` and `clip.gif`, one entry of `people` a frame: each person flat, x, y, confidence."""
    make.video(root / "clip.gif", frames=len(people), width=64, height=64)
    (root / "clip_json").mkdir()
    for t, frame in enumerate(people):
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": person} for person in frame]}
        (root / "clip_json" / f"clip_{t}_keypoints.json").write_text(json.dumps(content))
    return root


def test_openpose_largest_person_and_masks(tmp_path: Path, make: SimpleNamespace) -> None:
    joints = np.stack([np.linspace(5, 50, 18), np.linspace(8, 60, 18), np.full(18, 0.8)], 1)
    joints[4] = 0
    small = joints * (0.2, 0.2, 1)
    folder = openpose_folder(tmp_path, [[small.ravel().tolist(), joints.ravel().tolist()], []], make)
    adapter = find_adapter("openpose")
    row = adapter.index(folder).iloc[0]
    item = adapter.read(row)
    assert (
        item.schema.name == "openpose-18"
        and item.visible[0].sum() == 17
        and not item.visible[0, 4]
        and not item.visible[1].any()
    )
    assert item.labels["frames_without_person"] == 1
    told = CliRunner().invoke(app, ["data", "check", "openpose", str(folder)])
    assert told.exit_code == 0 and "1 of 2 frames without a person" in told.stdout, told.output
    np.testing.assert_allclose(item.keypoints[0], joints[:, :2])
    first = type(adapter)(person=0).read(row)
    np.testing.assert_allclose(first.keypoints[0], small[:, :2], rtol=1e-6)
    with pytest.raises(ConfigError, match="largest"):
        type(adapter)(person="tallest")
    with pytest.raises(GeometryError, match="No person"):
        type(adapter)(person=5).read(row)
    (folder / "clip_json" / "clip_1_keypoints.json").write_text('{"people": 3}')
    with pytest.raises(GeometryError, match="not OpenPose's"):
        adapter.read(row)
    (folder / "clip_json" / "clip_1_keypoints.json").unlink()
    with pytest.raises(GeometryError, match="1 frames, the clip has 2"):
        adapter.read(adapter.index(folder).iloc[0])
    (folder / "clip.gif").unlink()
    assert make.found_by("openpose", folder)[0] == {"without a clip": ["clip_json"]}


def test_openpose_frames_come_in_the_order_of_their_numbers(tmp_path: Path, make: SimpleNamespace) -> None:
    people = [[np.tile([float(t + 1), 2.0, 1.0], 18).tolist()] for t in range(12)]
    adapter = find_adapter("openpose")
    item = adapter.read(adapter.index(openpose_folder(tmp_path, people, make)).iloc[0])
    assert item.keypoints[:, 0, 0].tolist() == [t + 1 for t in range(12)]


def test_openpose_real_clip_is_body_25b(test_data: Path) -> None:
    adapter = find_adapter("openpose")
    item = adapter.read(adapter.index(test_data / "pose").iloc[0])
    assert item.schema.name == "openpose-body25b" and item.frames.shape[0] == 100
    np.testing.assert_allclose(item.keypoints[0, 0], [505.232, 431.63], rtol=1e-5)


def test_body_25_is_told_by_its_limbs(test_data: Path, tmp_path: Path, make: SimpleNamespace) -> None:
    """The real people, put into BODY_25's order by their joints' names."""
    from echokdm.core.schemas import OPENPOSE_BODY_25, OPENPOSE_BODY_25B

    frames = []
    for file in sorted((test_data / "pose" / "pose2sim_cam01_json").glob("*.json"))[:5]:
        joints = np.reshape(json.loads(file.read_text())["people"][0]["pose_keypoints_2d"], (25, 3)) * (0.03, 0.03, 1)
        named = dict(zip(OPENPOSE_BODY_25B.names, joints, strict=True))
        named["neck"] = (named["left_shoulder"] + named["right_shoulder"]) / 2
        named["mid_hip"] = (named["left_hip"] + named["right_hip"]) / 2
        frames.append([np.stack([named[name] for name in OPENPOSE_BODY_25.names]).ravel().tolist()])
    folder = openpose_folder(tmp_path, frames, make)
    adapter = find_adapter("openpose")
    row = adapter.index(folder).iloc[0]
    assert adapter.read(row).schema.name == "openpose-body25"
    assert find_adapter("openpose-body25b").read(row).schema.name == "openpose-body25b"
    alone = [[[20.0, 20.0, 1.0] + [0.0] * 72]]
    folder = openpose_folder(tmp_path / "alone", alone, make)
    with pytest.raises(GeometryError, match="BODY_25 or BODY_25B"):
        adapter.read(adapter.index(folder).iloc[0])


def test_ixmas(tmp_path: Path, make: SimpleNamespace) -> None:
    for k in range(5):
        make.picture(tmp_path / "alba1_png" / f"cam{k}" / "img0000.png")
    (tmp_path / "alba1_truth.txt").write_text("")
    person = np.tile([5.0, 6.0, 0.5], 25).tolist()
    (tmp_path / "alba1_json" / "cam2").mkdir(parents=True)
    (tmp_path / "alba1_json" / "cam2" / "img0000.json").write_text(
        json.dumps({"people": [{"pose_keypoints_2d": person}]})
    )
    adapter = find_adapter("ixmas")
    index = adapter.index(tmp_path)
    assert list(index["camera"]) == [0, 1, 2, 3, 4] and set(index["subject"]) == {"alba"}
    assert adapter.read(index.iloc[0]).keypoints is None and adapter.read(index.iloc[2]).keypoints[0, 7].tolist() == [
        5,
        6,
    ]
    (tmp_path / "alba1_truth.txt").unlink()
    shutil.rmtree(tmp_path / "alba1_png" / "cam4")
    assert make.found_by("ixmas", tmp_path)[0] == {"missing": ["alba1 (its _truth.txt)", "alba1_png (its cam4/)"]}


def test_deepfashion_pairs(tmp_path: Path, make: SimpleNamespace) -> None:
    ys, xs = list(range(18)), [-1, *range(1, 18)]
    ys[0] = -1
    for split, names in (("train", ("p1_1front", "p1_2side", "p2_1front")), ("test", ("p3_1front", "p3_2back"))):
        for k, name in enumerate(names):
            make.picture(tmp_path / split / f"{name}.jpg", 24, 32, (40 * k, 0, 200))
        lines = "".join(f"{name}.jpg:{json.dumps(ys)}:{json.dumps(xs)}\n" for name in names)
        (tmp_path / f"fasion-annotation-{split}.csv").write_text(f"name:keypoints_y:keypoints_x\n{lines}")
        (tmp_path / f"fasion-pairs-{split}.csv").write_text(f"from,to\n{names[0]}.jpg,{names[1]}.jpg\n")
    adapter = find_adapter("deepfashion")
    index = adapter.index(tmp_path)
    assert list(index["subject"]) == ["p1", "p3"] and list(index["split"]) == ["train", "test"]
    item = adapter.read(index.iloc[0])
    assert item.frames.shape == (2, 3, 32, 24) and not item.visible[:, 0].any() and item.visible[:, 1:].all()
    assert item.keypoints[1, 5].tolist() == [5, 5] and item.frames[1, 0].mean() > item.frames[0, 0].mean()
    with (tmp_path / "fasion-pairs-train.csv").open("a") as file:
        file.write("p1_1front.jpg,p2_1front.jpg\np1_1front.jpg,p9.jpg\n../x.jpg,p1_1front.jpg\np1_3.jpg,p1_4.jpg\n")
    make.picture(tmp_path / "train" / "p1_3.jpg")
    make.picture(tmp_path / "train" / "p1_4.jpg")
    with (tmp_path / "fasion-annotation-train.csv").open("a") as file:
        file.write("p1_4.jpg:[1, 2]:[1, 2]\n")
    (tmp_path / "fasion-annotation-test.csv").write_text("name,x\n")
    problems, _ = make.found_by("deepfashion", tmp_path)
    assert problems == {
        "refused, since the name leads out of the folder": ["../x.jpg"],
        "missing": ["p9.jpg"],
        "without an annotation": ["p1_3.jpg"],
        "without 18 joints": ["p1_4.jpg"],
        "pairs of two people": ["p1_1front.jpg"],
        "wrong columns": ["fasion-annotation-test.csv (lacks name, keypoints_y, keypoints_x)"],
    }


def test_market_identity(tmp_path: Path, make: SimpleNamespace) -> None:
    joints = json.dumps([3] * 18)
    for split, person in (("train", "0002"), ("test", "0002")):
        names = [f"{person}_c{k}s1_000.jpg" for k in (1, 2)]
        for name in names:
            make.picture(tmp_path / split / name, 64, 128)
        (tmp_path / f"market-annotation-{split}.csv").write_text(
            "name: keypoints_y: keypoints_x\n" + "".join(f"{name}: {joints}: {joints}\n" for name in names)
        )
        (tmp_path / f"market-pairs-{split}.csv").write_text(f"from,to\n{names[0]},{names[1]}\n")
    problems, usable = make.found_by("market-1501", tmp_path)
    assert problems == {"in two splits": ["0002"]} and len(usable) == 2


def test_motion_transfer(tmp_path: Path, make: SimpleNamespace) -> None:
    make.video(tmp_path / "train" / "id1#a#1.mp4", width=32, height=32)
    make.picture(tmp_path / "train" / "id1#b#2.mp4" / "0000000.png", 32, 32)
    make.picture(tmp_path / "train" / "id1#b#2.mp4" / "0000001.png", 32, 32)
    strip = np.zeros((8, 24, 3), np.uint8)
    strip[:, 8:16, 0] = 255
    (tmp_path / "test").mkdir()
    Image.fromarray(strip).save(tmp_path / "test" / "strip.png")
    adapter = find_adapter("voxceleb")
    index = adapter.index(tmp_path)
    assert list(index["kind"]) == ["video", "folder", "strip"] and list(index["subject"]) == ["id1", "id1", "strip"]
    items = [adapter.read(row) for row in index.to_dict("records")]
    assert [tuple(item.frames.shape) for item in items] == [(4, 1, 32, 32), (2, 3, 32, 32), (3, 3, 8, 8)]
    assert items[2].frames.mean((2, 3))[:, 0].tolist() == [0, 1, 0] and items[0].keypoints is None
    Image.fromarray(strip[:, :20]).save(tmp_path / "test" / "strip.png")
    with pytest.raises(ClipError, match="square frames"):
        adapter.read(adapter.index(tmp_path).iloc[2])
    (tmp_path / "test" / "notes.txt").write_text("x")
    (tmp_path / "test" / "id1#c.gif").touch()
    problems, usable = make.found_by("taichi-hd", tmp_path)
    assert (
        problems == {"neither video, picture nor folder": ["notes.txt"], "in two splits": ["id1"]} and len(usable) == 4
    )
    shutil.rmtree(tmp_path / "test")
    assert make.found_by("mgif", tmp_path)[0] == {"missing": ["test/"]}


def test_churches_and_edges(tmp_path: Path, make: SimpleNamespace) -> None:
    for name in ("a", "b"):
        make.picture(tmp_path / "images" / f"{name}.jpg")
        make.picture(tmp_path / "conditions" / f"{name}.png", colour=(9, 9, 9))
    (tmp_path / "references.csv").write_text("key,ref1,ref2\na.jpg,b.jpg,a\n")
    adapter = find_adapter("lsun-churches")
    index = adapter.index(tmp_path)
    assert list(index["ref1"]) == ["b", ""] and list(index["ref2"]) == ["a", ""]
    item = adapter.read(index.iloc[0])
    np.testing.assert_allclose(item.labels["condition"], np.full((1, 1, 16, 16), 9 / 255), atol=1e-6)
    make.picture(tmp_path / "images" / "c.jpg")
    make.picture(tmp_path / "conditions" / "d.png")
    make.picture(tmp_path / "conditions" / "b.png", 8, 8)
    with (tmp_path / "references.csv").open("a") as file:
        file.write("b,../a,z\n")
    problems, usable = make.found_by("lsun-churches", tmp_path)
    assert problems == {
        "without a condition": ["c.jpg"],
        "conditions without a picture": ["d.png"],
        "refused, since the name leads out of the folder": ["../a"],
        "listed in references.csv, but missing": ["z"],
    }
    with pytest.raises(ClipError, match="8 x 8 pixels, its picture 16 x 16"):
        adapter.read(index.iloc[1])
    shutil.rmtree(tmp_path / "conditions")
    (tmp_path / "references.csv").unlink()
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, 16:] = 255
    Image.fromarray(half).save(tmp_path / "images" / "a.jpg", quality=100)
    faces = find_adapter("celeba-hq")
    edges = faces.read(faces.index(tmp_path).iloc[0]).labels["condition"]
    assert edges.shape == (1, 1, 32, 32) and set(edges.unique().tolist()) == {0, 1}
    assert edges[0, 0, 16].nonzero().flatten().tolist() in ([15], [16])
    assert make.found_by("lsun-churches", tmp_path)[0] == {"missing": ["conditions/"]}


def test_views(tmp_path: Path, make: SimpleNamespace) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data_chair.hdf5", "w") as file:
        for name in ("m1_0_10", "m1_20_10", "m2_0_10"):
            file[f"{name}/image"] = np.full((8, 8, 3), 255, np.uint8)
            file[f"{name}/pose"] = np.array([0.0, 10.0])
        file["m2_0_20/image"] = np.zeros((8, 8, 3), np.uint8)
        file["noname/image"] = 0
    adapter = find_adapter("shapenet-chairs")
    (tmp_path / "id_train.txt").write_text("m1_0_10\nm1_20_10\n")
    (tmp_path / "id_test.txt").write_text("m2_0_10\nm1_20_10\nm9_0_0\n")
    problems, usable = make.found_by("shapenet-chairs", tmp_path)
    assert problems == {
        "of an unknown form of name": ["noname"],
        "missing": ["m9_0_0"],
        "in two splits": ["m1_20_10", "m1", "m2"],
    }
    assert usable == ["m1_0_10", "m1_20_10", "m2_0_10", "m2_0_20"]
    with h5py.File(tmp_path / "data_chair.hdf5", "a") as file:
        del file["noname"]
    (tmp_path / "id_test.txt").write_text("m2_0_10\nm2_0_20\n")
    index = adapter.index(tmp_path / "data_chair.hdf5")
    assert list(index["subject"]) == ["m1", "m1", "m2", "m2"] and list(index["split"]) == [
        "train",
        "train",
        "test",
        "test",
    ]
    item = adapter.read(index.iloc[1])
    assert item.frames.shape == (1, 3, 8, 8) and item.frames.min() == 1 and item.labels["pose"].tolist() == [0, 10]
    with pytest.raises(ClipError, match="lacks its image or pose"):
        adapter.read(index.iloc[3])
    data = (tmp_path / "data_chair.hdf5").read_bytes()
    (tmp_path / "data_chair.hdf5").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated"):
        adapter.index(tmp_path)
    (tmp_path / "data_chair.hdf5").write_bytes(b"\x80\x04\x95rest")
    with pytest.raises(DataError, match="pickle"):
        adapter.index(tmp_path)


def test_views_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "echokdm.data.adapters.views", raising=False)
    with pytest.raises(ConfigError, match=r"'kitti' is not available: .*pip install 'echokdm\[hdf5\]'"):
        find_adapter("kitti")
