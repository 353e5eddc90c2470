"""The repair of a torchvision whose compiled operators can't load."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path


def run(code: str) -> str:
    """In a process of its own: torchvision is imported once a process."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_and_lpips_import_after_it() -> None:
    out = run("""
        from echokdm.core.torchvision_compat import ensure_torchvision
        import torch, torchvision, lpips
        from torchvision.models import squeezenet1_1
        print(tuple(squeezenet1_1(weights=None)(torch.zeros(1, 3, 64, 64)).shape), ensure_torchvision() in ("healthy", "declared"))
    """)
    assert out == "(1, 1000) True"


def test_operators_that_cannot_load_are_declared(tmp_path) -> None:
    """A torchvision of the wrong build: its library is no library; both schemas are there afterwards, once."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\nassert torch.ops.torchvision.nms and torch.ops.torchvision.qnms\n"
    )
    (package / "_C.so").write_bytes(b"not a library")
    out = run(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from echokdm.core.torchvision_compat import ensure_torchvision
        import torchvision
        print(ensure_torchvision(), ensure_torchvision())
    """)
    assert out == "declared declared"


def test_a_healthy_install_is_left_alone(tmp_path) -> None:
    """Operators that are registered already are not declared again (a second declaration would raise)."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    out = run(f"""
        import sys, torch
        sys.path.insert(0, {str(tmp_path)!r})
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from echokdm.core import torchvision_compat
        print(torchvision_compat.ensure_torchvision(), torchvision_compat._library, hasattr(torch.ops.torchvision, "qnms"))
    """)
    assert out == "healthy None False"


def test_absent_torchvision_is_no_fault() -> None:
    out = run("""
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "torchvision" else find(name, *rest)
        from echokdm.core.torchvision_compat import ensure_torchvision
        print(ensure_torchvision())
    """)
    assert out == "absent"


def test_everything_that_needs_torchvision_imports_it_first() -> None:
    """A file that imports diffusers, lpips, torchvision or torchmetrics is reached through an `__init__` that imports
    the repair."""
    package = Path(__file__).parents[2] / "echokdm"
    repair = "from echokdm.core import torchvision_compat"
    repairs = (repair, "from echokdm.core import lean_imports")  # which imports it itself
    needy = re.compile(r"^\s*(?:from|import) (?:diffusers|lpips|torchvision|torchmetrics)\b", re.M)
    bare = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found = needy.search(text)
        folders = [folder for folder in path.parents if package in folder.parents]
        covered = any(
            line in (folder / "__init__.py").read_text(encoding="utf-8") for folder in folders for line in repairs
        )
        ahead = found is not None and re.search(r"torchvision_compat", text[: found.start()]) is not None
        if found and not covered and not ahead:
            bare.append(f"{path.relative_to(package)}: add `{repair}` to the folder's __init__.py")
    assert not bare, "\n".join(bare)
