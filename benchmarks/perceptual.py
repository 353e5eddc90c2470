"""The package's own perceptual distance: does it order spoiled pictures as people do, and does it teach as well as
SqueezeNet.

    python benchmarks/perceptual.py                              # order, and rank correlation with LPIPS, on 60 held-out pictures
    python benchmarks/perceptual.py --taught OWN SQUEEZE         # two bundles: F2I-net taught 1,000 steps by either distance

The two bundles come from
    echokdm train configs/kdm-a4c-112.yaml --stage f2i --from a4c-phantom --set f2i.steps=1000 --set f2i.perceptual=own|squeeze --out RUN

Bars: larger distances at every further strength, mean over the pictures, of blur, noise, shift and texture; Spearman's
correlation with LPIPS-squeeze over all pictures, kinds and strengths >= .85; the weights < 3 MB; LPIPS-squeeze of
F2I-net taught by it at most 1 % above that taught by LPIPS-squeeze.
"""

import argparse

import numpy as np
from bars import Bars, machine, perceptual_distances


def check_order(bars: Bars) -> None:
    """The distance alone and beside each LPIPS at hand."""
    from echokdm.data.distortions import KINDS
    from echokdm.losses.feature_net import SHIPPED
    from echokdm.losses.perceptual import Perceptual
    from echokdm.methods.perceptual.data import stated_set
    from echokdm.methods.perceptual.scores import ladder_distances, monotone_share, rank_correlation

    own, pictures = Perceptual("own"), stated_set()
    print(f"{machine()}; {own.provenance}; {len(pictures)} held-out pictures of simulators")
    mine = ladder_distances(own, pictures)
    for kind, means, share in zip(KINDS, mine.mean(0), monotone_share(mine), strict=True):
        bars.check(
            f"{kind}, mean distances", bool((np.diff(means) > 0).all()), " ".join(f"{m:.3f}" for m in means), "rising"
        )
        print(f"      in order in {share:.1%} of single steps")
    for name, judge in perceptual_distances().items():
        theirs = ladder_distances(judge, pictures)
        print(
            f"      {judge.provenance}; within a kind "
            + ", ".join(f"{kind} {rank_correlation(mine[:, k], theirs[:, k]):.3f}" for k, kind in enumerate(KINDS))
        )
        value = rank_correlation(mine, theirs)
        if name == "squeeze":
            bars.at_least("rank correlation with LPIPS-squeeze", value, 0.85)
        else:
            print(f"      rank correlation with LPIPS-{name} {value:.3f}")
    bars.at_most("weights, MB", (SHIPPED / "diffusion_pytorch_model.safetensors").stat().st_size / 1e6, 3.0)


def check_teacher(own: str, squeeze: str, patients: int, bars: Bars) -> None:
    """LPIPS-squeeze of both kinds of pairs of held-out phantoms, made by either bundle."""
    from echokdm.evaluation.held_out import KDM
    from echokdm.evaluation.run import evaluate
    from echokdm.metrics.intervals import ratio_interval

    scores = []
    for bundle in (own, squeeze):
        images = evaluate(bundle, patients=patients, show=False).scores["images"]
        scores.append(images[(images["method"] == KDM) & images["strength"].isna()].reset_index(drop=True))
    for score in ("LPIPS_squeeze", "MSE_img", "SSIM"):
        found = ratio_interval(scores[0][score], scores[1][score], scores[0]["patient"])
        text = f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}], {patients} phantoms"
        if score == "LPIPS_squeeze":
            bars.check("LPIPS-squeeze, taught by our own over by SqueezeNet", found.value <= 1.01, text, "<= 1.01")
        else:
            print(f"      {score}, the same ratio: {text}")


def main() -> int:
    """Parse the command line, print verdicts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--taught", nargs=2, metavar=("OWN", "SQUEEZE"), help="two bundles' folders")
    options.add_argument("--patients", type=int, default=60, help="held-out phantoms to score the two on; default 60")
    arguments = options.parse_args()
    bars = Bars()
    if arguments.taught:
        check_teacher(*arguments.taught, arguments.patients, bars)
    else:
        check_order(bars)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
