"""Does a synthetic clip flicker? Warping error between successive frames, along the clip's own flow, against the
phantom's.

    python benchmarks/temporal.py [--bundle B] [--patients 40] [--frames 20]

The synthetic clip follows the phantom's key-points from its end-diastolic frame. Its flow from frame to frame is had
from the flows by which both read that frame; the phantom's is exact. Bar: error <= 1.1 x the phantom's.
"""

import numpy as np
import torch
from bars import Bars, begin, parser

from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import FIRST_SEED
from echokdm.metrics.intervals import mean_interval, ratio_interval
from echokdm.metrics.temporal import fetched_inside, flow_between, warping_error


@torch.no_grad()
def errors(seed: int, frames: int, pipeline) -> tuple[float, float, float]:
    """Mean warping error over a beat of KDM's clip, of the plain warp's, and of the phantom's."""
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom([seed])
    phases = torch.arange(frames)[None] / frames
    real, points, sector = phantom.frames(phases)[0], phantom.keypoints(phases)[0], phantom.sector[0]
    out = pipeline(real[:1], points[0], points, sector=sector, valve_opening=phantom.valve_opening(phases)[0])
    between, known = flow_between(out.flow[1:], out.flow[:-1])
    known &= fetched_inside(between, sector.expand(frames - 1, 1, -1, -1))
    exact = [
        (phantom.flow(phases[:, t], phases[:, t - 1]), phantom.valid(phases[:, t], phases[:, t - 1]))
        for t in range(1, frames)
    ]
    flows, valid = (torch.cat(part) for part in zip(*exact, strict=True))
    return (
        float(warping_error(out.frames, between, known).mean()),
        float(warping_error(out.warped, between, known).mean()),
        float(warping_error(real, flows, valid).mean()),
    )


def main() -> int:
    """Parse the command line, print figures and verdict."""
    options = parser(__doc__, 40)
    options.add_argument("--frames", type=int, default=20, help="frames a beat")
    arguments = options.parse_args()
    print(begin(arguments))
    from rich.progress import track

    pipeline = load_pipeline(arguments.bundle)
    rows = [
        errors(FIRST_SEED + i, arguments.frames, pipeline) for i in track(range(arguments.patients), transient=True)
    ]
    made, warped, real = np.array(rows).T
    for name, values in (("KDM", made), ("its warp alone", warped), ("phantom", real)):
        found = mean_interval(values)
        print(
            f"      warping error, {name}: {found.value:.6f} [{found.low:.6f}, {found.high:.6f}], {found.patients} patients"
        )
    print(
        f"      ratio of a patient's errors, median: {np.median(made / real):.3f}, 95th percentile {np.percentile(made / real, 95):.3f}"
    )
    ratio = ratio_interval(made, real)
    bars = Bars()
    bars.check(
        "warping error of the synthetic clip / the phantom's",
        ratio.value <= 1.1,
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
        "<= 1.1",
    )
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
