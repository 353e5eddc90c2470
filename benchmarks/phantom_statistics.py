"""Do the phantoms bracket real hearts? `python benchmarks/phantom_statistics.py --patients 500` and `... --camus
--patients 200`

For every statistic: the phantoms' 5th, 50th and 95th percentile beside the real clips' values, and whether these lie
inside. Real clips: pydicom's A4C DICOM and, where ECHOKDM_TEST_DATA is set, the echotracker clip, as the package's
reader crops them; their flow is scikit-image's TV-L1, the phantoms' is exact.
With --camus: contrast, haze and walls of CAMUS' 200 patients that may teach, by their experts' labels, beside the
phantoms', by their own. CAMUS's quartiles must lie inside the phantoms' 10th to 90th percentile, and the medians within
15 % of each other.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bars import TEST_DATA, real_clips
from torch import Tensor

from echokdm.core.seeding import generator
from echokdm.data.adapters.camus import camus_split
from echokdm.losses.perceptual import Perceptual
from echokdm.ops.warp import pixel_grid
from echokdm.phantom.a4c import A4CPhantom
from echokdm.phantom.statistics import clip_statistics
from echokdm.phantom.wall_statistics import frame_walls, heart_walls

PAIRS = 8  # pairs of successive frames a phantom, spread over the beat
ED_ES = {"echotracker": (0, 17), "pydicom": (22, 0)}  # frame numbers, read off the pictures
MEDIANS_APART = 0.15


def phantom_rows(seeds: list[int], size: int, lpips: Perceptual) -> list[dict[str, float]]:
    """Statistics of each phantom: successive frames at a frame rate drawn from 20 to 60 a second."""
    phantom = A4CPhantom(seeds, size)
    fps = torch.stack([20 + 40 * torch.rand((), generator=generator(s, 91)) for s in seeds])
    step = phantom.heart_rate / 60 / fps
    starts = torch.arange(PAIRS) / PAIRS
    phases = torch.stack([torch.zeros(len(seeds)), phantom.end_systole], 1)
    phases = torch.cat([phases, starts.expand(len(seeds), -1), starts + step[:, None]], 1)
    frames = phantom.frames(phases)
    flow = phantom.flow(phantom.end_systole, torch.zeros(len(seeds)))
    valid = phantom.valid(phantom.end_systole, torch.zeros(len(seeds)))
    r, _ = phantom.scanner.sector.polar(phantom.scanner.sector.pixels_mm(size))
    depth = ((r - phantom.scanner.sector.face_radius[:, None]) / phantom.scanner.sector.depth[:, None]).view(
        -1, size, size
    )
    rows = []
    for b in range(len(seeds)):
        pairs = (frames[b, 2 : 2 + PAIRS], frames[b, 2 + PAIRS :])
        rows.append(
            clip_statistics(pairs, phantom.sector[b], depth[b], frames[b, 0], frames[b, 1], flow[b], valid[b, 0], lpips)
        )
    return rows


def tvl1(source: Tensor, target: Tensor) -> Tensor:
    """Backward flow (2, H, W) px from (1, H, W) images."""
    from skimage.registration import optical_flow_tvl1

    dy, dx = optical_flow_tvl1(target[0].numpy(), source[0].numpy(), attachment=12)
    return torch.from_numpy(np.stack([dx, dy]).astype(np.float32))


def real_row(path: Path, ed: int, es: int, size: int, lpips: Perceptual) -> dict[str, float]:
    """The same statistics of a real clip, whose end-diastole and -systole are frames ed and es."""
    from echokdm.io.frame import to_model_frame
    from echokdm.io.read import read_clip
    from echokdm.io.sector import find_sector

    clip = read_clip(path)
    sector = find_sector(clip)
    model = to_model_frame(clip, sector, size)
    frames, inside = model.clip.frames, torch.as_tensor(model.sector_mask)
    grid = pixel_grid(size, size)[0]
    apex = model.to_model(np.asarray(sector.apex, np.float64)[None])[0]
    radius = ((grid[0] - apex[0]) ** 2 + (grid[1] - apex[1]) ** 2).sqrt()
    near, far = radius[inside].min(), radius[inside].max()
    flow = tvl1(frames[ed], frames[es])
    fetched = (grid + flow).round().long().clamp(0, size - 1)
    valid = inside & inside[fetched[1], fetched[0]]
    return clip_statistics(
        (frames[:-1], frames[1:]), inside, (radius - near) / (far - near), frames[ed], frames[es], flow, valid, lpips
    )


def table(rows: list[dict[str, float]], real: dict[str, dict[str, float]]) -> tuple[str, int]:
    """The printed table, and how many real values lie outside the 5th to 95th percentile."""
    lines = [f"{'statistic':28s} {'p5':>8s} {'p50':>8s} {'p95':>8s}" + "".join(f" {name:>14s}" for name in real)]
    outside = 0
    for key in rows[0]:
        low, middle, high = np.percentile([row[key] for row in rows], (5, 50, 95))
        line = f"{key:28s} {low:8.4f} {middle:8.4f} {high:8.4f}"
        for values in real.values():
            inside = low <= values[key] <= high
            outside += not inside
            line += f" {values[key]:10.4f} {'   ' if inside else 'OUT'}"
        lines.append(line)
    return "\n".join(lines), outside


def phantom_walls(seeds: list[int], size: int) -> list[dict[str, float]]:
    """Wall statistics of each phantom; labels as the heart has them, beyond the sector too, as experts draw them."""
    phantom = A4CPhantom(seeds, size)
    phases = torch.stack([torch.zeros(len(seeds)), phantom.end_systole], 1)
    frames, sector = phantom.frames(phases)[:, :, 0], phantom.sector
    labels = phantom.masks(phases, whole=True)
    rows = []
    for b in range(len(seeds)):
        spacing = float(phantom.mm_per_px[b])
        rows.append(heart_walls(*(frame_walls(frames[b, t], labels[b, t], sector[b], spacing) for t in range(2))))
    return rows


def camus_walls(folder: Path) -> list[dict[str, float]]:
    """Wall statistics of the CAMUS patients that may teach; their sector is what is not black."""
    import nibabel
    from scipy.ndimage import binary_closing, binary_fill_holes

    def frame(patient: Path, when: str) -> dict[str, float]:
        picture, label = (nibabel.load(patient / f"{patient.name}_4CH_{when}{end}.nii.gz") for end in ("", "_gt"))
        gray = np.asarray(picture.dataobj).T
        sector = binary_fill_holes(binary_closing(gray > 0, iterations=2))
        return frame_walls(gray / 255, np.asarray(label.dataobj).T, sector, float(picture.header.get_zooms()[0]))

    return [
        heart_walls(frame(patient, "ED"), frame(patient, "ES"))
        for patient in (folder / name for name in camus_split(p.name for p in folder.iterdir())["teach"])
    ]


def wall_table(phantoms: list[dict[str, float]], camus: list[dict[str, float]]) -> tuple[str, int]:
    """The printed table of `--camus`, and in how many rows the phantoms are not like hearts."""
    lines = [
        f"{'':26s} {'CAMUS q1':>9s} {'median':>8s} {'q3':>8s} {'ph. p10':>9s} {'p50':>8s} {'p90':>8s} {'apart':>6s}"
    ]
    failed = 0
    for key in phantoms[0]:
        first, middle, third = np.nanpercentile([row[key] for row in camus], (25, 50, 75))
        low, median, high = np.nanpercentile([row[key] for row in phantoms], (10, 50, 90))
        apart = median / middle - 1
        good = low <= first and third <= high and abs(apart) <= MEDIANS_APART
        failed += not good
        lines.append(
            f"{key:26s} {first:9.2f} {middle:8.2f} {third:8.2f} {low:9.2f} {median:8.2f} {high:8.2f} {100 * apart:5.0f}% "
            f"{'pass' if good else 'FAIL'}"
        )
    return "\n".join(lines), failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=2_000_000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--camus", action="store_true", help="compare walls with CAMUS's instead")
    args = parser.parse_args()
    batches = [
        list(range(args.first_seed + i, args.first_seed + min(i + 10, args.patients)))
        for i in range(0, args.patients, 10)
    ]
    if args.camus:
        if not TEST_DATA:
            parser.error("set ECHOKDM_TEST_DATA to the folder that holds camus/")
        walls = camus_walls(Path(TEST_DATA) / "camus")
        text, failed = wall_table([row for seeds in batches for row in phantom_walls(seeds, args.size)], walls)
        print(text)
        print(f"{args.patients} phantoms, {len(walls)} CAMUS patients: {failed} rows fail")
        return
    lpips = Perceptual("squeeze")
    real = {name: real_row(path, *ED_ES[name], args.size, lpips) for name, path in real_clips().items()}
    start, rows = time.perf_counter(), []
    with torch.no_grad():
        for seeds in batches:
            rows += phantom_rows(seeds, args.size, lpips)
    text, outside = table(rows, real)
    print(text)
    seconds, count = time.perf_counter() - start, 2 * len(rows[0])
    print(f"{args.patients} phantoms in {seconds:.0f} s; {outside} of {count} real values lie outside p5-p95")


if __name__ == "__main__":
    main()
