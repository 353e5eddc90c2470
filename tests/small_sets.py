"""Small folders in the layout of every adapter, of random pictures no two of which are alike; for tests and
`benchmarks/leaks.py`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

JOINTS = 18
ELLIPSE_ROWS = 20


def picture(path: Path, seed: int, width: int = 24, height: int = 32) -> None:
    """A picture of noise, of its own by its seed; PNG or JPEG by its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(path)


def video(path: Path, seed: int, frames: int = 5, side: int = 32) -> None:
    """A GIF or AVI of gray noise, whose frames differ."""
    from echokdm.io.write import write_avi, write_gif

    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).random((frames, 1, 4, 4), dtype=np.float32)
    array = coarse.repeat(side // 4, 2).repeat(side // 4, 3)
    if path.suffix == ".avi":
        write_avi(path, array, 25.0, size=None)
    else:
        write_gif(path, array, 25.0)


def pose_pairs(root: Path, prefix: str, name: Callable[[int, int], str], people: int = 2, pictures: int = 4) -> Path:
    """Pose-transfer pairs: every ordered pair of `pictures` pictures of each of `people` people a split, less those
    back to picture 0.

    name(person, picture): of a file. So that a direction can be told, nothing is ever to be made into picture 0.
    """
    joints = json.dumps(list(range(3, 3 + JOINTS)))
    for s, split in enumerate(("train", "test")):
        shown = [[name(s * people + p, k) for k in range(pictures)] for p in range(people)]
        for p, files in enumerate(shown):
            for k, file in enumerate(files):
                picture(root / split / file, 1000 * s + 100 * p + k)
        lines = [f"{file}:{joints}:{joints}" for files in shown for file in files]
        (root / f"{prefix}-annotation-{split}.csv").write_text(
            "name:keypoints_y:keypoints_x\n" + "\n".join(lines) + "\n"
        )
        pairs = [f"{a},{b}" for files in shown for a in files for b in files[1:] if a != b]
        (root / f"{prefix}-pairs-{split}.csv").write_text("from,to\n" + "\n".join(pairs) + "\n")
    return root


def deepfashion(root: Path, **size: int) -> Path:
    """People in their clothes, as DeepFashion's in-shop pictures are called."""
    return pose_pairs(root, "fasion", lambda p, k: f"fashionWOMENDressesid{p:08d}01_{k + 1}front.jpg", **size)


def market(root: Path, **size: int) -> Path:
    """People before cameras, as Market-1501's pictures are called."""
    return pose_pairs(root, "market", lambda p, k: f"{p + 2:04d}_c{k + 1}s1_{k:06d}_00.jpg", **size)


def ixmas(root: Path, actors: tuple[str, ...] = ("alba", "amel", "andreas"), frames: int = 3) -> Path:
    """One take of each actor before five cameras, without joints."""
    for a, actor in enumerate(actors):
        (root / f"{actor}1_png").mkdir(parents=True)
        (root / f"{actor}1_truth.txt").write_text("")
        for camera in range(5):
            for t in range(frames):
                picture(root / f"{actor}1_png" / f"cam{camera}" / f"img{t:04d}.png", 1000 * a + 10 * camera + t)
    return root


def conditioned(root: Path, count: int = 6, conditions: bool = True, references: bool = True) -> Path:
    """Single pictures, with conditions and with examples from other pictures where asked for: CelebA-HQ,
    LSUN-Churches."""
    for k in range(count):
        picture(root / "images" / f"{k}.png", k, 32, 32)
        if conditions:
            picture(root / "conditions" / f"{k}.png", 100 + k, 32, 32)
    if references:
        lines = [f"{k}.png,{(k + 1) % count}.png,{(k + 2) % count}.png" for k in range(count)]
        (root / "references.csv").write_text("key,ref1,ref2\n" + "\n".join(lines) + "\n")
    return root


def motion(root: Path) -> Path:
    """Two clips of a subject in training, one in the test: videos, a strip, and a clip that stands still."""
    for k, (split, name) in enumerate(
        (("train", "id1#a#1"), ("train", "id1#b#2"), ("train", "id2#a#1"), ("test", "id3#a#1"))
    ):
        video(root / split / f"{name}.gif", k)
    for k in range(3):
        picture(root / "test" / "id4#still" / f"{k}.png", 9, 32, 32)
    for k in range(4):
        picture(root / "test" / "id5#a#1" / f"{k}.png", 20 + k // 2, 32, 32)  # each picture twice
    return root


def celebv(root: Path) -> Path:
    """Six clips of four videos; no landmarks."""
    names = {"a_0": "a", "a_1": "a", "b_0": "b", "c_0": "c", "d_0": "d", "d_1": "d"}
    clips = {
        name: {"ytb_id": video, "duration": {"start_sec": 0, "end_sec": 1}, "attributes": {"appearance": [0]}}
        for name, video in names.items()
    }
    root.mkdir(parents=True)
    (root / "celebvhq_info.json").write_text(json.dumps({"clips": clips}))
    for k, name in enumerate(names):
        mp4(root / "processed" / f"{name}.mp4", k)
    return root


def mp4(path: Path, seed: int) -> None:
    """As `video`, as MP4."""
    from echokdm.io.write import write_mp4

    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).random((5, 1, 4, 4), dtype=np.float32)
    write_mp4(path, coarse.repeat(8, 2).repeat(8, 3), 25.0)


def openpose(root: Path, joints: int = JOINTS) -> Path:
    """Four clips with one person's joints in every frame."""
    points = (
        np.stack([np.linspace(3, 28, joints), np.linspace(28, 3, joints), np.full(joints, 0.9)], 1).ravel().tolist()
    )
    for c in range(4):
        video(root / f"clip{c}.gif", c)
        (root / f"clip{c}_json").mkdir()
        for t in range(5):
            (root / f"clip{c}_json" / f"{t}.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": points}]}))
    return root


