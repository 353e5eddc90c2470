"""Score a bundle as the paper's tables do: on held-out phantoms, or on a folder of clips."""

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echokdm.core import defaults
from echokdm.core.errors import ClipError, ConfigError, EchoKDMError, OutputError
from echokdm.core.naming import called
from echokdm.echo.bundle import Bundle, HeartPipeline, load_pipeline, weights_hash
from echokdm.echo.derive import Derived, derive_keypoints, segment_keypoints
from echokdm.echo.wish import Sampling

if TYPE_CHECKING:
    import pandas as pd

    from echokdm.losses.perceptual import Perceptual
    from echokdm.metrics.tables import Table

CHUNK = 4  # patients at a time; two pairs each fill the pipeline's batch
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SWEPT = 40  # patients of the ablation over k


@dataclass(frozen=True)
class Evaluation:
    """tables: the paper's in form. record: how all of it was measured. scores: name -> long table, a row a pair or
    frame."""

    tables: "list[Table]"
    record: dict[str, Any]
    scores: "dict[str, pd.DataFrame]"


def measured_how(bundle: str, distances: "Mapping[str, Perceptual]", size: int, **facts: Any) -> dict[str, Any]:
    """The record that goes with every table: size, weights, backbones, mask, machine. bundle: its name and hash."""
    import torch

    from echokdm import __version__

    return {
        "bundle": bundle,
        "size": f"{size} x {size} px, values in [0, 1]",
        **{f"LPIPS_{net}": distance.provenance for net, distance in distances.items()},
        "SSIM": "Gaussian window of 11 px, sigma 1.5, its map averaged inside the mask",
        **facts,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, echokdm {__version__}",
    }


def evaluate(
    bundle: Bundle = defaults.BUNDLE,
    data: str | Path | Sequence[Path] = defaults.DATA,
    patients: int = defaults.PATIENTS,
    out: str | Path | None = None,
    sampling: Sampling = Sampling(),
    *,
    device: str = defaults.DEVICE,
    overwrite: bool = False,
    show: bool = True,
) -> Evaluation:
    """Print the tables and, with `out`, write them there as `tables.md`, `.csv`, `.json`, and the scores behind them.

    data: "phantom" for `patients` simulated hearts that no training saw, ED to ES and random pairs; else a clip, clips
    or a folder of clips, whose own motion is made again from one frame. A bundle beyond echo is scored by its method's
    tables on the held-out split it was trained beside, or on that of another data set, "adapter:root". LPIPS is left
    out where no backbone's weights are on this machine. sampling: of KDM.
    Raises BundleError, ClipError (no clip to use), ConfigError, OutputError.
    """
    from echokdm.evaluation.paper import QUOTED, clip_tables, phantom_tables

    if str(data) == "phantom" and patients < 1:
        raise ConfigError(f"An evaluation needs at least one patient, not {patients}.")
    if out is not None and Path(out).exists() and not overwrite:  # said before the work, not after it
        raise OutputError(f"{called('The output folder', out)} exists already; choose another, or pass overwrite.")
    if isinstance(bundle, str | Path) and not is_echo(bundle):
        tables, record = _score_method(bundle, str(data), device, show)
        return _finish(Evaluation(tables, record, {}), out, overwrite, show)
    distances, lacking = _judges(device, show)
    pipeline = load_pipeline(bundle, device)
    if str(data) == "phantom":
        scores, facts = _score_phantoms(pipeline, distances, patients, sampling)
        tables = phantom_tables(scores["images"], scores["flows"])
    else:
        scores, facts = _score_folder(pipeline, distances, data, sampling)
        tables = clip_tables(scores["frames"], list(dict.fromkeys(scores["frames"]["clip"])))
    tables += QUOTED
    weights = f"{pipeline.bundle_name} (weights sha256 {weights_hash(pipeline)})"
    facts |= {"KDM": f"{sampling.steps} calls of F2I-net, k = {sampling.strength:g} T, seed {sampling.seed}"} | lacking
    return _finish(
        Evaluation(tables, measured_how(weights, distances, pipeline.size, **facts), scores), out, overwrite, show
    )


def _judges(device: str, show: bool) -> "tuple[dict[str, Perceptual], dict[str, str]]":
    """LPIPS of each backbone that is here, and for the record what is lacking; said before the work where there is
    none."""
    from echokdm.losses.perceptual import found_distances, missing_backbone

    distances = found_distances(device)
    if not distances and show:
        print(f"LPIPS is left out. {missing_backbone()}", file=sys.stderr)
    return distances, {} if distances else {"LPIPS": f"not measured. {missing_backbone()}"}


def _finish(result: Evaluation, out: str | Path | None, overwrite: bool, show: bool) -> Evaluation:
    from rich.console import Console

    from echokdm.metrics.tables import print_tables, write_tables

    if show:
        print_tables(result.tables, result.record, Console())
    if out is not None:
        write_tables(Path(out), result.tables, result.record, result.scores, overwrite)
    return result


def is_echo(bundle: str | Path) -> bool:
    """Whether a bundle is a KDM of ventricles. Raises BundleError where there is none."""
    from echokdm.methods.bundle import find_bundle, pipeline_settings

    settings = pipeline_settings(find_bundle(bundle))
    return settings["_class_name"] == "KDMPipeline" and settings.get("schema", "a4c-bloodpool-40") == "a4c-bloodpool-40"


