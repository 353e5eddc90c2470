"""Patients of `augmentation_study.py` and the synthetic clips made from them: labelled cases, and where they are kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import echokdm
from echokdm.core.types import Clip
from echokdm.echo.derive import Derived
from echokdm.echo.plan import Wish
from echokdm.echo.plan import plan as plan_trajectory
from echokdm.evaluation.held_out import tps_warp
from echokdm.io.atomic import atomic_file
from echokdm.ops.ventricle import ejection_fraction, keypoints_to_mask, simpson_volume

FRAMES = 16  # a beat, so at 12 to 32 frames/s
EF = "uniform:15-75"  # asked of the synthetic clips: the range that the patients have
SIDE = 56  # px of the clips that the ejection fraction is learnt from


class Cases(NamedTuple):
    """N labelled clips of half the size.

    clips: (N, FRAMES, SIDE, SIDE) uint8, one beat. frames: (N, 2, SIDE, SIDE) uint8, those at end-diastole and
    end-systole. masks: (N, 2, SIDE, SIDE) bool, their ventricles. ef: (N,) percent, of the outlines in these two at
    full size. patient: (N,).
    """

    frames: Tensor
    masks: Tensor
    clips: Tensor
    ef: Tensor
    patient: Tensor

    def at(self, rows: Tensor) -> "Cases":
        """Those at some rows."""
        return Cases(*(column[rows] for column in self))

    def of(self, patients: Tensor) -> "Cases":
        """Those of some patients."""
        return self.at(torch.isin(self.patient, patients))


def case(frames: Tensor, outlines: np.ndarray, traced: Sequence[int], patient: int) -> Cases:
    """One clip (T, 1, 112, 112) in [0, 1], with 40 points (2, 40, 2) px in its end-diastolic and end-systolic frame."""
    clip = (F.avg_pool2d(frames, 2)[None, :, 0] * 255).round().to(torch.uint8)
    masks = np.stack([keypoints_to_mask(points, *frames.shape[-2:]) for points in outlines])
    return Cases(
        clip[:, list(traced)],
        F.avg_pool2d(torch.from_numpy(masks).float(), 2)[None] >= 0.5,
        clip,
        torch.tensor([float(ejection_fraction(*simpson_volume(outlines)))]),
        torch.tensor([patient]),
    )


def joined(cases: Sequence[Cases]) -> Cases:
    """All of them, one after the other."""
    return Cases(*(torch.cat(column) for column in zip(*cases, strict=True)))


def real_clip(seed: int) -> tuple[Clip, np.ndarray]:
    """A simulated patient's clip of one beat, and the exact outline (T, 40, 2) px in each of its frames."""
    from echokdm.phantom.a4c import A4CPhantom

    phantom = A4CPhantom([seed])
    clip = phantom.clip(FRAMES * float(phantom.heart_rate[0]) / 60)[0]
    return clip, phantom.keypoints(torch.arange(FRAMES)[None] / FRAMES)[0].double().numpy()


def real_cases(seeds: Sequence[int], path: Path) -> Cases:
    """Simulated patients with exact labels, kept in an .npz; patient: the place in `seeds`."""
    if not path.exists():
        found = []
        for patient, seed in enumerate(seeds):
            clip, points = real_clip(seed)
            volumes = simpson_volume(points)
            traced = [int(volumes.argmax()), int(volumes.argmin())]
            found.append(case(clip.frames, points[traced], traced, patient))
        save(path, joined(found))
    return load(path)


def make_cohorts(seeds: Sequence[int], rounds: int, bundle: str, out: Path) -> None:
    """Round by round a cohort of one clip a patient, as `echokdm augment` writes it, and beside it the spline's clips,
    .npz."""
    wanted = [out / f"round{number}" for number in range(rounds)]
    if all(folder.with_suffix(".npz").exists() for folder in wanted):
        return
    pipeline = echokdm.KDMPipeline.from_pretrained(bundle)
    sources, refused = echokdm.read_sources([real_clip(seed)[0] for seed in seeds], pipeline)
    print(f"{len(sources)} of {len(seeds)} patients give synthetic clips", *refused, sep="\n", flush=True)
    opened = {source.number: source for source in sources}
    for number, folder in enumerate(wanted):
        plan = echokdm.plan_cohort(sources, 1, EF, seed=number)
        manifest = echokdm.augment_cohort(
            plan,
            sources,
            folder,
            bundle=pipeline,
            progress=lambda text, name=folder.name: print(f"{name}: {text}", flush=True),
        )
        kept = manifest[manifest["accepted"]]
        print(f"{folder.name}: {len(kept)} of {len(plan)} accepted, {manifest['tries'].mean():.2f} tries")
        save(
            folder.with_suffix(".npz"),
            joined([spline_case(opened[row.clip].open(), row.drawn, row.clip - 1) for row in kept.itertuples()]),
        )


def save(path: Path, cases: Cases) -> None:
    """Write an .npz, whole or not at all."""
    with atomic_file(path) as temporary:
        np.savez_compressed(temporary, **{name: column.numpy() for name, column in cases._asdict().items()})


def load(path: Path) -> Cases:
    """Read it back."""
    with np.load(path) as columns:
        return Cases(**{name: torch.from_numpy(columns[name]) for name in Cases._fields})


def spline_case(source: Derived, ef: float, patient: int) -> Cases:
    """Each frame moved by a thin-plate spline to the key-points that the model would be given: no network draws."""
    sector, wish = torch.as_tensor(source.model.sector_mask), plan_trajectory(source, source.ed, Wish(ef=ef))
    own, points = (torch.as_tensor(p, dtype=torch.float32) for p in (source.keypoints[wish.frames], wish.keypoints))
    frames, _ = tps_warp(
        source.model.clip.frames[torch.as_tensor(wish.frames)], own, points, sector.expand(len(points), -1, -1)
    )
    traced = [wish.ed, wish.es]
    return case(frames.clamp(0, 1), wish.keypoints[traced], traced, patient)


def read_cohort(folder: Path) -> Cases:
    """A cohort read back from its folder, as any other EchoNet data set; patient: the place among the clips it was made
    from."""
    from echokdm.cohort.make import read_manifest
    from echokdm.data.adapters import find_adapter

    adapter, clip = find_adapter("echonet-dynamic"), read_manifest(folder).set_index("id")["clip"]
    found = []
    for row in adapter.index(folder).to_dict("records"):
        item = adapter.read(row)
        traced = item.visible.all(1).nonzero()[:, 0].tolist()
        points = item.keypoints[traced].double().numpy()
        order = np.argsort(-simpson_volume(points))
        found.append(case(item.frames, points[order], [traced[i] for i in order], int(clip[row["sequence"]]) - 1))
    return joined(found)
