"""The privacy audit: planted copies and leaks are found, clips made from one frame, or edited and said to be so, are
not copies, and no name gets out."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import typer
from typer.testing import CliRunner

from echokdm.cli.app import OneSentence
from echokdm.cli.audit import audit
from echokdm.cohort.audit import Audit, audit_cohort
from echokdm.cohort.audit import leaks as kinds
from echokdm.cohort.audit.clips import Listed, Sketch, in_model_frame, sketch
from echokdm.cohort.audit.leaks import split_leaks
from echokdm.cohort.audit.report import write_audit
from echokdm.cohort.audit.result import copy_test
from echokdm.core import defaults
from echokdm.core.errors import BundleError
from echokdm.core.seeding import generator
from echokdm.core.types import Clip
from echokdm.io import read_clip
from echokdm.io.write import write_avi
from echokdm.networks.segmenter import Segmenter
from echokdm.phantom.a4c import A4CPhantom

FPS, FIRST_SEED = 12.0, 9_000_000
SPLITS = ("TRAIN", "TRAIN", "TRAIN", "TRAIN", "VAL", "TEST")
PATIENT = "Mustermann-Erika-19610523"  # in every file name and subject of the real folder


def from_one_frame(frames: torch.Tensor, depth: float) -> torch.Tensor:
    """(T, 1, 112, 112): the first frame, squeezed and let go as a heart that beats in its own way."""
    made = []
    for t in range(len(frames)):
        narrow = round(112 * (1 - depth * np.sin(np.pi * t / len(frames)) ** 2) / 2) * 2
        squeezed = F.interpolate(frames[:1], (112, narrow), mode="bilinear", align_corners=False)
        made.append(F.pad(squeezed, [(112 - narrow) // 2] * 2))
    return torch.cat(made)


def write_list(root: Path, rows: list[tuple[str, str, str]]) -> Path:
    """FileList.csv of (name, split, subject)."""
    (root / "FileList.csv").write_text("FileName,Split,Subject\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def network() -> Iterator[SimpleNamespace]:
    """What an audit asks of a pipeline: a segmenter, here an untrained one, whose features still tell pictures
    apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        segmenter = Segmenter().eval()
    yield SimpleNamespace(bundle_name="random", segmenter=segmenter, components={"segmenter": segmenter})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, network: SimpleNamespace) -> Path:
    """real/ and synth/: six patients; a clip made from one frame of each TRAIN patient, a mirrored copy, a noisy copy
    begun elsewhere."""
    home = tmp_path_factory.mktemp("audit")
    clips = A4CPhantom(range(FIRST_SEED, FIRST_SEED + 6)).clip(FPS)
    names = [f"{PATIENT}-{i}" for i in range(6)]
    for name, clip in zip(names, clips, strict=True):
        write_avi(home / "real" / "Videos" / f"{name}.avi", clip.frames, clip.fps)
    write_list(home / "real", list(zip(names, SPLITS, names, strict=True)))
    read = [read_clip(home / "real" / "Videos" / f"{name}.avi") for name in names]
    inside = read[3].frames.amax(0) > 0
    noise = 0.02 * torch.randn(read[3].frames.shape, generator=generator(0))
    made = [from_one_frame(clip.frames, 0.1) for clip in read[:4]]
    made += [1.2 * read[1].frames.flip(3) ** 0.8, (read[3].frames.roll(4, 0) + noise) * inside]
    # As `augment` does: a subject is named by the pixels of its clip.
    subjects = [
        sketch(Listed(Path(), "", "", ""), in_model_frame(clip), network, False).pixels for clip in read[:4]
    ] + ["x", "y"]
    rows = [(f"SYN{i:06d}", "TRAIN", subject) for i, subject in enumerate(subjects, 1)]
    for (name, _, _), frames in zip(rows, made, strict=True):
        write_avi(home / "synth" / "Videos" / f"{name}.avi", frames.clamp(0, 1), FPS)
    write_list(home / "synth", rows)
    return home


@pytest.fixture(scope="module")
def result(home: Path, network: SimpleNamespace) -> Audit:
    return audit_cohort(home / "real", home / "synth", bundle=network)


def test_the_planted_copies_are_found_and_nothing_else(result: Audit) -> None:
    pairs = result.pairs.set_index("clip")
    assert set(result.copies["clip"]) == {"SYN000005", "SYN000006"}
    assert (pairs.loc["SYN000005", "nearest"], pairs.loc["SYN000006", "nearest"]) == ("real 2", "real 4")
    assert pairs.loc["SYN000005", "mirrored"] and not pairs.loc["SYN000006", "mirrored"]
    assert not result.clean and result.verdict.startswith(
        "2 copies of a real clip and no leaks between splits among 6 synthetic clips."
    )


