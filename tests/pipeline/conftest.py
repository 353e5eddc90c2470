"""A YAML of stages to plan and run, and stages that only count."""

from pathlib import Path

import pytest
import yaml

from echokdm.pipeline.plan import Pipeline, read_pipeline


class Maker:
    """Writes pipelines' YAMLs into one folder and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        (folder / "train.yaml").write_text("method: kdm\nname: small\n")
        self.stages = {
            "ingest": {"source": "phantom-heart:2", "select": "all"},
            "keypoints": {},
            "train": {"config": str(folder / "train.yaml")},
            "augment": {"per_clip": 2},
            "report": {},
        }

    def write(self, text: str | None = None, name: str = "cohort", **stages: dict) -> Path:
        """The YAML's path; stages replace those of the same name."""
        path = self.folder / "pipeline.yaml"
        path.write_text(
            text
            if text is not None
            else yaml.safe_dump({"name": name, "stages": self.stages | stages}, sort_keys=False)
        )
        return path

    def read(self, overrides: list[str] | None = None, name: str = "cohort", **stages: dict) -> Pipeline:
        """A pipeline that writes to `out`."""
        return read_pipeline(self.write(name=name, **stages), overrides, self.out)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)
