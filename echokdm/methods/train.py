"""`echokdm train`: all stages of a method in order, or one of them, into a bundle."""

import copy
import difflib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from echokdm.core.config import load_config, read_values
from echokdm.core.errors import BundleError, ConfigError
from echokdm.core.naming import names_shown
from echokdm.core.seeding import derive_seed
from echokdm.core.weights import load_network
from echokdm.engine.loop import LoopSettings, train_stage
from echokdm.engine.processes import is_main, main_first, wait
from echokdm.losses.perceptual import missing_backbone
from echokdm.methods.base import Method, MethodConfig, find_method
from echokdm.methods.bundle import CONFIG, LICENCE, bundle_licence, component_folders, find_bundle


def train_config(
    path: str | Path,
    stage: str | None = None,
    from_bundle: str | None = None,
    out: str | Path | None = None,
    overrides: list[str] | None = None,
    dry_run: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Train the stages of a YAML configuration; returns the bundle's folder, `<out>/bundle`.

    stage: only this one. from_bundle: start every trained stage from this bundle's weights and take over what is not
    trained. out: default `runs/<name>`. A run that was stopped goes on where it was; a finished stage is not repeated.
    dry_run: print the resolved configuration. Raises ConfigError, BundleError; of a perceptual loss whose weights are
    not on this machine before any work, a dry run too.
    """
    config = read_config(path, overrides)
    method = find_method(config.method)
    stages = method.stages(config)
    if stage is not None and stage not in stages:
        near = difflib.get_close_matches(stage, stages, 1, 0.0)
        raise ConfigError(f"There is no stage '{stage}'; did you mean '{near[0]}'? The stages are {', '.join(stages)}.")
    resolved = yaml.safe_dump(
        config.model_dump(mode="json") if names_shown() else without_places(config), sort_keys=False
    )
    folder = Path(out) if out is not None else Path("runs") / config.name
    if dry_run:
        print(resolved)
    check_losses(config)
    if dry_run:
        return folder / "bundle"
    bundle = folder / "bundle"
    given = find_bundle(from_bundle) if from_bundle else None
    if is_main():
        bundle.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(resolved)
        for name, part in component_folders(given).items() if given is not None else ():
            if name in method.pipeline.COMPONENTS and not (bundle / name).exists():
                shutil.copytree(part, bundle / name)
    wait()
    data = method.data(config)
    for name in stages if stage is None else (stage,):
        settings = getattr(config, name)
        record = folder / name / "done.json"
        if record.exists() or settings.steps == 0:
            continue
        torch.manual_seed(derive_seed(config.seed, stages.index(name), 7))  # initial weights
        began = time.monotonic()
        with main_first():
            trained = method.build_stage(name, config, data, bundle, given is not None)
        kept = [n for n in trained.modules if n in method.pipeline.COMPONENTS]
        share = getattr(settings, "start_share", 0.0) if given is not None else 0.0
        start = {n: copy.deepcopy(trained.modules[n].state_dict()) for n in kept} if share > 0 else None
        loop = LoopSettings(config.precision, config.save_every, workers=config.data.workers, max_minutes=max_minutes)
        figures = train_stage(
            trained,
            folder / name,
            steps=settings.steps,
            seed=derive_seed(config.seed, stages.index(name), 8),
            settings=loop,
        )
        if is_main():
            for n in kept:
                if start is not None:
                    mix_in(trained.modules[n], start[n], share)
                save_component(trained.modules[n], bundle / n)
            record.write_text(
                json.dumps(
                    {
                        "stage": name,
                        "steps": settings.steps,
                        "minutes": round((time.monotonic() - began) / 60, 1),
                        "figures": figures,
                        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
                    }
                )
            )
        wait()
    if is_main():
        assemble(method, config, folder, "MIT" if given is None else bundle_licence(given))
    wait()
    return bundle


def read_config(path: str | Path, overrides: list[str] | None = None) -> MethodConfig:
    """A training's YAML as the configuration of the method that it names. Raises ConfigError."""
    method = find_method(str(read_values(Path(path)).get("method", "kdm")))
    return load_config(Path(path), method.config, overrides)


def check_losses(config: MethodConfig) -> None:
    """Raises BundleError, naming each file and its place, where losses need weights that are not on this machine.

    Said before any work, and not after the hours that the stages before it take.
    """
    if missing := [text for net in needed_backbones(config.model_dump()) if (text := missing_backbone(net))]:
        raise BundleError(
            " ".join([*missing, "Or name 'own' in its place in the configuration: that net comes with the package."])
        )


def needed_backbones(values: Mapping[str, Any]) -> list[str]:
    """ImageNet networks that a configuration's losses need, by the names of `losses.perceptual.find_backbone`, sorted.

    values: the configuration as plain values. Stages of no steps and distances of no weight need none.
    """
    if values.get("steps") == 0:
        return []
    named = {values.get("backbone")} | ({values.get("perceptual")} if values.get("perceptual_weight", 1) else set())
    inner = [net for value in values.values() if isinstance(value, Mapping) for net in needed_backbones(value)]
    # `perceptual` may be a weight too
    return sorted({*inner, *(net for net in named if isinstance(net, str) and net != "own")})


def mix_in(module: nn.Module, weights: dict[str, Tensor], share: float) -> None:
    """Let the module's parameters be `share` of `weights` and the rest their own, in place."""
    with torch.no_grad():
        for name, own in module.state_dict().items():
            own.lerp_(weights[name].to(own), share)


def save_component(module: Any, folder: Path) -> None:
    """Write one component, a model of diffusers, as config.json and half-precision safetensors, by a temporary name and
    a move."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    module.register_to_config(_name_or_path=folder.name)  # where it was loaded from is nobody's business
    module.cpu().half().save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    module.float()


def load_component(bundle: Path, name: str, kind: type) -> Any:
    """One component of a bundle, of the class `kind`, in float32. Raises BundleError where it is not there yet."""
    if not (bundle / name).is_dir():
        raise BundleError(
            f"The stage '{name}' is not trained yet; train it first, or start --from a bundle that has it."
        )
    return load_network(kind, bundle / name)


def assemble(method: Method, config: Any, folder: Path, inherited: str = "MIT") -> None:
    """Write scheduler, model index and model card of `folder`/bundle, once every component that a pipeline needs is
    there.

    inherited: the licence of the weights that the training started from.
    """
    bundle, components = folder / "bundle", method.pipeline.COMPONENTS
    have = {n: load_component(bundle, n, kind) for n, kind in components.items() if (bundle / n).is_dir()}
    if any(n not in have for n in components if n not in method.pipeline._optional_components):
        return
    pipeline = method.assemble(config, have)
    if "scheduler" in pipeline.components:
        pipeline.scheduler.save_pretrained(bundle / "scheduler")
    pipeline.save_config(bundle)
    licence = method.licence(config)
    if (licence := inherited if licence == "MIT" else licence) != "MIT":
        index = json.loads((bundle / "model_index.json").read_text())
        (bundle / "model_index.json").write_text(
            json.dumps(index | {LICENCE: licence}, indent=2, sort_keys=True) + "\n"
        )
    (bundle / CONFIG).write_text(yaml.safe_dump(without_places(config), sort_keys=False))
    (bundle / "README.md").write_text(method.card(config, stage_rows(method.stages(config), bundle, folder)))


def without_places(config: Any) -> dict[str, Any]:
    """The configuration as plain values, without the folders of the machine it was trained on."""
    values = config.model_dump(mode="json")
    values["data"] = {
        k: v for k, v in values["data"].items() if k not in ("cache", "clips") and (k != "root" or str(v).isdecimal())
    }
    for stage in values.values():
        if isinstance(stage, dict) and stage.get("outlined"):
            stage["outlined"] = stage["outlined"].partition(":")[0] + ":FOLDER"
    return values


def stage_rows(stages: tuple[str, ...], bundle: Path, folder: Path) -> str:
    """The rows of the model card's table, from the stages' records."""
    rows = []
    for name in stages:
        record = folder / name / "done.json"
        if record.exists():
            done = json.loads(record.read_text())
            figures = ", ".join(f"{k} {v:.4g}" for k, v in done["figures"].items())
            rows.append(f"| {name} | {done['steps']} | {done['minutes']} | {done['hardware']} | {figures} |")
        elif (bundle / name).is_dir():
            rows.append(f"| {name} | taken over | | | |")
    return "\n".join(rows)
