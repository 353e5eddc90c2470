"""KDM on faces or people that no training saw, against both of its ablations: LPIPS and MD.

    python benchmarks/methods/kdm.py [--config configs/kdm-face-64.yaml] [--out runs/kdm-face-benchmark] [--seeds 3] [--set a.b=c ...]

Trains what is not yet in --out/<seed> and goes on where it was stopped. The first seed trains everything; the others
train their own diffusion networks on its codecs, so that a latent means the same in all. MD is to the true key-points
that are seen, by the detector of the first seed's bundle. Bars: in the mean over seeds KDM has lower LPIPS and lower MD
than without F2I and than without K2F.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bars import Bars, machine  # noqa: E402

from echokdm.core.config import load_config  # noqa: E402
from echokdm.data.frames import FrameData, FrameSource  # noqa: E402
from echokdm.losses.perceptual import Perceptual  # noqa: E402
from echokdm.methods.kdm.method import METHOD  # noqa: E402
from echokdm.methods.kdm.pipeline import KDMPipeline  # noqa: E402
from echokdm.methods.kdm.scores import KDM, NO_F2I, NO_K2F, pair_scores  # noqa: E402
from echokdm.methods.train import train_config  # noqa: E402
from echokdm.metrics.intervals import difference_interval  # noqa: E402

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "kdm-face-64.yaml"
BARS = ("LPIPS_squeeze", "MD, px")
SHARED = ("image_codec", "flow_codec", "landmarks")


def trained(arguments: argparse.Namespace, seed: int) -> Path:
    """The bundle of one seed."""
    out, overrides = arguments.out / str(seed), [*arguments.set, f"seed={seed}"]
    if seed:
        for name in SHARED:
            shutil.copytree(arguments.out / "0" / "bundle" / name, out / "bundle" / name, dirs_exist_ok=True)
        overrides += [f"{name}.steps=0" for name in SHARED]
    return train_config(arguments.config, out=out, overrides=overrides)


def main() -> int:
    """Train, score, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--config", type=Path, default=CONFIG)
    options.add_argument("--out", type=Path, default=Path("runs/kdm-face-benchmark"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--identities", type=int, default=100, help="held-out ones to score")
    options.add_argument("--set", nargs="*", default=[], help="overrides of the configuration")
    arguments = options.parse_args()
    config = load_config(arguments.config, METHOD.config, arguments.set)
    root = str(10 * arguments.identities)  # the split test has a tenth as many identities
    data = FrameSource(
        FrameData(adapter=f"phantom-{config.data.phantom}", root=root, cache=config.data.cache), config.size, 0
    )
    distance, detector, seeds = Perceptual("squeeze"), None, []
    for seed in range(arguments.seeds):
        pipeline = KDMPipeline.from_pretrained(trained(arguments, seed))
        detector = detector or pipeline.landmarks
        pipeline.register_modules(landmarks=detector)
        seeds.append(pair_scores(pipeline, data, {"squeeze": distance}))
    count = len(data.held_out(2, 0))
    print(
        f"{data.config.adapter} at {config.size} px, {count} held-out identities, one pair of frames each; "
        f"{len(seeds)} seeds, codecs of the first; {distance.provenance}; {machine()}\n"
    )
    names = list(seeds[0][KDM])
    print("| |" + "".join(f" {name} |" for name in names) + "\n|---|" + "---:|" * len(names))
    for method in seeds[0]:
        cells = [np.array([np.nanmean(scores[method][name]) for scores in seeds]) for name in names]
        print(
            f"| {method} |"
            + "".join(f" {v.mean():.4f}" + (f" ± {v.std(ddof=1):.4f}" if len(v) > 1 else "") + " |" for v in cells)
        )
    print()
    bars = Bars()
    for other in (NO_F2I, NO_K2F):
        for name in BARS:
            gains = np.array([np.nanmean(scores[KDM][name] - scores[other][name]) for scores in seeds])
            first = difference_interval(seeds[0][KDM][name], seeds[0][other][name])
            figure = f"{gains.mean():+.4f}, by seed {np.round(gains, 4).tolist()}; seed 0 [{first.low:+.4f}, {first.high:+.4f}]"
            bars.check(f"KDM - {other}: {name}", bool(gains.mean() < 0), figure, "below 0")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
