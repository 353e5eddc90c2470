"""What a pipeline's YAML may say: one model a kind of stage."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from echokdm.core import defaults

Outside = Literal["clips", "bundle", "cohort", "file"]


class StageOptions(BaseModel):
    """kind: what the stage does, where its name does not say it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: str = ""
    reads: ClassVar[Mapping[str, Outside]] = {}
    """Options that name another stage, or something outside: a folder of clips or ADAPTER:ROOT, a bundle, a cohort's
    folder, a file."""


class Ingest(StageOptions):
    """Find clips, take the patient out of them, and keep those that show an apical four-chamber view."""

    # a folder of DICOM, dicomweb:URL?KEYWORD=VALUE for studies of an archive, or ADAPTER:ROOT, such as
    # echonet-dynamic:FOLDER
    source: str
    select: Literal["a4c", "all"] = "a4c"
    bundle: str = defaults.BUNDLE  # whose segmenter looks for the ventricle
    salt: str | None = None  # a file with a secret, so that runs agree on subjects and UIDs; an archive needs one
    shift_dates: bool = False
    # take clips of another data set with print over the sector too, if it names nobody; DICOM goes through deid
    allow_print: bool = False
    reads = {"source": "clips", "bundle": "bundle", "salt": "file"}


class Keypoints(StageOptions):
    """Find 40 key-points in every frame, split the patients, and write an EchoNet-Dynamic folder of the real clips."""

    clips: str = "ingest"
    bundle: str = defaults.BUNDLE
    # shares of the patients in TRAIN, VAL and TEST, where the data set has no splits of its own
    split: str = "70/15/15"
    reads = {"clips": "clips", "bundle": "bundle"}


class Train(StageOptions):
    """Train a bundle by a configuration of `echokdm train`."""

    config: str
    clips: str | None = None  # real clips with key-points to train on, in place of simulated hearts
    start: str | None = None  # weights to start from
    values: dict[str, Any] = Field(default={}, alias="set")  # overrides of the configuration, nested as in its YAML
    reads = {"config": "file", "clips": "cohort", "start": "bundle"}


class Evaluate(StageOptions):
    """Score a bundle as the paper's tables do."""

    bundle: str = "train"
    # or the stage whose clips of the splits VAL and TEST are used, or as `echokdm evaluate --data`
    data: str = defaults.DATA
    patients: int = defaults.PATIENTS  # phantoms
    reads = {"bundle": "bundle", "data": "clips"}


class Augment(StageOptions):
    """Make a labelled synthetic cohort from the real clips of one split."""

    clips: str = "keypoints"
    bundle: str = "train"
    split: Literal["TRAIN", "VAL", "TEST"] = defaults.SPLIT
    per_clip: int = defaults.PER_CLIP
    ef: str = defaults.EF
    motion: Literal["own", "others"] = defaults.MOTION
    tolerance: float = defaults.TOLERANCE
    tries: int = defaults.TRIES
    steps: int = defaults.STEPS
    dicom: bool = False
    nifti: bool = False
    one_frame: bool = False
    reads = {"clips": "cohort", "bundle": "bundle"}


class Audit(StageOptions):
    """Look for leaks between splits and for synthetic clips that copy a real one."""

    real: str = "keypoints"
    synth: str = "augment"
    bundle: str = defaults.AUDIT_BUNDLE
    reads = {"real": "cohort", "synth": "cohort", "bundle": "bundle"}


class Report(StageOptions):
    """One page of what all other stages found."""


KINDS: Mapping[str, type[StageOptions]] = {
    "ingest": Ingest,
    "keypoints": Keypoints,
    "train": Train,
    "evaluate": Evaluate,
    "augment": Augment,
    "audit": Audit,
    "report": Report,
}


class PipelineOptions(BaseModel):
    """The YAML's top. name: what it makes, told from others by it. out: default runs/<name>."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")
    out: str | None = None
    seed: int = defaults.SEED
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
