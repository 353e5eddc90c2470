"""A pipeline is loaded without torch's compiler, plots and tables, and who wants them afterwards gets the real ones."""

import subprocess
import sys

LOADS = "from echokdm.echo.bundle import load_pipeline; load_pipeline('a4c')"
HEAVY = "torch._dynamo", "sympy", "matplotlib", "pandas", "scipy.stats", "nibabel"
HELD = (
    "diffusers.models.transformers.transformer_flux",
    "diffusers.models.autoencoders.autoencoder_oobleck",
    "monai.losses",
)


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_pipeline_needs_none_of_it_and_what_comes_later_is_real() -> None:
    run(
        f"import sys; {LOADS}\n"
        f"assert not [name for name in {HEAVY + HELD} if name in sys.modules]\n"
        "import matplotlib.pyplot, nibabel, pandas, scipy.stats, torch\n"
        "assert nibabel.load and pandas.DataFrame and matplotlib.pyplot.plot and abs(scipy.stats.norm.cdf(0) - 0.5) < 1e-9\n"
        "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)) == 2\n"
        "from diffusers.utils.torch_utils import is_compiled_module\n"
        "assert is_compiled_module(torch.compile(torch.nn.Linear(1, 1), backend='eager'))"
    )


def test_what_was_imported_before_stays() -> None:
    names = "pandas", "torch._dynamo"
    run(
        f"import sys, {', '.join(names)}; real = [sys.modules[name] for name in {names}]\n{LOADS}\n"
        f"assert all(sys.modules[name] is module for name, module in zip({names}, real))"
    )


def test_packages_are_loaded_in_part_and_are_whole_when_asked() -> None:
    run(
        f"import sys, echokdm.methods.kdm.pipeline; held = {HELD}\n"
        "assert not [name for name in held if name in sys.modules]\n"
        "from diffusers import AutoencoderOobleck, FluxTransformer2DModel\n"
        "from monai.transforms import Compose\n"
        "import monai\n"
        "assert Compose([abs])(-2) == 2 and monai.networks.nets.AttentionUnet and monai.losses.DiceLoss and monai.__version__\n"
        "assert AutoencoderOobleck.__module__ == held[1] and FluxTransformer2DModel.__module__ == held[0]\n"
        "try:\n    monai.transforms.no_such_thing\nexcept AttributeError as error:\n    assert 'no_such_thing' in str(error)\n"
        "else:\n    raise AssertionError"
    )
