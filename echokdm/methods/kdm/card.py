"""The model card of a trained bundle."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from echokdm.data.adapters.camus import LICENCE
from echokdm.methods.kdm.config import KDMConfig

if TYPE_CHECKING:
    from echokdm.methods.kdm.adapt import Adapted

_TEXT = """---
library_name: diffusers
tags: [{tag}, synthetic]
---
# {name}

Key-point guided image manipulation (KDM) for {subject} at {size} x {size} px: {segmenter}optical-flow network, codecs of images and
flows, key-points-to-flow and flow-to-image latent diffusion, and the one-step ablation.
Load it with `echokdm.KDMPipeline.from_pretrained("{name}")`.

**Data.** {patients} (six frames each) and {procedural} procedural image pairs, drawn from seeds. {real}
The only weights of others were those of LPIPS, a loss in training, none of which is in here.{flow_target}

**Training.** Seed {seed}, precision {precision}.

| stage | steps | minutes | hardware | last figures |
|---|---|---|---|---|
{rows}

Steps and minutes are of the last run alone where a stage went on from earlier weights. The figures are losses on the training data,
and held-out phantoms where they say Dice or end-point error.

**Limits.** {limits}
"""
_HEART = {
    "tag": "echocardiography",
    "subject": "apical-four-chamber echocardiography",
    "segmenter": "LV segmenter, ",
    "simulated": "hearts",
    "real": "No patient's pixels were used.",
    "limits": "Research only; not for diagnosis. Trained without a patient: speckle, artefacts and anatomy outside the simulator's "
    "range\nare rendered less faithfully. One view (A4C), gray-scale, one ventricle.",
}
_CLIPS = _HEART | {
    "simulated": "clips of patients",
    "real": "The weights learned from patients' pixels, and stay with whoever trained them.",
    "limits": "Research only; not for diagnosis. Weights can remember what they were trained on: audit what they make before it is "
    "passed\non. One view (A4C), gray-scale, one ventricle.",
}
_OTHERS = {"face": ("faces", "faces with 68 landmarks"), "body": ("people", "people with 18 joints")}


def _words(phantom: str) -> dict[str, str]:
    """What the card says of the kind of data."""
    if phantom == "heart":
        return _HEART
    simulated, subject = _OTHERS[phantom]
    return {
        "tag": phantom,
        "subject": subject,
        "segmenter": "landmark detector, ",
        "simulated": simulated,
        "real": "No real picture was used.",
        "limits": f"Research only. Trained on simulated {simulated} alone: real ones are outside what it has seen.",
    }


def card(config: KDMConfig, rows: str) -> str:
    """The card's text from the configuration and its table's rows."""
    if (share := config.f2i.start_share) > 0:
        rows += f"\n\nF2I-net's weights are {share:.0%} those its last run started from and the rest its own."
    clips = bool(config.data.clips)
    words = _CLIPS if clips else _words(config.data.phantom)
    if config.segmenter.outlined.startswith("camus:") and config.segmenter.steps and not clips:
        words = words | {
            "real": f"What generates pictures saw no patient's pixels. {LICENCE}.",
            "limits": words["limits"].replace(
                "Trained without a patient: ", "The generative nets were trained without a patient: "
            ),
        }
    patients = "Real clips" if clips else f"{config.data.patients} simulated {words['simulated']}"
    exact = config.flow_target == "truth" and not clips
    truth = " K2F-net learned the simulator's exact flow." if exact else " K2F-net learned OF-net's flow."
    return _TEXT.format(
        name=config.name,
        size=config.size,
        patients=patients,
        procedural=config.data.procedural,
        seed=config.seed,
        precision=config.precision,
        flow_target=truth,
        rows=rows,
        **words,
    )


_ADAPTED = """{matter}# {name}, adapted

The bundle {name} with its segmenter taught further on one scanner's clips by `echokdm adapt`; every other component is as it was.

**Data.** {learned}, outlined, beside simulated hearts{also}. The segmenter's weights learned from these patients' pixels: they are as
sensitive as the clips, and stay with whoever the clips belong to.
{licence}
**Held out.** {held_out}, none of them learned from. Dice of the left ventricle by the network's likeliest class, each frame by
itself, without the steps that `echokdm keypoints` takes from there.

| | before | after |
|---|---|---|
| largest ventricle of each clip (ED) | {before.ed:.3f} | {after.ed:.3f} |
| smallest ventricle of each clip (ES) | {before.es:.3f} | {after.es:.3f} |
| held-out simulated hearts | {before.phantoms:.3f} | {after.phantoms:.3f} |

**Training.** {steps} steps, seed {seed}, {minutes:.1f} minutes. `config.yaml` tells of the weights it went on from.

**Limits.** Research only; not for diagnosis. The figures are of few patients of one scanner.
"""
_CAMUS = """
**Licence.** Where clips are of CAMUS (Leclerc et al., IEEE TMI 2019), its licence, CC BY-NC-SA 4.0, holds for the weights too: no
commercial use, the same licence for what is made from them, and the citation.
"""


def adapted_card(name: str, before: str, result: "Adapted", adapters: Sequence[str], steps: int, seed: int) -> str:
    """The card of an adapted bundle; the card of the bundle that it went on from follows, since what it says of data
    still holds.

    name, before: of that bundle. adapters: of the data sets that were learned from.
    """
    matter, body = _parts(before)
    text = _ADAPTED.format(
        matter=matter,
        name=name,
        learned=result.learned,
        held_out=result.held_out,
        before=result.before,
        after=result.after,
        also="" if result.also is None else f" and {result.also} of another data set",
        licence=_CAMUS if "camus" in adapters else "",
        steps=steps,
        seed=seed,
        minutes=result.minutes,
    )
    demoted = re.sub(r"^#", "###", body.strip(), flags=re.M)
    return f"{text}\n## Before it was adapted\n\n{demoted}\n" if demoted else text


def licensed_card(text: str, licence: str) -> str:
    """A card whose header names the licence, as `methods.bundle.bundle_licence` tells it, by the identifier that a
    model hub knows."""
    matter, body = _parts(text)
    told = re.match(r"(MIT|CC [A-Z-]+ [0-9.]+)\b", licence)
    line = f"license: {told[1].lower().replace(' ', '-')}" if told else "license: other"
    lines = [kept for kept in matter.splitlines()[1:-1] if not kept.startswith("license:")]
    return "\n".join(["---", *lines, line, "---"]) + "\n" + body


def _parts(text: str) -> tuple[str, str]:
    """A card's header with its marks, "" where it has none, and the rest."""
    found = re.fullmatch(r"(---\n.*?\n---\n)?(.*)", text, re.S)
    assert found is not None  # any text is matched
    return found[1] or "", found[2]
