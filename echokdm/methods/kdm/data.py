"""The stores and pairs that KDM's stages learn from."""

from pathlib import Path

from echokdm.core.errors import ConfigError
from echokdm.core.seeding import derive_seed
from echokdm.core.types import A4C_BLOODPOOL_40
from echokdm.data.adapters.camus import CAMUS, camus_split
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.data.clip_store import clip_store
from echokdm.data.outlined import OutlinedFrames, OutlinedSource, outlined_store
from echokdm.data.pairs import FlowPairs, Variety, phantom_store, procedural_store
from echokdm.data.posed import posed_store, schema_of
from echokdm.data.store import ArrayStore
from echokdm.data.twins import TwinPairs, twin_store
from echokdm.methods.kdm.config import STAGES, KDMConfig, SegmenterConfig

OTHERS = 500_000  # seeds of the judge's phantoms start here
TWINS = 700_000  # seeds of the twins start here


class KDMData:
    """The stores and data sets of a configuration, each made when first asked for."""

    def __init__(self, config: KDMConfig) -> None:
        self.config, self.folder = config, Path(config.data.cache)
        self.heart = config.data.phantom == "heart"
        self.schema, self.image_channels = (
            (A4C_BLOODPOOL_40, 1) if config.data.phantom == "heart" else (schema_of(config.data.phantom), 3)
        )

    def _folder(self, name: str, count: int) -> Path:
        return self.folder / f"{name}-{self.config.size}-{count}"

    def patients(self) -> ArrayStore:
        """Of training; real clips where the configuration names them."""
        if self.config.data.clips:
            return clip_store(self._folder("clips", 0), Path(self.config.data.clips), "TRAIN", self.config.size)
        return self._store("phantoms", self.config.data.patients, 0)

    def held_out(self) -> ArrayStore:
        """Of validation."""
        return self._store("held-out", self.config.data.held_out, HELD_OUT)

    def _store(self, name: str, count: int, first_seed: int) -> ArrayStore:
        kind, folder = self.config.data.phantom, self._folder(name, count)
        if kind == "heart":
            return phantom_store(folder, count, self.config.size, first_seed, self.config.data.workers)
        data = self.config.data
        return posed_store(folder, kind, count, self.config.size, first_seed, data.workers, data.edits)

    def procedural(self) -> ArrayStore:
        """Pairs without anatomy."""
        data = self.config.data
        folder = self._folder("procedural", data.procedural)
        return procedural_store(folder, data.procedural, self.config.size, self.config.seed, data.workers)

    def others(self) -> ArrayStore:
        """Phantoms for the judge, which no other network learns from: a quarter as many."""
        return self._store("others", max(1, self.config.data.patients // 4), OTHERS)

    def twins(self) -> ArrayStore:
        """Hearts that differ in how they pump. Raises ConfigError where the configuration has none to make."""
        count = self.config.data.twins
        if not self.heart or count == 0:
            raise ConfigError(
                "A stage with a twin_share learns from twins of heart phantoms: set data.twins to their number."
            )
        return twin_store(self._folder("twins", count), count, self.config.size, TWINS, self.config.data.workers)

    def outlined(self, settings: SegmenterConfig) -> OutlinedFrames | None:
        """Frames of patients, where the stage names some. Raises ConfigError where not as adapter:FOLDER."""
        if not settings.outlined:
            return None
        adapter, colon, root = settings.outlined.partition(":")
        if not colon:
            raise ConfigError(
                f"A segmenter's or judge's option outlined reads adapter:FOLDER, such as camus:CAMUS, not '{adapter}'."
            )
        subjects = None
        if settings.outlined_part:
            subjects = tuple(camus_split(CAMUS.index(root)["subject"])[settings.outlined_part])
        folder = self.folder / f"outlined-{adapter}-{settings.outlined_part or 'all'}-{self.config.size}"
        return OutlinedFrames(
            outlined_store(folder, OutlinedSource(adapter, root, subjects), self.config.size), self.config.seed
        )

    def pairs(
        self,
        stage: str,
        share: float,
        flows: ArrayStore | None = None,
        valve_share: float = 0.0,
        twin_share: float = 0.0,
    ) -> FlowPairs:
        """What a stage draws from; share: of procedural pairs. flows: in place of the exact ones. valve_share:
        `Variety.valves`.

        twin_share: as in `TwinPairs`.
        """
        seed = derive_seed(self.config.seed, STAGES.index(stage))
        drift = self.config.data.drift_share if self.heart and stage in ("flow_codec", "k2f") else 0.0
        stores = self.patients() if share < 1 else None, self.procedural() if share > 0 else None
        variety = Variety(share, drift=drift, valves=valve_share)
        if twin_share > 0:
            return TwinPairs(self.twins(), twin_share, *stores, seed, variety, flows=flows, schema=self.schema)
        return FlowPairs(*stores, seed, variety, flows=flows, schema=self.schema)
