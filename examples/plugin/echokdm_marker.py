"""A data set for echokdm: `{train,test}/<clip>.gif` with `<clip>.csv` beside each, the place of one marker as
frame,x,y."""

from dataclasses import dataclass

import pandas as pd

from echokdm.core.types import KeypointSchema
from echokdm.data.adapters.build import at_frames, labels_of, read_frames, sequence
from echokdm.data.adapters.folder import listing, open_root, read_table
from echokdm.data.adapters.problems import Problems, empty_index

SCHEMA = KeypointSchema("marker-1", ("marker",), ((0, 0),), ((1.0, 0.2, 0.2),))


@dataclass(frozen=True)
class MarkerClips:
    """The four facts that `echokdm adapters` shows, then how to list a folder and how to read one of its clips."""

    name: str = "marker"
    schema: str = SCHEMA.name
    what: str = "marker clips: {train,test}/<clip>.gif with <clip>.csv (frame,x,y)"
    one_size: bool = True

    def index(self, root):
        """One row a clip. Problems are collected, not raised one by one, so that the user sees them all."""
        root, problems, rows = open_root(root, self.name), Problems(self.name), []
        for split in ("train", "test"):
            files = listing(root / split)
            for clip in (file for file in files if file.endswith(".gif")):
                stem = clip.removesuffix(".gif")
                if f"{stem}.csv" not in files:
                    problems.add("missing", f"{split}/{stem}.csv")
                    continue
                places = read_table(root / split / f"{stem}.csv", ["frame", "x", "y"], problems)
                if places is not None:
                    rows.append(
                        {
                            "sequence": f"{split}/{stem}",
                            "subject": stem,
                            "split": split,
                            "path": str(root / split / clip),
                            "_places": places[["frame", "x", "y"]].to_numpy(),
                        }
                    )
        return problems.finish(pd.DataFrame(rows) if rows else empty_index())

    def read(self, row):
        """The clip with its marker, which is not visible in frames that the CSV leaves out."""
        clip = read_frames(row["path"])
        places = {int(frame): [[x, y]] for frame, x, y in row["_places"]}
        return sequence(clip, labels_of(row), *at_frames(places, len(clip), 1), SCHEMA)


MARKER = MarkerClips()
