"""What a method is: a configuration, stages to train, a pipeline of what was trained, and how it generates and is
scored.

A package registers an object of a `Method` under the entry-point group `echokdm.methods`; ours are found in the same
way.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from echokdm.core.errors import ConfigError
from echokdm.core.plugins import METHODS, Plugin, find, survey
from echokdm.core.types import KeypointSchema
from echokdm.data.frames import FrameData, FrameSource
from echokdm.engine.stage import Stage
from echokdm.methods.bundle import pipeline_settings
from echokdm.methods.pipeline import MethodPipeline
from echokdm.metrics.tables import Table


class StageConfig(BaseModel):
    """What every stage has; a method's own stages add their options."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = 1000  # 0 leaves the stage out
    batch: int = 8
    lr: float = 2e-4
    # of the weights a run starts --from, averaged in at its end (Wortsman et al. 2022)
    start_share: float = Field(default=0.0, ge=0, le=1)


class MethodConfig(BaseModel):
    """What every configuration has; a method adds one block for each of its stages."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: str
    name: str
    size: int = 64  # px a side
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    save_every: int = 250  # steps between checkpoints
    data: FrameData = FrameData()


@dataclass(frozen=True)
class Request:
    """What is asked of a trained method.

    sources: (K, 3, S, S) in [0, 1]; source_keypoints: (K, N, 2) px, nan where not known. target_keypoints: (T, N, 2)
    px. driving: (T, 3, S, S), a clip whose motion is wanted. condition: (1, 3, S, S), a picture of what goes where.
    gammas: (T,), shares of the motion. relative: the driving clip's motion since its first frame, not its places.
    steps: network calls, None for the method's own number. seed: of all noise.
    """

    sources: Tensor
    source_keypoints: Tensor | None = None
    target_keypoints: Tensor | None = None
    driving: Tensor | None = None
    condition: Tensor | None = None
    gammas: Tensor | None = None
    relative: bool = False
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Carried:
    """How the first source's own pixels are carried, so that frames come at its size (`methods.photo`).

    flow: (T, 2, F, F) backward px of its own grid, F a multiple of S. hidden: (T, 1, F, F) in [0, 1], where there is
    nothing to carry and `drawn` (T, 3, S, S) in [0, 1] stands.
    """

    flow: Tensor
    hidden: Tensor
    drawn: Tensor


@dataclass(frozen=True)
class Generated:
    """frames: (T, 3, S, S) in [0, 1]. flow: (T, 2, S, S) backward px to the first source, None where there is none.

    pictures: name -> (n, 3, h, w) in [0, 1], what else is worth a look. carried: of a method that keeps the source's
    own pixels.
    """

    frames: Tensor
    flow: Tensor | None = None
    pictures: dict[str, Tensor] = field(default_factory=dict)
    carried: Carried | None = None


class Method(ABC):
    """One paper's method. name: as registered. title: a few words. paper: authors, title, venue.

    takes: the inputs of `echokdm generate` that it knows, besides one --source: "sources" (several), "driving",
    "keypoints", "condition", "drag", "gamma".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    takes: ClassVar[frozenset[str]]
    config: ClassVar[type[MethodConfig]] = MethodConfig
    pipeline: ClassVar[type[MethodPipeline]]

    @abstractmethod
    def stages(self, config: Any) -> tuple[str, ...]:
        """The stages in training order; each names a block of the configuration."""

    def data(self, config: Any) -> Any:
        """The data that stages are built on."""
        return FrameSource(config.data, config.size, config.seed)

    @abstractmethod
    def build_stage(self, name: str, config: Any, data: Any, bundle: Path, start: bool) -> Stage:
        """The stage `name` and the frozen parts it needs, which lie in `bundle`; `start`: from the weights that lie
        there."""

    @abstractmethod
    def assemble(self, config: Any, parts: dict[str, Any]) -> MethodPipeline:
        """The pipeline of trained components."""

    @abstractmethod
    def generate(self, pipeline: Any, request: Request) -> Generated:
        """Do what is asked. Raises ConfigError where the method or its pipeline can't."""

    @abstractmethod
    def evaluate(self, pipeline: Any, data: Any) -> list[Table]:
        """The paper's tables in form, on held-out data."""

    def schema(self, pipeline: Any) -> KeypointSchema | None:
        """Of the key-points that the pipeline takes, None where it takes none."""
        return None

    def find_keypoints(self, pipeline: Any, images: Tensor, size: int) -> Tensor | None:
        """Key-points px in pictures (T, 3, H, W) of any size, where the pipeline can find them: (T, N, 2) of each, or
        (1, N, 2) of the first, where to cut all of them; None where it needs none.

        size: px a side of the model. Raises GeometryError where nothing is found.
        """
        return None

    def licence(self, config: Any) -> str:
        """Under what the weights may be used, which depends on what they learned from; the code's own licence by
        default."""
        return "MIT"

    def card(self, config: Any, rows: str) -> str:
        """The model card; `rows`: of its table of stages."""
        return _CARD.format(
            name=config.name,
            title=self.title,
            paper=self.paper,
            size=config.size,
            adapter=config.data.adapter,
            seed=config.seed,
            precision=config.precision,
            rows=rows,
            pipeline=self.pipeline.__name__,
            module=self.pipeline.__module__,
        )


_CARD = """---
library_name: diffusers
tags: [{adapter}, synthetic]
---
# {name}

{title} at {size} x {size} px, after {paper}.
Load it with `{pipeline}.from_pretrained(folder)` of `{module}`.

**Data.** The training split of `{adapter}`. The only weights of others were those of perceptual losses, none of which is in here.

**Training.** Seed {seed}, precision {precision}.

| stage | steps | minutes | hardware | last figures |
|---|---|---|---|---|
{rows}

Steps and minutes are of the last run alone where a stage went on from earlier weights. The figures are losses on the training data.

**Limits.** Research only. What is unlike its training data is outside what it has seen.
"""


def fault_of(method: Any) -> str:
    """Why an object is no method, "" where it is one."""
    if isinstance(method, type):
        return f"{method.__name__} is a class; register an object of it"
    return "" if isinstance(method, Method) else "it is no echokdm.methods.base.Method"


def find_method(name: str) -> Method:
    """The method registered as `name`. Raises ConfigError, with the nearest name, where there is none or it can't be
    had."""
    return find(METHODS, name, fault_of)


def survey_methods() -> list[Plugin]:
    """Every registered method, sorted by name, or why it is not available."""
    return survey(METHODS, fault_of)


def method_of(bundle: Path) -> Method:
    """The method that trained a bundle. Raises BundleError where the bundle is damaged, ConfigError where no method is
    its."""
    wanted = pipeline_settings(bundle)["_class_name"]
    for plugin in survey_methods():
        if plugin.value is not None and plugin.value.pipeline.__name__ == wanted:
            return plugin.value
    raise ConfigError(
        f"The bundle '{bundle.name}' is of a {wanted}, which no installed method makes; install the package it came from."
    )
