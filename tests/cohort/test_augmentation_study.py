"""The downstream study at its smallest: one patient, one synthetic clip, trainings of two steps."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

TINY = {"sizes": (3,), "rounds": 1, "seeds": 2, "steps": (2, 2), "judged": 2}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "augmentation_study.py"
    spec = importlib.util.spec_from_file_location("augmentation_study", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # where augmentation_study_cases.py lies, as when it is run
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def out(example: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    example.study(folder, **TINY)
    return folder


def test_every_training_judges_every_patient(out: Path) -> None:
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    counts = results.groupby(["arm", "seed"])["case"].nunique()
    assert (
        set(counts.index.get_level_values("arm")) == {"none", "spline", "echokdm"}
        and len(counts) == 6
        and (counts == 2).all()
    )
    assert np.isfinite(results["EF"]).all() and results["LV"].between(0, 1).all()
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_spline_and_model_share_labels_and_differ_in_the_picture(example: ModuleType, out: Path) -> None:
    spline, model = example.load(out / "3-patients" / "round0.npz"), example.read_cohort(out / "3-patients" / "round0")
    real = example.load(out / "patients-3.npz")
    np.testing.assert_allclose(spline.ef, model.ef, atol=0.1)
    assert (spline.masks != model.masks).sum() <= 4  # pixels that an edge cuts in half
    own = real.ef[(real.patient == model.patient[0]).nonzero()[0, 0]]
    assert abs(float(own - model.ef[0])) > 1  # another ejection fraction than the patient has
    difference = (spline.clips.float() - model.clips.float()).abs()
    by_frame = difference.mean(dim=(0, 2, 3))
    assert by_frame.max() > 1 and by_frame[0] < 20  # one heart, drawn by two hands, most apart where most was asked


def test_labels_lie_on_the_picture(example: ModuleType, out: Path) -> None:
    """Blood is darker than what surrounds it, in real and synthetic frames, at end-diastole and end-systole."""
    from scipy.ndimage import binary_dilation

    for cases in (example.load(out / "patients-3.npz"), example.read_cohort(out / "3-patients" / "round0")):
        for frame, mask in zip(cases.frames[0].numpy(), cases.masks[0].numpy(), strict=True):
            wall = binary_dilation(mask, iterations=5) & ~mask & (frame > 0)
            # some walls are hardly brighter than the haze before them
            assert frame[mask].mean() < 0.95 * frame[wall].mean()


def test_a_stopped_study_goes_on_to_the_same_bytes(example: ModuleType, out: Path) -> None:
    results = (out / "results.csv").read_bytes()
    trainings = sorted((out / "trainings").rglob("*.csv"))
    stamps = {path: path.stat().st_mtime_ns for path in trainings}
    again = trainings[::4]
    for path in again:
        path.unlink()
    example.study(out, **TINY)
    assert (out / "results.csv").read_bytes() == results
    assert [path for path in trainings if path.stat().st_mtime_ns != stamps[path]] == again


def test_differences_are_paired_by_seed(example: ModuleType) -> None:
    """Seeds far apart with one and the same gain: the arms' intervals are wide, the difference's is not."""
    rows = [
        (25, arm, seed, case, 10.0 * seed + case - gain, 0.5)
        for seed in range(3)
        for case in range(4)
        for arm, gain in (("none", 0.0), ("spline", 1.0), ("echokdm", 2.0 + 0.1 * seed))
    ]
    table = example.summary(pd.DataFrame(rows, columns=["patients", "arm", "seed", "case", "EF", "LV"]))
    table = table[table["score"] == "EF"].set_index("arm")
    gain = table.loc["echokdm - none"]
    assert gain["mean"] == pytest.approx(-2.1) and -2.1 - 4.303 * 0.1 / 3**0.5 == pytest.approx(gain["low"], abs=1e-3)
    assert table.loc["none", "high"] - table.loc["none", "low"] > 20
    assert gain["tests_low"] == pytest.approx(-2.1) and set(table.index) >= {"echokdm - spline", "spline - none"}
