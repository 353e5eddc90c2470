"""What the command line, Python, pipelines and documents take where nothing is said: each value stands here alone."""

from collections.abc import Mapping
from typing import Any, Final

BUNDLE = "a4c"  # trained weights that come with the package
AUDIT_BUNDLE = "a4c-phantom"  # whose segmenter's features the audit's thresholds were set by
FRAME_SIZE = 112  # px a side of the frames that the shipped bundles draw
DEVICE = "cpu"
SEED = 0
STEPS = 2  # network calls of F2I a frame
FLOW_STEPS = 1  # network calls of K2F for each of its two samples; two or four bring nothing
STRENGTH = 1.0  # noise level at which F2I starts, of the noise schedule's whole
# Ways to run KDM's networks, by what they change of the above. The paper's: DDIM of T = 200, from k = 100; one sample of a flow, as it is
# drawn; latents pass the codebooks. What F2I-net is shown, which is more than the paper's, is of its weights.
SAMPLERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "own": {},
    "paper": {"steps": 100, "strength": 0.5, "flow_steps": 200, "samples": 1, "exact": False, "carry_detail": False, "quantize": True},
}

PER_CLIP = 4  # synthetic clips from each source clip
EF = "uniform:20-70"  # percent to ask for
MOTION: Final = "own"
SPLIT: Final = "TRAIN"
TOLERANCE = 5.0  # points of EF
TRIES = 3

DATA = "phantom"  # to evaluate on
PATIENTS = 200  # of them
