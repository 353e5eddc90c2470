"""Which stages a pipeline has, in which order, and by which fingerprint the result of each is told."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from echokdm.cohort.plan import check_wishes
from echokdm.core.config import apply_override, read_values, validate
from echokdm.core.errors import BundleError, ConfigError, DataError
from echokdm.core.files import check_plain
from echokdm.core.naming import called
from echokdm.pipeline.options import KINDS, Augment, Ingest, PipelineOptions, StageOptions

STAGE_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,40}$")
SIMULATED = "phantom"
ARCHIVE = "dicomweb:"


@dataclass(frozen=True)
class Step:
    """A stage in its place. needs: stages before it. recipe: all that its result follows from. fingerprint: the
    recipe's digest."""

    name: str
    kind: str
    options: StageOptions
    needs: tuple[str, ...]
    recipe: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class Pipeline:
    """A YAML that was read and checked. steps: in an order in which they can run."""

    name: str
    out: Path
    seed: int
    steps: tuple[Step, ...]


def read_pipeline(path: str | Path, overrides: list[str] | None = None, out: str | Path | None = None) -> Pipeline:
    """Read a pipeline's YAML, apply overrides such as "stages.augment.per_clip=8", check all of it.

    "stages.train=null" leaves a stage out.

    Raises ConfigError with one sentence: an unknown key or stage with its nearest neighbour, a cycle, something outside
    that is not there.
    """
    path = Path(path)
    source = called("The configuration", path)
    values = read_values(path, "pipelines")
    blocks = values.get("stages")
    # a stage that says nothing is one of defaults; one that an override makes null is left out
    if isinstance(blocks, dict):
        values["stages"] = {name: {} if block is None else block for name, block in blocks.items()}
    for override in overrides or []:
        apply_override(values, override)
    if isinstance(values.get("stages"), dict):
        values["stages"] = {name: block for name, block in values["stages"].items() if block is not None}
    top = validate(values, PipelineOptions, source)
    stages = {name: _stage(source, name, block) for name, block in top.stages.items()}
    needs = {name: _needs(name, options, stages) for name, (_, options) in stages.items()}
    steps: dict[str, Step] = {}
    for name in _ordered(source, needs):
        kind, options = stages[name]
        inputs = {
            field: steps[value].fingerprint if value in steps else _outside(name, field, value, options)
            for field in options.reads
            if (value := getattr(options, field)) is not None
        }
        if kind == "report":
            inputs |= {other: steps[other].fingerprint for other in needs[name]}
        if isinstance(options, Augment):
            check_wishes(options.per_clip, options.ef, options.split)
        told, paths = _without_paths(options.model_dump(mode="json", exclude={"kind", *options.reads}))
        inputs |= {f"{field}, a path": _digest(path) for field, path in paths.items()}
        recipe = {"kind": kind, "options": told, "inputs": inputs, "seed": top.seed, "echokdm": _version()}
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        steps[name] = Step(name, kind, options, needs[name], recipe, digest)
    return Pipeline(top.name, Path(out or top.out or Path("runs") / top.name), top.seed, tuple(steps.values()))


def _stage(source: str, name: str, block: Mapping[str, Any]) -> tuple[str, StageOptions]:
    if not STAGE_NAME.match(name):
        raise ConfigError(f"{source}: a stage's name is of small letters, digits, - and _, not {name!r}.")
    kind = str(block.get("kind") or name)
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1, 0.0)[0]
        raise ConfigError(
            f"{source} has an unknown stage '{kind}'; did you mean '{near}'? A stage of another name says its kind."
        )
    return kind, validate(dict(block), KINDS[kind], f"{source}, stage {name},")


def _needs(name: str, options: StageOptions, stages: Mapping[str, Any]) -> tuple[str, ...]:
    if KINDS["report"] is type(options):
        return tuple(other for other, (kind, _) in stages.items() if kind != "report")
    return tuple(dict.fromkeys(value for field in options.reads if (value := getattr(options, field)) in stages))


