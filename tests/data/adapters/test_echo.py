"""EchoNet-Dynamic, -Pediatric, -LVH, CAMUS and plain folders: known outlines come back, every planted problem is told
at once."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from echokdm.core.errors import DataError, EchoKDMError, GeometryError
from echokdm.data.adapters import find_adapter
from echokdm.data.adapters.camus import camus_split
from echokdm.ops.ventricle import keypoints_from_tracing

LIST = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"


def dynamic(
    root: Path, make: SimpleNamespace, names: dict[str, str], listed: str = "", traced: tuple[str, ...] = ()
) -> Path:
    """A folder of videos {name: split}; `listed` are further lines of the file list."""
    root.mkdir()
    for name in names:
        make.video(root / "Videos" / f"{name.removesuffix('.avi')}.avi")
    lines = [f"{name},55.5,40,90,112,112,25,4,{split}\n" for name, split in names.items()]
    (root / "FileList.csv").write_text(LIST + "".join(lines) + listed)
    rows = [
        f"{name}.avi,{','.join(map(str, line))},{frame}\n"
        for name in traced
        for frame in (0, 2)
        for line in make.ellipse_tracing()
    ]
    (root / "VolumeTracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "".join(rows))
    return root


def test_dynamic_gives_its_outlines_back(tmp_path: Path, make: SimpleNamespace) -> None:
    adapter = find_adapter("echonet-dynamic")
    index = adapter.index(
        dynamic(tmp_path / "d", make, {"0XA": "TRAIN", "0XB.avi": "VAL", "0XC": "TEST"}, traced=("0XB", "0XA"))
    )
    assert list(index["sequence"]) == ["0XA", "0XB", "0XC"] and list(index["split"]) == ["train", "val", "test"]
    assert list(index["traced"]) == [2, 2, 0] and list(index.columns[:4]) == ["sequence", "subject", "split", "path"]
    item = adapter.read(index.iloc[0])
    assert item.frames.shape == (4, 1, 112, 112) and item.schema.name == adapter.schema
    assert item.visible.sum(1).tolist() == [40, 0, 40, 0] and item.labels["EF"] == 55.5
    np.testing.assert_allclose(item.keypoints[2], keypoints_from_tracing(make.ellipse_tracing()), atol=1e-4)
    assert item.keypoints[1].abs().sum() == 0
    assert adapter.read(index.to_dict("records")[2]).visible.sum() == 0


def test_dynamic_tells_every_problem_at_once(tmp_path: Path, make: SimpleNamespace) -> None:
    listed = (
        "gone,50,1,1,112,112,25,4,TRAIN\n../out,50,1,1,112,112,25,4,TRAIN\n0XA,50,1,1,112,112,25,4,TEST\n"
        "0XC,fifty,1,1,112,112,25,4,VAL\n"
    )
    root = dynamic(tmp_path / "d", make, {"0XA": "TRAIN", "0XB": "TRAIN"}, listed, traced=("0XA",))
    make.video(root / "Videos" / "0XD.avi", width=64)
    with (root / "FileList.csv").open("a") as file:
        file.write("0XD,50,1,1,112,64,25,4,VAL\n")
    with (root / "VolumeTracings.csv").open("a") as file:
        file.write("0XB.avi,1,2,3,4,9\n0XB.avi,1,2,3,4,9\n0XB.avi,1,2,x,4,0\n")
    problems, usable = make.found_by("echonet-dynamic", root)
    assert problems == {
        "not a number": ["FileList.csv line 7", f"VolumeTracings.csv line {2 * 21 + 4}"],
        "refused, since the name leads out of the folder": ["../out"],
        "missing": ["gone.avi"],
        "of another image size than most": ["0XD"],
        "with a bad tracing": ["0XB"],
        "listed twice": ["0XA"],
        "in two splits": ["0XA"],
    }
    assert usable == ["0XA", "0XB", "0XD"]


@pytest.mark.parametrize(
    ("file", "content", "kind", "words"),
    [
        ("FileList.csv", b"FileName,EF\na,1\n", "wrong columns", "FileList.csv (lacks Split)"),
        ("FileList.csv", b"\x80\x04\x95\x10\x00rest", "unreadable", "pickle"),
        ("FileList.csv", b"\xff\xfe\x00\x01", "unreadable", "FileList.csv"),
        ("FileList.csv", None, "missing", "FileList.csv"),
        ("VolumeTracings.csv", b"FileName,X,Y,Frame\na,1,2,3\n", "wrong columns", "lacks X1, Y1, X2, Y2"),
        ("VolumeTracings.csv", None, "missing", "VolumeTracings.csv"),
    ],
)
def test_tables_that_are_none(
    file: str, content: bytes | None, kind: str, words: str, tmp_path: Path, make: SimpleNamespace
) -> None:
    root = dynamic(tmp_path / "d", make, {"0XA": "TRAIN"})
    (root / file).unlink() if content is None else (root / file).write_bytes(content)
    problems, _ = make.found_by("echonet-dynamic", root)
    assert list(problems) == [kind] and words in problems[kind][0]


def test_roots_that_are_no_folder(tmp_path: Path) -> None:
    adapter = find_adapter("echonet-dynamic")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04\x95" + bytes(20))
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(bytes(16) + b"\xde\xc0\xef\xbe" + bytes(20))
    (tmp_path / "bare.bin").write_bytes((tmp_path / "db" / "data.mdb").read_bytes())
    for name, words in (("x.pkl", "pickle"), ("db", "LMDB"), ("bare.bin", "LMDB"), ("none", "does not exist")):
        with pytest.raises(DataError, match=words):
            adapter.index(tmp_path / name)


def test_pediatric_is_turned_apex_up(tmp_path: Path, make: SimpleNamespace) -> None:
    for view in ("A4C", "PSAX"):
        make.video(tmp_path / view / "Videos" / "CR1.avi")
        (tmp_path / view / "FileList.csv").write_text(
            "FileName,EF,Sex,Age,Weight,Height,Split\nCR1.avi,60,F,5,20,110,3\n"
        )
        chords = np.array(make.ellipse_tracing())[1:]
        polygon = np.concatenate([chords[:, :2], chords[::-1, 2:]]) * (1, -1) + (0, 111)
        lines = [f"CR1.avi,{x},{y},1\n" for x, y in polygon] + ["CR1.avi,0,0,No Systolic\n"]
        (tmp_path / view / "VolumeTracings.csv").write_text("FileName,X,Y,Frame\n" + "".join(lines))
    adapter = find_adapter("echonet-pediatric")
    index = adapter.index(tmp_path)
    assert (
        list(index["view"]) == ["A4C", "PSAX"]
        and list(index["split"]) == ["3", "3"]
        and index["EF"].tolist() == [60, 60]
    )
    item = adapter.read(index.iloc[0])
    assert item.frames[0, 0, 0].mean() > item.frames[0, 0, -1].mean()  # the maker's videos are bright below
    assert item.visible.sum(1).tolist() == [0, 40, 0, 0]
    known = keypoints_from_tracing(make.ellipse_tracing())
    assert np.abs(item.keypoints[1].numpy() - known).max() < 2.5
    assert adapter.read(index.iloc[1]).keypoints is None
    (tmp_path / "A4C" / "VolumeTracings.csv").unlink()
    (tmp_path / "PSAX" / "Videos" / "CR1.avi").unlink()
    assert make.found_by("echonet-pediatric", tmp_path)[0] == {"missing": ["VolumeTracings.csv", "CR1.avi"]}


def test_lvh_calipers(tmp_path: Path, make: SimpleNamespace) -> None:
    make.video(tmp_path / "Batch1" / "0XA.avi")
    header = "HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split\n"
    table = tmp_path / "MeasurementsList.csv"
    table.write_text(
        header + "0XA,IVSd,1.0,1,30,30,20,30,4,25,112,112,train\n0XA,LVIDd,4.0,1,30,30,30,70,4,25,112,112,train\n"
        "0XA,LVIDs,3.0,3,30,30,32,62,4,25,112,112,train\n"
    )
    adapter = find_adapter("echonet-lvh")
    index = adapter.index(tmp_path)
    item = adapter.read(index.iloc[0])
    assert item.schema.name == adapter.schema and item.labels["spacing_mm"] == (1.0, 1.0)
    assert item.visible.tolist() == [
        [False] * 6,
        [True] * 4 + [False] * 2,
        [False] * 6,
        [False, False, True, True, False, False],
    ]
    assert item.keypoints[1, :4].tolist() == [[30, 20], [30, 30], [30, 30], [30, 70]]
    with table.open("a") as file:
        file.write(
            "0XA,LVPWd,1,1,1,1,1,2,4,25,112,112,test\n0XB,LVPWd,1,1,1,1,1,2,4,25,112,112,test\n0XA,Aorta,1,1,1,1,1,2,4,25,112,112,train\n"
            "/etc/x,IVSd,1,1,1,1,1,2,4,25,112,112,train\n"
        )
    problems, usable = make.found_by("echonet-lvh", tmp_path)
    assert problems == {
        "refused, since the name leads out of the folder": ["/etc/x"],
        "in two splits": ["0XA.avi"],
        "missing": ["0XB.avi"],
        "with an unknown measurement": ["Aorta"],
    } and usable == ["0XA"]


def test_camus(tmp_path: Path, make: SimpleNamespace, camus: Callable[..., None]) -> None:
    camus(tmp_path, "patient0001", 3)
    camus(tmp_path, "patient0002", 3, ed=3, es=1)
    (tmp_path / "database_split").mkdir()
    (tmp_path / "database_split" / "subgroup_training.txt").write_text("patient0001\n")
    (tmp_path / "database_split" / "subgroup_testing.txt").write_text("patient0002\n")
    adapter = find_adapter("camus")
    index = adapter.index(tmp_path)
    assert (
        list(index["split"]) == ["train", "test"] and list(index["ed"]) == [0, 2] and list(index["EF"]) == [51.2, 51.2]
    )
    one, two = (adapter.read(row) for row in index.to_dict("records"))
    assert one.frames.shape == (3, 1, 96, 80) and one.visible.all()
    widths = (one.keypoints[:, 30, 0] - one.keypoints[:, 9, 0]).abs()
    np.testing.assert_allclose(widths, 2 * np.array([16, 15, 14]), atol=1.2)
    assert (two.labels["ed"], two.labels["es"]) == (0, 2)
    np.testing.assert_allclose(two.keypoints.flip(0), one.keypoints, atol=1e-4)
    camus(tmp_path, "patient0003", 2)
    (tmp_path / "database_nifti" / "patient0002" / "Info_4CH.cfg").write_text("ED: one\n")
    (tmp_path / "database_nifti" / "patient0003" / "patient0003_4CH_half_sequence_gt.nii.gz").unlink()
    (tmp_path / "database_split" / "subgroup_testing.txt").write_text("patient0001 patient0002 patient0009\n")
    problems, usable = make.found_by("camus", tmp_path)
    assert problems == {
        "in two splits": ["patient0001"],
        "unreadable, or without ED and ES": ["patient0002 (Info_4CH.cfg)"],
        "missing": ["patient0003 (4CH_half_sequence_gt.nii.gz)", "patient0009 (its folder)"],
        "in no split": ["patient0003"],
    } and usable == ["patient0001_4CH", "patient0002_4CH"]


def test_camus_without_sequences(tmp_path: Path, make: SimpleNamespace) -> None:
    y, x = np.mgrid[:96, :80]
    for patient in ("patient0001", "patient0002"):
        folder = tmp_path / patient
        folder.mkdir()
        for part, half in (("ED", 16), ("ES", 11)):
            tissue = np.where(((x - 40) / half) ** 2 + ((y - 44) / 30) ** 2 <= 1, 1, 0)
            tissue[(tissue == 0) & (((x - 40) / (half + 6)) ** 2 + ((y - 44) / 36) ** 2 <= 1) & (y < 60)] = 2
            tissue[82:90, 30:50] = 3
            tissue[0, 0] = 7  # of no meaning
            for end, array in (("", np.where(tissue == 1, 20, 150) * (np.abs(x - 40) <= 6 + y * 0.3)), ("_gt", tissue)):
                image = nibabel.Nifti1Image(array.astype(np.uint8).T, np.diag([0.308, 0.308, 1, 1]))
                nibabel.save(image, folder / f"{patient}_4CH_{part}{end}.nii.gz")
    (tmp_path / "patient0002" / "Info_4CH.cfg").write_text("ED: 1\nES: 18\nEF: 51.2\nImageQuality: Good\n")
    adapter = find_adapter("camus")
    index = adapter.index(tmp_path)
    assert list(index["ed"]) == [0, 0] and list(index["es"]) == [1, 1] and list(index["quality"]) == ["", "Good"]
    np.testing.assert_array_equal(index["EF"], [np.nan, 51.2])
    item = adapter.read(index.iloc[0])
    assert (
        item.frames.shape == (2, 1, 96, 80)
        and item.visible.all()
        and item.labels["spacing_mm"] == pytest.approx((0.308, 0.308))
    )
    tissue = item.labels["tissue"]
    assert tissue.dtype == np.uint8 and tissue.shape == (2, 96, 80) and tissue[0, 0, 0] == 0
    assert [int(tissue[0, row, 40]) for row in (4, 10, 44, 77, 85)] == [0, 2, 1, 0, 3]
    widths = (item.keypoints[:, 30, 0] - item.keypoints[:, 9, 0]).abs()
    np.testing.assert_allclose(widths, [32, 22], atol=1.2)
    (tmp_path / "patient0001" / "patient0001_4CH_ES.nii.gz").unlink()
    assert make.found_by("camus", tmp_path) == ({"missing": ["patient0001 (4CH_ES.nii.gz)"]}, ["patient0002_4CH"])


def test_camus_outlines_without_a_ventricle(tmp_path: Path, camus: Callable[..., None]) -> None:
    camus(tmp_path, "patient0001", 3)
    path = tmp_path / "database_nifti" / "patient0001" / "patient0001_4CH_half_sequence_gt.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((80, 96, 3), 2, np.uint8), np.eye(4)), path)
    adapter = find_adapter("camus")
    with pytest.raises(GeometryError, match="no pixel with the label 1"):
        adapter.read(adapter.index(tmp_path).iloc[0])


def test_camus_parts_never_share_a_patient() -> None:
    subjects = [f"patient{n:04d}" for n in range(1, 400)]
    parts = camus_split(subjects)
    assert {part: len(names) for part, names in parts.items()} == {
        "held_back": 100,
        "choose": 30,
        "judge": 69,
        "teach": 200,
    }
    assert sorted(sum(parts.values(), [])) == subjects
    assert parts == camus_split(reversed(subjects)) != camus_split(subjects, seed=1)
    # Pinned: with other parts, shipped weights would be measured on patients that taught them.
    assert {part: names[:3] for part, names in parts.items()} == {
        "held_back": ["patient0004", "patient0005", "patient0009"],
        "choose": ["patient0015", "patient0019", "patient0026"],
        "judge": ["patient0003", "patient0011", "patient0014"],
        "teach": ["patient0001", "patient0002", "patient0006"],
    }
    fewer = camus_split(subjects[:-20])
    assert len(set(fewer["held_back"]) - set(parts["held_back"])) < 5


def test_camus_reads_real_patients(test_data: Path) -> None:
    adapter = find_adapter("camus")
    index = adapter.index(test_data / "camus")
    parts = camus_split(index["subject"])
    item = adapter.read(index[index["subject"] == parts["teach"][0]].iloc[0])
    tissue = item.labels["tissue"]
    assert item.visible.all() and item.labels["spacing_mm"] == pytest.approx((0.308, 0.308), abs=1e-3)
    assert set(np.unique(tissue)) == {0, 1, 2, 3} and (tissue == 1).sum((1, 2))[0] > (tissue == 1).sum((1, 2))[1]
    for frame in tissue:  # apex up: the atrium lies below the ventricle
        assert np.nonzero(frame == 3)[0].mean() > np.nonzero(frame == 1)[0].mean()


def test_plain_clips_never_tell_names(tmp_path: Path, make: SimpleNamespace) -> None:
    make.video(tmp_path / "train" / "Doe^Jane" / "one.avi")
    make.video(tmp_path / "train" / "Doe^Jane" / "two.avi")
    make.picture(tmp_path / "Roe" / "frames" / "f1.png")
    make.picture(tmp_path / "Roe" / "frames" / "f2.png")
    rows = [f"one.avi,{','.join(map(str, line))},1\n" for line in make.ellipse_tracing()]
    (tmp_path / "tracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "".join(rows))
    adapter = find_adapter("clips")
    index = adapter.index(tmp_path)
    assert list(index["sequence"]) == ["clip 1", "clip 2", "clip 3"]
    assert list(index["subject"]) == ["subject 1", "subject 2", "subject 2"] and list(index["split"]) == [
        "all",
        "train",
        "train",
    ]
    assert len(adapter.read(index.iloc[0])) == 2 and adapter.read(index.iloc[2]).keypoints is None
    np.testing.assert_allclose(
        adapter.read(index.iloc[1]).keypoints[1], keypoints_from_tracing(make.ellipse_tracing()), atol=1e-4
    )
    (tmp_path / "Roe" / "notes").write_bytes(b"\x80\x04\x95" + bytes(20))
    make.video(tmp_path / "val" / "Doe^Jane" / "three.avi")
    (tmp_path / "tracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + "".join(rows).replace("one", "Roe^Gone"))
    problems, usable = make.found_by("clips", tmp_path)
    assert problems == {
        "unreadable, or no clip": ["clip 2 (a pickle, which can run code and is never read)"],
        "with tracings but without a file": ["clip 1 of the tracings"],
        "in two splits": ["subject 2"],
    }
    assert usable == ["clip 1", "clip 3", "clip 4", "clip 5"]


def test_plain_clips_read_the_real_clip(test_data: Path) -> None:
    adapter = find_adapter("clips")
    index = adapter.index(test_data / "echo")
    assert len(index) == 3 and adapter.read(index.iloc[0]).frames.shape == (45, 1, 768, 1024)


def test_a_damaged_video_is_one_sentence(tmp_path: Path, make: SimpleNamespace) -> None:
    root = dynamic(tmp_path / "d", make, {"0XA": "TRAIN"})
    path = root / "Videos" / "0XA.avi"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(EchoKDMError, match="damaged"):
        find_adapter("echonet-dynamic").read(find_adapter("echonet-dynamic").index(root).iloc[0])


def test_a_table_that_is_missing_hides_no_other_problem(tmp_path: Path, make: SimpleNamespace) -> None:
    from echokdm.data.check import check_folder

    root = dynamic(
        tmp_path / "d",
        make,
        {"0XA": "TRAIN", "0XB": "many", "0XC": "TEST", "0XD": "TEST"},
        "0XA,1,1,1,112,112,25,many,TEST\n",
    )
    (root / "VolumeTracings.csv").unlink()
    (root / "Videos" / "0XB.avi").write_bytes(b"RIFF")
    make.video(root / "Videos" / "0XC.avi", width=96)
    checked = check_folder(find_adapter("echonet-dynamic"), root)
    assert {kind: [place.split(" ")[0] for place in places] for kind, places in checked.problems.found.items()} == {
        "missing": ["VolumeTracings.csv"],
        "listed twice": ["0XA"],
        "in two splits": ["0XA"],
        "unreadable": ["0XB"],
        "of another image size than most": ["0XC"],
    }
    assert checked.counts.loc["train", "frames"] == 4


def test_empty_tables(tmp_path: Path, make: SimpleNamespace) -> None:
    root = dynamic(tmp_path / "d", make, {})
    assert make.found_by("echonet-dynamic", root) == ({"missing": ["any sequence"]}, [])
    root = dynamic(tmp_path / "e", make, {"0XA": "TRAIN"})
    assert find_adapter("echonet-dynamic").index(root)["traced"].tolist() == [0]


def test_a_folder_linked_into_itself_ends(tmp_path: Path, make: SimpleNamespace) -> None:
    make.video(tmp_path / "a" / "one.avi")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert len(find_adapter("clips").index(tmp_path)) == 1


def test_outlines_written_beside_a_clip_are_its_own(tmp_path: Path, make: SimpleNamespace) -> None:
    """`echokdm keypoints one.avi` writes one-keypoints/, whose pictures and masks are no clips; it goes before a
    table."""
    make.video(tmp_path / "one.avi")
    tracing = make.ellipse_tracing()
    lines = "".join(f"clip.avi,{','.join(map(str, line))},2\n" for line in tracing)
    (tmp_path / "tracings.csv").write_text(
        "FileName,X1,Y1,X2,Y2,Frame\n" + lines.replace("clip", "one").replace(",2\n", ",1\n")
    )
    written = make.picture(tmp_path / "one-keypoints" / "overlay.png").parent
    (written / "keypoints.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + lines)
    adapter = find_adapter("clips")
    (row,) = adapter.index(tmp_path).to_dict("records")
    item = adapter.read(row)
    assert row["traced"] == 1 and item.visible.all(1).nonzero()[:, 0].tolist() == [2]
    np.testing.assert_allclose(item.keypoints[2], keypoints_from_tracing(tracing), atol=1e-4)
    (written / "keypoints.csv").write_text("FileName,X1\n")
    assert make.found_by("clips", tmp_path)[0].keys() == {"unreadable"}


def test_tracings_turn_with_a_clip_that_stands_on_its_apex(tmp_path: Path, make: SimpleNamespace) -> None:
    from echokdm.io.write import write_nifti

    y, x = np.mgrid[:112, :112]
    fan = (np.abs(x - 56) < 0.5 * (112 - y)) * 200
    write_nifti(tmp_path / "one.nii.gz", np.stack([fan, fan + (fan > 0)]).astype(np.uint8), fps=25.0)
    lines = "".join(f"one.nii.gz,{','.join(map(str, line))},0\n" for line in make.ellipse_tracing(cy=40))
    (tmp_path / "tracings.csv").write_text("FileName,X1,Y1,X2,Y2,Frame\n" + lines)
    item = find_adapter("clips").read(find_adapter("clips").index(tmp_path).iloc[0])
    assert item.frames[0, 0, -1].sum() > item.frames[0, 0, 0].sum()
    assert float(item.keypoints[0, :, 1].mean()) == pytest.approx(111 - 40, abs=1)