def test_a_clip_from_one_frame_is_near_its_own_patient_by_design(result: Audit) -> None:
    genuine = result.pairs[~result.pairs["copy"]]
    assert (
        list(genuine["nearest"]) == ["real 1", "real 2", "real 3", "real 4"]
        and (genuine["from_own_source"] == "yes").all()
    )
    assert (genuine["pixel_distance"] < genuine["other_pixel_distance"]).all()
    assert (genuine["other_patient"] != genuine["nearest"]).all()


def test_the_reference_is_held_out_patients_against_train(result: Audit) -> None:
    assert list(result.reference["clip"]) == ["real 5", "real 6"]
    assert set(result.reference["other_patient"]) <= {f"real {i}" for i in range(1, 5)}
    assert result.reference["other_motion_agreement"].max() < 0.5


def test_the_audit_finds_the_copies_that_it_plants_itself(result: Audit) -> None:
    assert len(result.controls) == 6 and result.found == 1


def test_without_splits_patients_are_compared_with_all_others(home: Path, network: SimpleNamespace) -> None:
    result = audit_cohort(home / "real" / "Videos", home / "synth" / "Videos", bundle=network)
    assert len(result.reference) == 6 and "no held-out split" in result.record["reference"]
    assert (result.reference["other_patient"] != result.reference["clip"]).all()
    assert list(result.copies["nearest"].sort_values()) == ["real 2", "real 4"]
    assert set(result.pairs["from_own_source"]) == {"unknown"} and list(result.pairs["clip"])[0] == "synthetic 1"


def test_an_edited_clip_is_compared_with_all_patients_but_its_own(
    home: Path, network: SimpleNamespace, tmp_path: Path
) -> None:
    """Five clips with the same pixels, which move as real 4 does, and differ in what is said of them."""
    subjects = [row.rsplit(",", 1)[1] for row in (home / "synth" / "FileList.csv").read_text().splitlines()[1:5]]
    said = {
        "SYN000001": (subjects[3], "1"),
        "SYN000002": (subjects[3], "0"),
        "SYN000003": (subjects[0], "1"),
        "SYN000004": ("nobody", "1"),
        "SYN000005": (subjects[3], "yes"),
    }
    (tmp_path / "Videos").mkdir()
    for name in said:
        (tmp_path / "Videos" / f"{name}.avi").symlink_to(home / "synth" / "Videos" / "SYN000006.avi")
    (tmp_path / "FileList.csv").write_text(
        "FileName,Split,Subject,Edited\n"
        + "".join(f"{name},TRAIN,{subject},{edited}\n" for name, (subject, edited) in said.items())
    )
    result = audit_cohort(home / "real", tmp_path, bundle=network)
    pairs = result.pairs.set_index("clip")
    assert set(result.copies["clip"]) == set(said) - {"SYN000001"}
    own = pairs.loc["SYN000001"]
    assert own["nearest"] != "real 4" and own["motion_agreement"] < 0.5 and own["from_own_source"] == "no"
    assert list(pairs["edited"]) == [True, False, True, True, False] and (pairs["nearest"] == "real 4").sum() == 4
    sentence = (
        "pixels by design: 3; compared with all other patients: 2, and with all, as their source is not known: 1."
    )
    assert sentence in result.verdict
    out = write_audit(result, tmp_path / "out")
    assert sentence in json.loads((out / "audit.json").read_text())["by_design"]
    assert (
        "pixels by design: 3" in (out / "report.html").read_text()
        and "clip,split,edited,copy" in (out / "pairs.csv").read_text()
    )


def test_an_edited_cohort_alone_is_clean(home: Path, network: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "Videos").symlink_to(home / "synth" / "Videos")
    subject = (home / "synth" / "FileList.csv").read_text().splitlines()[4].rsplit(",", 1)[1]
    (tmp_path / "FileList.csv").write_text(f"FileName,Split,Subject,Edited\nSYN000006,TRAIN,{subject},1\n")
    result = audit_cohort(home / "real", tmp_path, bundle=network)
    assert result.clean and "pixels by design: 1; compared with all other patients: 1." in result.verdict