def faces_pts(root: Path) -> Path:
    """Pictures with landmarks, one a person."""
    points = "".join(f"{k % 10 + 4} {k // 10 + 5}\n" for k in range(68))
    for k in range(6):
        picture(root / f"{k}.png", k, 32, 32)
        (root / f"{k}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{points}}}\n")
    return root


def faces_dlib(root: Path) -> Path:
    """Pictures with two boxes each: the same picture twice."""
    parts = "".join(f"<part name='{k:02d}' x='{k % 10 + 4}' y='{k // 10 + 5}'/>" for k in range(68))
    images = "".join(f"<image file='{k}.png'>{f'<box>{parts}</box>' * 2}</image>" for k in range(6))
    for k in range(6):
        picture(root / f"{k}.png", k, 32, 32)
    (root / "labels.xml").write_text(f"<dataset><images>{images}</images></dataset>")
    return root


def views(root: Path, file: str, name: Callable[[int, int], str]) -> Path:
    """Five views of each of four scenes. name(scene, view): of a group."""
    import h5py

    root.mkdir(parents=True)
    with h5py.File(root / file, "w") as data:
        for scene in range(4):
            for view in range(5):
                rng = np.random.default_rng(10 * scene + view)
                data[f"{name(scene, view)}/image"] = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                data[f"{name(scene, view)}/pose"] = np.array([0.0, float(view)])
    return root


def tracing() -> list[tuple[float, ...]]:
    """Axis, then chords, of an ellipse in a picture of 112 px."""
    depth = -30 + 60 * (np.arange(ELLIPSE_ROWS) + 0.5) / ELLIPSE_ROWS
    half = 15 * np.sqrt(1 - (depth / 30) ** 2)
    return [(56, 30, 56, 90)] + [(56 - h, 60 + d, 56 + h, 60 + d) for h, d in zip(half, depth, strict=True)]


