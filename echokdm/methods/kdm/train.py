"""`echokdm train`: all stages of a KDM in order, or one of them, into a bundle."""

import copy
import difflib
import json
import os
import platform
import shutil
import time
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from echokdm.core.config import load_config
from echokdm.core.errors import BundleError, ConfigError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.data.pairs import HELD_OUT, FlowPairs, PhantomClips, estimated_flows, phantom_store, procedural_store
from echokdm.data.posed import posed_store, schema_of
from echokdm.engine.loop import train_stage
from echokdm.engine.sampling import build_scheduler
from echokdm.engine.stage import Stage
from echokdm.methods.kdm.bundle import find_bundle
from echokdm.methods.kdm.card import write_card
from echokdm.methods.kdm.codec import CodecStage
from echokdm.methods.kdm.config import STAGES, KDMConfig
from echokdm.methods.kdm.denoiser import DenoiserConfig, F2IStage, K2FStage, K2IStage
from echokdm.methods.kdm.of_net import OFNetStage
from echokdm.methods.kdm.pipeline import COMPONENTS, KDMPipeline
from echokdm.methods.kdm.segmentation import EmptyClips, SegmenterStage


class _Data:
    """The stores and data sets of a configuration, each made when first asked for."""

    def __init__(self, config: KDMConfig) -> None:
        self.config, self.folder = config, Path(config.data.cache)
        self.heart = config.data.phantom == "heart"
        self.schema, self.image_channels = (A4C_BLOODPOOL_40, 1) if self.heart else (schema_of(config.data.phantom), 3)

    def _folder(self, name: str, count: int) -> Path:
        return self.folder / f"{name}-{self.config.size}-{count}"

    def phantoms(self):
        return self._store("phantoms", self.config.data.patients, 0)

    def held_out(self):
        return self._store("held-out", self.config.data.held_out, HELD_OUT)

    def _store(self, name: str, count: int, first_seed: int):
        kind, folder = self.config.data.phantom, self._folder(name, count)
        if self.heart:
            return phantom_store(folder, count, self.config.size, first_seed)
        return posed_store(folder, kind, count, self.config.size, first_seed)

    def procedural(self):
        data = self.config.data
        return procedural_store(self._folder("procedural", data.procedural), data.procedural, self.config.size, self.config.seed)

    def pairs(self, stage: str, share: float, flows=None) -> FlowPairs:
        seed = derive_seed(self.config.seed, STAGES.index(stage))
        drift = self.config.data.drift_share if self.heart and stage in ("flow_codec", "k2f") else 0.0
        return FlowPairs(self.phantoms() if share < 1 else None, self.procedural() if share > 0 else None, share, seed, flows=flows,
                         drift_share=drift, schema=self.schema)


def train_config(path: str | Path, stage: str | None = None, from_bundle: str | None = None, out: str | Path | None = None,
                 overrides: list[str] | None = None, dry_run: bool = False, max_minutes: float | None = None) -> Path:
    """Train the stages of a YAML configuration; returns the bundle's folder, `<out>/bundle`.

    stage: only this one. from_bundle: start every trained stage from this bundle's weights and take over what is not
    trained. out: default `runs/<name>`. A run that was stopped goes on where it was; a finished stage is not repeated.
    dry_run: print the resolved configuration. Raises ConfigError, BundleError.
    """
    config = load_config(Path(path), KDMConfig, overrides)
    if stage is not None and stage not in STAGES:
        near = difflib.get_close_matches(stage, STAGES, 1, 0.0)
        raise ConfigError(f"There is no stage '{stage}'; did you mean '{near[0]}'? The stages are {', '.join(STAGES)}.")
    resolved = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    folder = Path(out) if out is not None else Path("runs") / config.name
    if dry_run:
        print(resolved)
        return folder / "bundle"
    bundle = folder / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(resolved)
    given = find_bundle(from_bundle) if from_bundle else None
    if given is not None:
        for name in STAGES:
            if (given / name).is_dir() and not (bundle / name).exists():
                shutil.copytree(given / name, bundle / name)
    data = _Data(config)
    for name in STAGES if stage is None else (stage,):
        settings = getattr(config, name)
        record = folder / name / "done.json"
        if record.exists() or settings.steps == 0 or (name == "segmenter" and not data.heart):
            continue
        torch.manual_seed(derive_seed(config.seed, STAGES.index(name), 7))  # initial weights
        began = time.monotonic()
        trained = build_stage(name, config, data, bundle, start=given is not None)
        share = settings.start_share if given is not None and isinstance(settings, DenoiserConfig) else 0.0
        start = copy.deepcopy(trained.modules[name].state_dict()) if share > 0 else None
        figures = train_stage(trained, steps=settings.steps, folder=folder / name, seed=derive_seed(config.seed, STAGES.index(name), 8),
                              precision=config.precision, save_every=config.save_every, workers=config.data.workers,
                              max_minutes=max_minutes)
        if start is not None:
            mix_in(trained.modules[name], start, share)
        save_component(trained.modules[name], bundle / name)
        record.write_text(json.dumps({"stage": name, "steps": settings.steps, "minutes": round((time.monotonic() - began) / 60, 1),
                                      "figures": figures, "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads"}))
    assemble(bundle, config, folder)
    return bundle