def test_no_name_gets_out(home: Path, tmp_path: Path, result: Audit) -> None:
    out = write_audit(result, tmp_path / "out")
    assert {file.name for file in out.iterdir()} == {"report.html", "audit.json", "pairs.csv", "worst-pairs.png"}
    for file in out.iterdir():
        data = file.read_bytes()
        assert PATIENT.encode() not in data and b"Mustermann" not in data and str(home).encode() not in data, file.name
    record = json.loads((out / "audit.json").read_text())
    assert record["copies"] == list(result.copies["clip"]) and not record["clean"]
    assert "http" not in (out / "report.html").read_text()


def clip(label: str, owner: str, split: str, pixels: str = "") -> Sketch:
    return Sketch(
        Listed(Path(), label, owner, split), owner, pixels or label, torch.zeros(1, 1), torch.zeros(1, 1), None
    )


@pytest.mark.parametrize(
    ("real", "synthetic", "found"),
    [
        ([("A", "TRAIN"), ("B", "VAL")], [("A", "TRAIN")], {}),
        ([("A", "TRAIN"), ("A", "TEST")], [], {kinds.TWO_SPLITS.format("real"): ["real 1 (TRAIN) and real 2 (TEST)"]}),
        (
            [("A", "TRAIN")],
            [("A", "TRAIN"), ("A", "VAL")],
            {
                kinds.TWO_SPLITS.format("synthetic"): ["synthetic 1 (TRAIN) and synthetic 2 (VAL)"],
                kinds.TESTED: ["synthetic 2"],
            },
        ),
        ([("A", "TRAIN"), ("B", "TEST")], [("B", "TRAIN")], {kinds.TRAINED: ["synthetic 1"]}),
        ([("A", ""), ("B", "")], [("B", "TRAIN")], {}),
    ],
)
def test_patients_in_two_splits_are_leaks(real: list, synthetic: list, found: dict) -> None:
    sides = [
        [clip(f"{kind} {i}", owner, split) for i, (owner, split) in enumerate(rows, 1)]
        for kind, rows in (("real", real), ("synthetic", synthetic))
    ]
    assert split_leaks(*sides, {owner: owner for owner, _ in synthetic}) == found


def test_an_identical_clip_in_two_splits_is_a_leak() -> None:
    clips = [
        clip("real 1", "A", "TRAIN", "same"),
        clip("real 2", "B", "VAL", "same"),
        clip("real 3", "C", "VAL", "other"),
    ]
    assert split_leaks(clips, [], {}) == {kinds.IDENTICAL.format("real"): ["real 1 (TRAIN) and real 2 (VAL)"]}


def test_copies_across_splits_are_leaks_and_a_second_audit_writes_the_same_bytes(
    home: Path, tmp_path: Path, network: SimpleNamespace
) -> None:
    names = [f"{PATIENT}-{i}" for i in range(6)]
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth" / "Videos").symlink_to(home / "synth" / "Videos")
    (tmp_path / "real" / "Videos").mkdir(parents=True)
    for name in names:
        (tmp_path / "real" / "Videos" / f"{name}.avi").symlink_to(home / "real" / "Videos" / f"{name}.avi")
    frames = read_clip(home / "real" / "Videos" / f"{names[0]}.avi").frames
    write_avi(tmp_path / "real" / "Videos" / "again.avi", 0.9 * frames, FPS)
    write_list(
        tmp_path / "real",
        [(names[0], "TRAIN", "A"), (names[1], "TEST", "B"), (names[2], "TRAIN", "C"), ("again", "VAL", "D")],
    )
    write_list(tmp_path / "synth", [("SYN000005", "TRAIN", "unknown")])
    first, second = (audit_cohort(tmp_path / "real", tmp_path / "synth", bundle=network) for _ in range(2))
    assert first.leaks == {kinds.COPIED: ["SYN000005"], kinds.SAME_HEART: ["real 4 and real 1"]}
    folders = [write_audit(found, tmp_path / out) for found, out in ((first, "a"), (second, "b"))]
    for file in folders[0].iterdir():
        assert file.read_bytes() == (folders[1] / file.name).read_bytes(), file.name