def _score_method(bundle: str | Path, data: str, device: str, show: bool) -> "tuple[list[Table], dict[str, Any]]":
    """A method's own tables. data: "phantom" for the data it was trained beside, or "adapter:root"."""
    from echokdm.data.frames import FrameData, FrameSource
    from echokdm.methods.base import method_of
    from echokdm.methods.bundle import bundle_config, bundle_hash, find_bundle

    folder = find_bundle(bundle)
    method, config = method_of(folder), bundle_config(folder)
    if "phantom" in config["data"]:  # KDM's own stores, whose held_out is a number
        own: dict[str, Any] = {"adapter": f"phantom-{config['data']['phantom']}"}
    else:
        own = {k: v for k, v in config["data"].items() if k in FrameData.model_fields}
    if data == "phantom" and "root" not in own and not own["adapter"].startswith("phantom-"):
        raise ConfigError(f"Say where the data is that this bundle was trained beside: --data {own['adapter']}:FOLDER.")
    if data != "phantom":
        adapter, colon, root = data.partition(":")
        if not colon:
            raise ConfigError(f"--data takes ADAPTER:ROOT for a bundle of {method.name}, such as voxceleb:FOLDER.")
        own |= {"adapter": adapter, "root": root}
    distances, lacking = _judges(device, show)
    source = FrameSource(FrameData(**own), int(config["size"]), int(config["seed"]))
    tables = method.evaluate(method.pipeline.from_pretrained(folder).to(device), source)
    facts = {"method": method.name, "data": f"{source.config.adapter}, split {source.config.held_out}"} | lacking
    return tables, measured_how(
        f"{folder.name} (sha256 {bundle_hash(folder)})", distances, int(config["size"]), **facts
    )


def _score_phantoms(
    pipeline: HeartPipeline, distances: "Mapping[str, Perceptual]", patients: int, sampling: Sampling
) -> "tuple[dict[str, pd.DataFrame], dict[str, Any]]":
    import pandas as pd

    from echokdm.core.progress import track
    from echokdm.evaluation.held_out import FIRST_SEED, held_out_pairs, score_pairs
    from echokdm.methods.kdm.drawing import Drawing

    images, flows = [], []
    for first in track(range(0, patients, CHUNK), label="held-out phantoms"):
        pairs = held_out_pairs([FIRST_SEED + i for i in range(first, min(first + CHUNK, patients))], pipeline.size)
        drawing = Drawing(steps=sampling.steps, strength=sampling.strength, seed=sampling.seed)
        picture, flow = score_pairs(pipeline, pairs, distances, drawing, STRENGTHS if first < SWEPT else ())
        images.append(picture)
        flows.append(flow)
    facts = {
        "data": f"{patients} held-out phantoms, seeds {FIRST_SEED} to {FIRST_SEED + patients - 1}, one pair of each kind a patient",
        "mask": "inside the sector and only where the true warp's source lies inside it too; black outside in both pictures",
        "k ablation": f"the first {min(-(-SWEPT // CHUNK) * CHUNK, patients)} patients",
    }
    return {"images": pd.concat(images, ignore_index=True), "flows": pd.concat(flows, ignore_index=True)}, facts


def score_clip(
    pipeline: HeartPipeline, source: Derived, distances: "Mapping[str, Perceptual]", sampling: Sampling = Sampling()
) -> "tuple[pd.DataFrame, Any]":
    """`evaluation.resynthesis.score_resynthesis` of a clip whose ventricle is known; its MD is of the bundle's
    judge."""
    import torch

    from echokdm.evaluation.resynthesis import score_resynthesis

    sector = torch.as_tensor(source.model.sector_mask)

    def detect(frames: Any) -> np.ndarray:
        try:
            return segment_keypoints(pipeline, frames, sector, source.clip.fps, made=True).keypoints
        except EchoKDMError:  # a picture that is no heart any more: its distance is not known
            return np.full(source.keypoints.shape, np.nan)

    return score_resynthesis(pipeline, source, detect, distances, sampling)


def _score_folder(
    pipeline: HeartPipeline,
    distances: "Mapping[str, Perceptual]",
    data: str | Path | Sequence[Path],
    sampling: Sampling,
) -> "tuple[dict[str, pd.DataFrame], dict[str, Any]]":
    import pandas as pd

    from echokdm.core.progress import track
    from echokdm.io.folder import clip_files

    files = (
        list(data)
        if not isinstance(data, str | Path)
        else clip_files(Path(data), "The folder of --data", "name one that exists, or pass --data phantom")
    )
    tables, refused = [], []
    for number, file in enumerate(track(files, label="clips"), 1):
        try:
            source = derive_keypoints(file, allow_print=True, bundle=pipeline)  # no pixel of it is put out
            if len(source.clip) < 2:
                raise ClipError("A single frame has no motion to make again.")
        except EchoKDMError as error:
            refused.append(f"clip {number}: {error}")
            continue
        table, _ = score_clip(pipeline, source, distances, sampling)
        # By number, not by name: a file's name may be a patient's.
        tables.append(table.assign(clip=f"clip {number}", ef=source.ejection_fraction))
    if not tables:
        raise ClipError(
            refused[0].split(": ", 1)[1]
            if refused
            else "There is no clip that can be read; name a folder of apical 4-chamber clips."
        )
    facts = {
        "data": f"{len(tables)} clips, in name order; {len(refused)} refused",
        **({"refused": "; ".join(refused)} if refused else {}),
        "mask": "inside the sector and only where what KDM's flow fetches lies inside it too; black outside in both pictures",
        "MD": "key-points found in the output against those found in the clip, both by the bundle's segmenter, smoothed in time",
    }
    return {"frames": pd.concat(tables, ignore_index=True)}, facts
