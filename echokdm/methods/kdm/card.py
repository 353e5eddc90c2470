"""The model card of a trained bundle."""

import json
from pathlib import Path

from echokdm.methods.kdm.config import STAGES, KDMConfig

_TEXT = """---
library_name: diffusers
tags: [echocardiography, synthetic]
---
# {name}

Key-point guided image manipulation (KDM) for apical-four-chamber echocardiography at {size} x {size} px: LV segmenter, optical-flow
network, codecs of images and flows, key-points-to-flow and flow-to-image latent diffusion, and the one-step ablation.
Load it with `echokdm.KDMPipeline.from_pretrained("{name}")`.

**Data.** {patients} simulated hearts (six frames each) and {procedural} procedural image pairs, drawn from seeds. No patient's
pixels were used. The only weights of others were those of LPIPS, a loss in training, none of which is in here.{flow_target}

**Training.** Seed {seed}, precision {precision}.

| stage | steps | minutes | hardware | last figures |
|---|---|---|---|---|
{rows}

Steps and minutes are of the last run alone where a stage went on from earlier weights. The figures are losses on the training data,
and held-out phantoms where they say Dice or end-point error.

**Limits.** Research only; not for diagnosis. Trained without a patient: speckle, artefacts and anatomy outside the simulator's
range are rendered less faithfully. One view (A4C), gray-scale, one ventricle.
"""


def write_card(bundle: Path, config: KDMConfig, folder: Path) -> None:
    """Write `README.md` into the bundle from its configuration and the stages' records in `folder`."""
    rows = []
    for name in STAGES:
        record = folder / name / "done.json"
        if record.exists():
            done = json.loads(record.read_text())
            figures = ", ".join(f"{k} {v:.4g}" for k, v in done["figures"].items())
            rows.append(f"| {name} | {done['steps']} | {done['minutes']} | {done['hardware']} | {figures} |")
        elif (bundle / name).is_dir():
            rows.append(f"| {name} | taken over | | | |")
    truth = " K2F-net learned the simulator's exact flow." if config.flow_target == "truth" else " K2F-net learned OF-net's flow."
    (bundle / "README.md").write_text(_TEXT.format(
        name=config.name, size=config.size, patients=config.data.patients, procedural=config.data.procedural, seed=config.seed,
        precision=config.precision, flow_target=truth, rows="\n".join(rows)))