def build_stage(name: str, config: KDMConfig, data: _Data, bundle: Path, start: bool) -> Stage:
    """The stage `name`, its data and the frozen parts it needs; `start`: from the weights that lie in `bundle`."""
    settings = getattr(config, name)
    before = load_component(bundle, name) if start and (bundle / name).is_dir() else None
    if name == "segmenter":
        empty = EmptyClips(data.procedural(), config.seed)
        return SegmenterStage(PhantomClips(data.phantoms(), config.seed, settings.warped_share), config.seed, empty=empty,
                              batch_size=settings.batch, held_out=PhantomClips(data.held_out(), 1), learning_rate=settings.lr,
                              network=before)
    if name == "of_net":
        held_out = FlowPairs(data.held_out(), None, 0.0, 1, gray_jitter=0.0, schema=data.schema)
        return OFNetStage(settings, data.pairs(name, 0.0), held_out=held_out, network=before)
    if name in ("image_codec", "flow_codec"):
        return CodecStage(settings, data.pairs(name, settings.procedural_share), name.removesuffix("_codec"),
                          image_channels=data.image_channels, codec=before)
    needed = {"k2f": ("flow_codec",), "f2i": ("image_codec",), "k2i": ("image_codec",)}[name]
    codecs = {n: load_component(bundle, n) for n in needed}
    flows = None
    if name == "k2f" and config.flow_target == "of_net":
        store = data.phantoms()
        flows = estimated_flows(store.folder / "of_net", store, load_component(bundle, "of_net"))
    judge = load_component(bundle, "segmenter") if settings.label_weight > 0 else None
    kind = {"k2f": K2FStage, "f2i": F2IStage, "k2i": K2IStage}[name]
    return kind(settings, data.pairs(name, settings.procedural_share, flows), codecs, schema=data.schema,
                image_channels=data.image_channels, network=before, segmenter=judge)


def mix_in(module: nn.Module, weights: dict[str, Tensor], share: float) -> None:
    """Let the module's parameters be `share` of `weights` and the rest their own, in place."""
    with torch.no_grad():
        for name, own in module.state_dict().items():
            own.lerp_(weights[name].to(own), share)


def save_component(module: nn.Module, folder: Path) -> None:
    """Write one component as config.json and half-precision safetensors, by a temporary name and a move."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    module.register_to_config(_name_or_path=folder.name)  # where it was loaded from is nobody's business
    module.cpu().half().save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    module.float()


def load_component(bundle: Path, name: str) -> nn.Module:
    """One component of a bundle in float32. Raises BundleError where it is not there yet."""
    if not (bundle / name).is_dir():
        raise BundleError(f"The stage '{name}' is not trained yet; train it first, or start --from a bundle that has it.")
    return COMPONENTS[name].from_pretrained(bundle / name, torch_dtype=torch.float32, local_files_only=True)


def assemble(bundle: Path, config: KDMConfig, folder: Path) -> None:
    """Write scheduler, model index and model card, once every component that a pipeline needs is there."""
    have = {n: load_component(bundle, n) for n in STAGES if (bundle / n).is_dir()}
    if not all(n in have for n in STAGES if n not in KDMPipeline._optional_components):
        return
    pipeline = KDMPipeline(**have, scheduler=build_scheduler("ddim", config.f2i.prediction), schema=_Data(config).schema.name)
    pipeline.scheduler.save_pretrained(bundle / "scheduler")
    pipeline.save_config(bundle)
    write_card(bundle, config, folder)
