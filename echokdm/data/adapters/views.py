"""Views of scenes and objects in HDF5 (layout of Sun et al., ECCV 2018): KITTI `SS_FFFFFF`, ShapeNet chairs
`model_az_el`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from echokdm.core.errors import ClipError, DataError
from echokdm.core.files import check_plain
from echokdm.data.adapters.build import labels_of, sequence
from echokdm.data.adapters.folder import foreign_kind, open_root
from echokdm.data.adapters.problems import Problems, empty_index

try:
    import h5py
except ImportError:
    raise ImportError("it reads HDF5 and needs h5py: pip install 'echokdm[hdf5]'") from None

if TYPE_CHECKING:
    from echokdm.core.types import Sequence
    from echokdm.data.adapters import Row

LISTS = {"train": "id_train.txt", "test": "id_test.txt"}


@dataclass(frozen=True)
class Views:
    """One HDF5 file, a group a view with `image` (H, W, 3) and `pose`; optional `id_train.txt` and `id_test.txt` of
    group names.

    scene: the pattern of a group's name, whose first bracket is the scene or object.
    """

    name: str
    what: str
    file: str
    scene: str
    schema: str = ""
    one_size: bool = True

    def index(self, root: str | os.PathLike[str]) -> pd.DataFrame:
        """One row a view; views of one subject show one scene. The root may be the HDF5 file itself. Raises
        DataError."""
        problems, root = Problems(self.name), Path(root)
        path = (
            root if root.is_file() and foreign_kind(root) == "an HDF5 file" else open_root(root, self.name) / self.file
        )
        if not path.exists():
            problems.note("missing", self.file)
            problems.fail()
        try:
            with h5py.File(check_plain(path, DataError), "r") as file:
                names = pd.Series(list(file.keys()), dtype="str")
        except OSError:
            kind = foreign_kind(path)
            fault = "truncated or damaged" if kind in ("", "an HDF5 file") else f"no HDF5 file but {kind}"
            raise DataError(f"{self.file} is {fault}: copy it again from where it came.") from None
        scenes = names.str.extract(self.scene)[0]
        problems.add("of an unknown form of name", names[scenes.isna()])
        split = self._splits(path.parent, names, problems)
        index = pd.DataFrame({"sequence": names, "subject": scenes, "split": split, "path": str(path)})
        return problems.finish(index[scenes.notna()] if len(index) else empty_index())

    def _splits(self, folder: Path, names: pd.Series, problems: Problems) -> pd.Series:
        split = pd.Series("all", index=names.index)
        for name, file in LISTS.items():
            try:
                listed = pd.Series(
                    check_plain(folder / file, DataError).read_text(encoding="utf-8").split(), dtype="str"
                )
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                problems.note("unreadable", file)
                continue
            problems.add("missing", listed[~listed.isin(names)])
            here = names.isin(listed)
            problems.add("in two splits", names[here & (split != "all")])
            split[here] = name
        return split

    def read(self, row: "Row") -> "Sequence":
        """One frame; label `pose`, float64, as the file has it: a matrix for KITTI, azimuth and elevation for chairs.
        Raises ClipError."""
        import torch

        from echokdm.core.types import Clip

        try:
            with h5py.File(check_plain(row["path"]), "r") as file:
                group = file[row["sequence"]]
                image, pose = np.asarray(group["image"]), np.asarray(group["pose"], np.float64)
        except (OSError, KeyError, TypeError, ValueError):
            raise ClipError("This view lacks its image or pose, or is damaged: copy the HDF5 file again.") from None
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype.kind not in "uf" or not np.isfinite(image).all():
            raise ClipError(
                f"A view's image is (height, width, 3) of uint8 or of floats, not {image.shape} {image.dtype}."
            )
        frame = image.astype(np.float32) / (255 if image.max(initial=0) > 1 or image.dtype.kind == "u" else 1)
        frames = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))[None]).clamp(0, 1)
        return sequence(Clip(frames, 1.0, view="", meta={"fps_assumed": True}), labels_of(row) | {"pose": pose})


KITTI = Views("kitti", "KITTI views: data_kitti.hdf5 with SS_FFFFFF/{image,pose}", "data_kitti.hdf5", r"^(\d+)_\d+$")
CHAIRS = Views(
    "shapenet-chairs",
    "ShapeNet chairs: data_chair.hdf5 with model_az_el/{image,pose}",
    "data_chair.hdf5",
    r"^(.+)_-?\d+_-?\d+$",
)
