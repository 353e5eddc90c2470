"""The doctor names what works and what does not, and never fails itself."""

import json
from pathlib import Path

import pytest

from echokdm.cli import doctor
from echokdm.deid import words


def bundle(folder: Path, components: tuple[str, ...] = ("k2f", "f2i")) -> Path:
    folder.mkdir(parents=True)
    index = {"_class_name": "KDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"], "optional": [None, None]}
    (folder / "model_index.json").write_text(
        json.dumps(index | {name: ["diffusers", "UNet2DModel"] for name in components})
    )
    for name in components:
        (folder / name).mkdir()
        (folder / name / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 1_000_000)
    return folder


def test_bundles_whole_and_damaged(tmp_path: Path) -> None:
    bundle(tmp_path / "a")
    (bundle(tmp_path / "b") / "f2i" / "diffusion_pytorch_model.safetensors").unlink()
    (bundle(tmp_path / "c") / "model_index.json").write_text("{")
    a, b, c = doctor.check_bundles(tmp_path)
    assert a.ok and a.detail == "2 networks, 2.0 MB; licence MIT" and not a.mend
    assert not b.ok and "f2i" in b.detail and b.mend
    assert not c.ok and "model_index.json" in c.detail and c.mend


def test_no_bundle_is_a_fault_with_a_remedy(tmp_path: Path) -> None:
    (check,) = doctor.check_bundles(tmp_path / "none")
    assert not check.ok and check.required and "--bundle" in check.mend


def test_this_machine_reads_what_the_project_promises() -> None:
    """The install under test has every decoder and codec; what is missing must carry a remedy."""
    (dicom,), (video,) = doctor.check_dicom(), doctor.check_video()
    assert dicom.ok and "JPEG 2000" in dicom.detail and "not" not in dicom.detail
    assert video.ok and all(check.ok for check in doctor.check_search())
    python, packages = doctor.check_python()
    assert python.ok and packages.ok, packages.detail
    assert all(check.ok for check in doctor.check_torch())


def test_a_missing_text_detector_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_NETWORK", "absent.onnx")
    (check,) = doctor.check_search()
    assert not check.ok and check.required and "install again" in check.mend


def test_missing_backbones_say_where_to_put_the_file(
    no_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {check.name: check for check in doctor.check_backbones()}
    assert set(checks) == {"LPIPS-squeeze", "LPIPS-alex", "LPIPS-vgg", "features-vgg19"}
    for name, file in (("LPIPS-alex", "alexnet-owt-7be5be79.pth"), ("features-vgg19", "vgg19-dcbb9e9d.pth")):
        told = checks[name].mend
        assert not checks[name].ok and not checks[name].required and "ECHOKDM_BACKBONES" in told
        assert file in told and f"SHA-256 {file.split('-')[-1][:8]}" in told and no_weights.name in told
    (tmp_path / "alexnet.pth").touch()
    monkeypatch.setenv("ECHOKDM_BACKBONES", str(tmp_path))
    assert {check.name: check.ok for check in doctor.check_backbones()}["LPIPS-alex"]


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> list[doctor.Check]:
        raise RuntimeError("operator [nms]\ndoes not exist")

    good = doctor.Check("good", True, "works")
    optional = doctor.Check("optional", False, "not there", "fetch it", required=False)
    monkeypatch.setattr(doctor, "GROUPS", {"good": lambda: [good, optional]})
    assert doctor.main() == 0
    assert "fetch it" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "GROUPS", {"good": lambda: [good], "broken": broken})
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "operator [nms] does not exist" in out and "To be mended: broken" in out