def _ordered(source: str, needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ConfigError(
            f"{source}: the stages {' -> '.join(error.args[1])} wait for each other: let one of them read something "
            "else."
        ) from None
    kinds = list(KINDS)
    named = list(needs)
    # As the YAML has them wherever that is possible: the sorter's own order depends on nothing a user sees.
    done: list[str] = []
    while len(done) < len(order):
        done.append(
            min(
                (n for n in order if n not in done and set(needs[n]) <= set(done)),
                key=lambda n: (kinds.index(n) if n in kinds else len(kinds), named.index(n)),
            )
        )
    return done


def _outside(stage: str, field: str, value: str, options: StageOptions) -> str:
    """The fingerprint of what an option names that is no stage. Raises ConfigError where it is not there."""
    what = options.reads[field]
    if what == "bundle":
        from echokdm.methods.bundle import bundle_hash, find_bundle

        try:
            return bundle_hash(find_bundle(value))
        except BundleError:
            raise ConfigError(
                f"The stage {stage} asks for the bundle '{value}' as its {field}, which is neither a stage of this pipeline "
                "nor a bundle."
            ) from None
    if what == "clips" and (url := archive_url(value)) is not None:
        return _archive(stage, url, options)
    adapter, colon, root = value.partition(":")
    if what == "clips" and (value == SIMULATED or colon and not Path(value).exists()):
        return value if value == SIMULATED else _data_set(stage, adapter, root)
    path = Path(value)
    if not path.exists() or (what == "file") != path.is_file() and what != "clips":
        kind = {"file": "file", "cohort": "folder in EchoNet-Dynamic's layout"}.get(what, "folder of clips")
        raise ConfigError(
            f"The stage {stage} names {called('something', path)} as its {field} that is neither a stage of this pipeline "
            f"nor a {kind} that exists."
        )
    return _digest(path)


def archive_url(source: str) -> str | None:
    """The URL in dicomweb:URL; None for what is no archive."""
    return source.removeprefix(ARCHIVE) if source.startswith(ARCHIVE) else None


def _archive(stage: str, url: str, options: StageOptions) -> str:
    """Of a URL, which may name a patient, a keyed hash: the salt that a run needs anyway to go on is the key."""
    from echokdm.deid.identity import Pseudonyms
    from echokdm.pacs.door import read_address

    if not isinstance(options, Ingest):
        raise ConfigError(f"The stage {stage} can't read an archive: let a stage of kind ingest do it.")
    place, query = read_address(url)
    if place.scheme not in ("http", "https") or not query:
        raise ConfigError(
            f"The stage {stage} reads an archive by dicomweb:URL?KEYWORD=VALUE, such as "
            "dicomweb:https://HOST/dicom-web?ModalitiesInStudy=US: check how its source is written."
        )
    if options.salt is None or not (salt := check_plain(options.salt, ConfigError)).is_file():
        raise ConfigError(
            f"The stage {stage} reads an archive, and needs a secret to go on with after a stop: name a file of 32 random "
            "bytes as its salt."
        )
    return Pseudonyms(salt.read_bytes()).token("source", url)


def _data_set(stage: str, adapter: str, root: str) -> str:
    from echokdm.data.adapters import find_adapter

    find_adapter(adapter)
    if root.isdecimal():
        return f"{adapter}:{root}"
    if not Path(root).exists():
        raise ConfigError(
            f"The stage {stage} reads the data set {adapter} from {called('a folder', root)} that does not exist."
        )
    return f"{adapter}:{_digest(Path(root))}"


def _without_paths(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The options as a recipe keeps them, with PATH for what leads to a file or folder, and those paths by their
    options."""
    told: dict[str, Any] = {}
    paths: dict[str, Path] = {}
    for name, value in options.items():
        told[name] = value
        if isinstance(value, Mapping):
            told[name], inner = _without_paths(value)
            paths |= {f"{name}.{field}": path for field, path in inner.items()}
        elif isinstance(value, str):
            before, colon, rest = value.rpartition(":")  # as in match:FILE and ADAPTER:ROOT
            if name == "cache":  # where it lies changes nothing
                told[name] = "PATH"
            elif (path := Path(rest)).exists() and (colon or len(path.parts) > 1 or path.suffix):
                told[name], paths[name] = f"{before}{colon}PATH", path
            elif path.is_absolute():  # the stage itself will say that it is not there
                told[name] = f"{before}{colon}PATH"
    return told, paths


def _digest(path: Path) -> str:
    """Of a file its content; of a folder names, sizes and times of change, since reading a disk of clips would take
    hours."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    try:
        for file in sorted(path.rglob("*")):
            if not file.is_dir():
                found = file.lstat()
                total.update(
                    f"{file.relative_to(path)}\0{found.st_size}\0{found.st_mtime_ns}\n".encode(
                        "utf-8", "surrogateescape"
                    )
                )
    except OSError:
        raise DataError("A folder that the pipeline reads can't be opened: check its permissions.") from None
    return total.hexdigest()


def _version() -> str:
    from echokdm import __version__

    return __version__
