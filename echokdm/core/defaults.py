"""What the command line, Python, pipelines and documents take where nothing is said: each value stands here alone."""

from typing import Final

BUNDLE = "a4c"  # trained weights that come with the package
AUDIT_BUNDLE = "a4c-phantom"  # whose segmenter's features the audit's thresholds were set by
FRAME_SIZE = 112  # px a side of the frames that the shipped bundles draw
DEVICE = "cpu"
SEED = 0
STEPS = 2  # network calls of F2I a frame
FLOW_STEPS = 1  # network calls of K2F for each of its two samples; two or four bring nothing
STRENGTH = 1.0  # noise level at which F2I starts, of the noise schedule's whole

PER_CLIP = 4  # synthetic clips from each source clip
EF = "uniform:20-70"  # percent to ask for
MOTION: Final = "own"
SPLIT: Final = "TRAIN"
TOLERANCE = 5.0  # points of EF
TRIES = 3

DATA = "phantom"  # to evaluate on
PATIENTS = 200  # of them