def echonet(root: Path) -> Path:
    """EchoNet-Dynamic: three clips to learn from, two held out."""
    splits = {"0XA": "TRAIN", "0XB": "TRAIN", "0XC": "TRAIN", "0XD": "TEST", "0XE": "TEST"}
    for k, name in enumerate(splits):
        video(root / "Videos" / f"{name}.avi", k, side=112)
    (root / "FileList.csv").write_text(
        "FileName,EF,Split\n" + "".join(f"{name},50,{split}\n" for name, split in splits.items())
    )
    lines = "".join(
        f"{name}.avi,{','.join(map(str, line))},{t}\n" for name in splits for t in (0, 2) for line in tracing()
    )
    (root / "VolumeTracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + lines)
    return root


def pediatric(root: Path) -> Path:
    """EchoNet-Pediatric: two folds of two patients, A4C alone with outlines."""
    ring = [(56 + 15 * np.sin(a), 60 - 30 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 30)]
    for view, folder in enumerate(("A4C", "PSAX")):
        names = {f"CR{view}{k}": k % 2 for k in range(4)}
        for k, name in enumerate(names):
            video(root / folder / "Videos" / f"{name}.avi", 10 * view + k, side=112)
        (root / folder / "FileList.csv").write_text(
            "FileName,EF,Sex,Age,Weight,Height,Split\n"
            + "".join(f"{name}.avi,60,F,5,20,110,{fold}\n" for name, fold in names.items())
        )
        lines = "".join(f"{name}.avi,{x},{y},{t}\n" for name in names for t in (0, 2) for x, y in ring)
        (root / folder / "VolumeTracings.csv").write_text("FileName,X,Y,Frame\n" + lines)
    return root


def lvh(root: Path) -> Path:
    """EchoNet-LVH: three clips, two of them to learn from."""
    splits = {"0XA": "train", "0XB": "train", "0XC": "test"}
    header = "HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split\n"
    lines = [
        f"{name},{calc},1.0,1,20,20,{y},{y + 20},5,25,112,112,{split}\n"
        for name, split in splits.items()
        for y, calc in ((10, "IVSd"), (30, "LVIDd"), (60, "LVPWd"))
    ]
    for k, name in enumerate(splits):
        video(root / "Batch1" / f"{name}.avi", k, side=112)
    (root / "MeasurementsList.csv").write_text(header + "".join(lines))
    return root


def camus(root: Path) -> Path:
    """Four patients' ED and ES frames, of noise, each with an ellipse for a ventricle."""
    import nibabel

    y, x = np.mgrid[:112, :96]
    for p in range(4):
        folder = root / f"patient{p + 1:04d}"
        folder.mkdir(parents=True)
        for k, moment in enumerate(("ED", "ES")):
            mask = (((x - 48) / (20 - 4 * k)) ** 2 + ((y - 50) / 30) ** 2 <= 1).astype(np.uint8)
            atrium = (((x - 48) / 15) ** 2 + ((y - 92) / 14) ** 2 <= 1) & (mask == 0)
            mask[atrium] = 3
            image = np.random.default_rng(10 * p + k).integers(0, 256, mask.shape, dtype=np.uint8)
            for ending, array in (("", image), ("_gt", mask)):
                saved = nibabel.Nifti1Image(array.T[..., None], np.diag([0.3, 0.3, 1, 1]))
                nibabel.save(saved, folder / f"{folder.name}_4CH_{moment}{ending}.nii.gz")
    return root


def clips(root: Path) -> Path:
    """A plain folder: clips of four patients."""
    for k in range(6):
        video(root / f"patient{k % 4}" / f"clip{k}.avi", k)
    return root


def keypoint_clips(root: Path, count: int = 6, frames: int = 5) -> Path:
    """Clips with key-points in every frame, as the stage `keypoints` of a pipeline writes them."""
    from echokdm.ops.ventricle import keypoints_from_tracing

    rng = np.random.default_rng(0)
    points = np.stack([keypoints_from_tracing(np.array(tracing())) * (1 - 0.02 * t) for t in range(frames)])
    (root / "Keypoints").mkdir(parents=True)
    for k in range(count):
        images = rng.integers(0, 256, (frames, 112, 112), dtype=np.uint8)
        np.savez(root / "Keypoints" / f"c{k}.npz", image=images, keypoints=points, sector=np.ones((112, 112), bool))
    (root / "FileList.csv").write_text("FileName,Split\n" + "".join(f"c{k},TRAIN\n" for k in range(count)))
    return root


_MOTION = ("aist", "bair", "dfdc", "fashion", "mgif", "taichi-hd", "uva-nemo", "voxceleb")
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "deepfashion": deepfashion,
    "market-1501": market,
    "ixmas": ixmas,
    "celeba-hq": conditioned,
    "lsun-churches": conditioned,
    "celebv-hq": celebv,
    "openpose": openpose,
    "openpose-body25": lambda root: openpose(root, 25),
    "openpose-body25b": lambda root: openpose(root, 25),
    "faces-pts": faces_pts,
    "faces-dlib": faces_dlib,
    "kitti": lambda root: views(root, "data_kitti.hdf5", lambda scene, view: f"{scene:02d}_{view:05d}"),
    "shapenet-chairs": lambda root: views(root, "data_chair.hdf5", lambda scene, view: f"m{scene}_{20 * view}_10"),
    "echonet-dynamic": echonet,
    "echonet-pediatric": pediatric,
    "echonet-lvh": lvh,
    "camus": camus,
    "clips": clips,
    **dict.fromkeys(_MOTION, motion),
}
"""Adapter -> who makes a folder that it reads; those that simulate need none."""