def test_the_copy_statistic_is_negative_where_synthetic_clips_are_nearer() -> None:
    # U = 0 of m = n = 2: -2 / sqrt(4 * 5 / 12).
    assert copy_test("pixels", np.array([1.0, 2.0]), np.array([3.0, 4.0])).statistic == pytest.approx(-1.549, abs=1e-3)
    rng = np.random.default_rng(0)
    far, near = rng.normal(0, 1, 100), rng.normal(-2, 1, 100)
    assert copy_test("pixels", near, far).statistic < -3 < 3 < copy_test("pixels", far, near).statistic
    assert abs(copy_test("pixels", far, rng.normal(0, 1, 100)).statistic) < 3


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and all that was said."""
    app = typer.Typer(cls=OneSentence, pretty_exceptions_enable=False)
    app.command()(audit)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    return result.exit_code, result.output + result.stderr


def test_the_command_leaves_with_1_where_there_are_copies_and_0_where_there_are_none(
    home: Path, tmp_path: Path
) -> None:
    rows = (home / "synth" / "FileList.csv").read_text().splitlines()
    for name, kept in (("copied", [rows[0], rows[5]]), ("clean", rows[:3])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Videos").symlink_to(home / "synth" / "Videos")
        (tmp_path / name / "FileList.csv").write_text("\n".join(kept))
    code, said = run(home / "real", tmp_path / "copied", "--out", tmp_path / "found")
    assert (
        code == 1
        and "SYN000005 copies real 2" in said
        and PATIENT not in said
        and (tmp_path / "found" / "report.html").exists()
    )
    code, said = run(home / "real", tmp_path / "clean", "--out", tmp_path / "none")
    assert code == 0 and "No copies of a real clip and no leaks" in said


def test_a_clip_that_can_t_be_read_is_not_passed_over(home: Path, tmp_path: Path, network: SimpleNamespace) -> None:
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Videos" / "good.avi").symlink_to(home / "synth" / "Videos" / "SYN000001.avi")
    (tmp_path / "Videos" / "bad.avi").write_text("no clip")
    result = audit_cohort(
        home / "real",
        write_list(tmp_path, [("good", "TRAIN", ""), ("bad", "TRAIN", ""), ("lost", "TRAIN", "")]),
        bundle=network,
    )
    assert result.unread == ["synthetic 2", "synthetic 3"] and not result.clean
    assert "2 synthetic clips could not be read" in result.verdict


@pytest.mark.parametrize(
    ("real", "synthetic", "said"),
    [
        ("absent", "synth", "The folder of real clips does not exist"),
        ("real", "absent", "The folder of synthetic clips does not exist"),
        ("empty", "synth", "holds no clip"),
        ("real", "empty", "holds no clip"),
        ("real", "real", "same one"),
        ("nothing", "synth", "lists no clip"),
        ("climbs", "synth", "leads out of its folder"),
        ("noise", "synth", "None of the 2 real clips can be read"),
        ("real", "noise", "None of the 2 synthetic clips can be read"),
        ("one", "synth", "one patient alone"),
    ],
)
def test_bad_input_is_one_sentence(home: Path, tmp_path: Path, real: str, synthetic: str, said: str) -> None:
    for name in ("empty", "nothing", "climbs", "noise", "one"):
        (tmp_path / name).mkdir()
    write_list(tmp_path / "nothing", [])
    write_list(tmp_path / "climbs", [("../../a", "TRAIN", "")])
    write_list(tmp_path / "noise", [("a", "TRAIN", ""), ("b", "TRAIN", "")])
    (tmp_path / "one" / "Videos").symlink_to(home / "real" / "Videos")
    write_list(tmp_path / "one", [(f"{PATIENT}-{i}", "TRAIN", "same") for i in range(2)])
    for name in ("real", "synth"):
        (tmp_path / name).symlink_to(home / name)
    code, told = run(tmp_path / real, tmp_path / synthetic, "--out", tmp_path / "out")
    errors = [line for line in told.splitlines() if line.startswith("Error: ")]
    assert code == 2 and len(set(errors)) == 1 and said in errors[0] and PATIENT not in told
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_refused_before_the_work(home: Path, tmp_path: Path) -> None:
    code, said = run(home / "real", home / "synth", "--out", tmp_path)
    assert code == 2 and "exists already" in said and "Reading" not in said


def test_a_bundle_without_a_segmenter_is_refused(home: Path) -> None:
    with pytest.raises(BundleError, match="no segmenter"):
        audit_cohort(home / "real", home / "synth", bundle=SimpleNamespace(components={}))


def test_subjects_of_a_cohort_lead_back_to_their_real_clips(home: Path, network: SimpleNamespace) -> None:
    """The hash by which `read_sources` names a subject is the one that an audit takes of a real clip."""
    from echokdm.cohort.plan import read_sources
    from echokdm.echo.derive import load_pipeline

    file = home / "real" / "Videos" / f"{PATIENT}-0.avi"
    sources, _ = read_sources([file], load_pipeline(defaults.BUNDLE))
    seen = read_clip(file)
    assert (
        sources[0].subject
        == sketch(Listed(file, "", "", ""), in_model_frame(Clip(seen.frames, seen.fps)), network, False).pixels
    )
