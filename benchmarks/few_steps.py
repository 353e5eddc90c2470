"""Few network calls against the paper's sampler (`--sampler paper`), on the same pairs in one run.

    python benchmarks/few_steps.py [--bundle B] [--patients 24] [--steps 2] [--flow-steps 1]

The paper's sampler: 200 calls of K2F-net from noise, once, its flow as it is drawn; then 100 of F2I-net from k = 100 of
T = 200. Ours: --flow-steps for each of K2F-net's two samples and --steps, from k = T.
Bars: at most 10 calls a frame give LPIPS within 2 % of that, at least 15 times faster, by the processor time that
either takes, so that other work on the machine does not count.
"""

import time
from dataclasses import replace

import numpy as np
import torch
from bars import Bars, begin, parser, perceptual_distances

from echokdm.core import defaults
from echokdm.core.samplers import SAMPLERS
from echokdm.echo.derive import load_pipeline
from echokdm.evaluation.held_out import ED_TO_ES, FIRST_SEED, held_out_pairs
from echokdm.methods.kdm.drawing import Drawing
from echokdm.metrics.image import image_scores
from echokdm.metrics.intervals import mean_interval, ratio_interval

CHUNK = 8  # patients a call
PAPER = Drawing(**SAMPLERS["paper"])


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 24)
    options.add_argument("--steps", type=int, default=defaults.STEPS, help="calls of F2I-net")
    options.add_argument("--flow-steps", type=int, default=defaults.FLOW_STEPS, help="calls of K2F-net a sample")
    options.add_argument("--scheduler", choices=("ddim", "dpm++"), default="ddim", help="of the few steps")
    arguments = options.parse_args()
    print(begin(arguments))
    from rich.progress import track

    pipeline, distances = load_pipeline(arguments.bundle), perceptual_distances()
    few_calls = Drawing(steps=arguments.steps, flow_steps=arguments.flow_steps, scheduler=arguments.scheduler)
    samplers = {"few": few_calls, "paper": PAPER}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in samplers}
    squared: dict[str, list[np.ndarray]] = {name: [] for name in samplers}
    seconds = dict.fromkeys(samplers, 0.0)
    for first in track(range(0, arguments.patients, CHUNK), transient=True):
        pairs = held_out_pairs([FIRST_SEED + i for i in range(first, min(first + CHUNK, arguments.patients))])
        rows = [i for i, kind in enumerate(pairs.kinds) if kind == ED_TO_ES]
        if not first:  # warm up
            pipeline(
                pairs.source[:1],
                pairs.source_keypoints[0],
                pairs.target_keypoints[:1],
                sector=pairs.sector[0],
                drawing=Drawing(steps=1, flow_steps=1),
            )
        for name, sampler in samplers.items():
            given = pairs.source[rows], pairs.source_keypoints[rows], pairs.target_keypoints[rows]
            told = {"sector": pairs.sector[rows], "valve_opening": pairs.valve_opening[rows]}
            start = time.process_time()
            flow = pipeline(*given, **told, drawing=replace(sampler, without="f2i")).flow
            made = pipeline(*given, **told, drawing=sampler, flow=flow).frames
            seconds[name] += time.process_time() - start
            found = image_scores(made, pairs.target[rows], pairs.valid[rows], distances)
            scores[name].append(found["LPIPS_squeeze"])
            squared[name].append(found["MSE_img"])
    few, many = (np.concatenate(scores[name]) for name in samplers)
    for name, values in (("few", few), ("paper", many)):
        found = mean_interval(values)
        calls = samplers[name].steps + samplers[name].samples * samplers[name].flow_steps
        print(
            f"      {name}: {calls} calls a frame, LPIPS-squeeze {found.value:.4f} [{found.low:.4f}, {found.high:.4f}], "
            f"MSE {np.concatenate(squared[name]).mean():.5f}, {seconds[name] / len(values):.3f} s of processor time a frame"
        )
    print(f"      {torch.get_num_threads()} threads, {len(few)} ED to ES pairs, seeds from {FIRST_SEED}")
    ratio, bars = ratio_interval(few, many), Bars()
    bars.at_most("network calls a frame", arguments.steps + 2 * arguments.flow_steps, 10, 0)
    bars.check(
        "LPIPS, few over the paper's",
        ratio.value <= 1.02,
        f"{ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]",
        "<= 1.02",
    )
    bars.at_least("times faster", seconds["paper"] / seconds["few"], 15, 1)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
