"""Edited clips beside their sources, at native size: identity, fine detail, flicker, speckle, and the ejection fraction
found again.

    python benchmarks/edit.py [--bundle B] [--patients 60] [--fractions 25 45 65] [--look FOLDER] [CLIP ...]

Without CLIP: pydicom's A4C example and, where ECHOKDM_TEST_DATA is set, the echotracker clip and --patients of CAMUS'
(two frames each, the part `judge` of `camus_split`, which taught the default segmenter nothing). Each is asked for what
it does and for each ejection fraction that it allows. Detail: energy in the top three octaves (differences of Gaussians
of sigma 0, 1, 2, 4 px) over the source's; speckle: half-width of the autocorrelation down and across, and mean over
spread, in windows. Inside the sector, and further down where the picture was moved by more than half a pixel. EF: what
is measured on the output minus what was asked, the measuring network's error on the source (measured minus asked where
nothing is asked) taken out. Bars: issue "The whole clip, at its own size".
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bars import TEST_DATA, Bars, begin, parser, real_clips
from scipy import ndimage

from echokdm.core.errors import EchoKDMError
from echokdm.core.types import Clip, luma
from echokdm.echo.derive import load_pipeline
from echokdm.echo.synthesis import Synthesis, synthesize
from echokdm.echo.wish import Wish
from echokdm.io import read_clip
from echokdm.metrics.intervals import mean_interval
from echokdm.ops.native import NativeFrame

SIGMAS = (0.0, 1.0, 2.0, 4.0)  # px; between them lie the top three octaves
EDGE = 8  # px inside the sector's border that are not scored
MOVED = 0.5  # px
WINDOW = 24  # px, of speckle's statistics
DETAIL, FLICKER, SPECKLE, IDENTITY, MISSED = (0.93, 1.07), (0.9, 1.1), (0.95, 1.05), 42.0, 3.0


def psnr(made: torch.Tensor, real: torch.Tensor, inside: torch.Tensor) -> float:
    """dB inside the sector, as written in eight bits."""
    levels = [(255 * frames).round()[..., inside] for frames in (made, real)]
    return float(10 * torch.log10(255**2 / (levels[0] - levels[1]).square().mean().clamp(min=1e-6)))


def octaves(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Energy (3,) of an image (H, W) in its top three octaves, over the pixels `inside` (H, W)."""
    blurred = [image if s == 0 else ndimage.gaussian_filter(image, s) for s in SIGMAS]
    return np.array([np.square(a - b)[inside].mean() for a, b in zip(blurred, blurred[1:], strict=False)])


def speckle(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(3,): half-widths of the autocorrelation down and across, px, and mean over spread, medians over windows."""
    found = []
    for y in range(0, image.shape[0] - WINDOW, WINDOW):
        for x in range(0, image.shape[1] - WINDOW, WINDOW):
            part = image[y : y + WINDOW, x : x + WINDOW]
            if not inside[y : y + WINDOW, x : x + WINDOW].all() or part.std() < 0.01:
                continue
            fine = part - ndimage.gaussian_filter(part, WINDOW / 6)
            power = np.abs(np.fft.fft2(fine - fine.mean(), (2 * WINDOW, 2 * WINDOW))) ** 2
            lags = np.fft.ifft2(power).real
            found.append([*(_half_width(lags[:WINDOW, 0]), _half_width(lags[0, :WINDOW])), part.mean() / part.std()])
    return np.median(found, 0) if found else np.full(3, np.nan)


def _half_width(lags: np.ndarray) -> float:
    """Where an autocorrelation (L,) first falls to half, between lags."""
    share = lags / lags[0]
    k = int(np.argmax(share < 0.5)) or 1
    return k - 1 + float((share[k - 1] - 0.5) / max(share[k - 1] - share[k], 1e-9))


def texture_row(result: Synthesis) -> dict[str, float]:
    """Ratios of the synthetic clip's texture to its source's, over all frames that were moved."""
    real, made = luma(result.real_frames())[:, 0].numpy(), luma(result.clip.frames)[:, 0].numpy()
    inside = ndimage.binary_erosion(result.mask, iterations=EDGE)
    native = NativeFrame(np.asarray(result.source.sector.mask), result.source.model.origin, result.source.model.step)
    sums = {name: np.zeros((2, 3)) for name in ("sector", "moved")}
    grains = []
    for t, flow in enumerate(result.edited.flow):
        far = np.zeros_like(inside)
        far[native.box] = (native.enlarge(flow)[None] * native.step)[0].norm(dim=0).numpy() > MOVED
        for name, region in (("sector", inside), ("moved", inside & far)):
            if region.sum() > 500:
                sums[name] += np.stack([octaves(frames[t], region) for frames in (made, real)]) * region.sum()
        if t % max(1, len(real) // 4) == 0:
            grains.append([speckle(frames[t], inside) for frames in (made, real)])
    row = {
        f"octave {k + 1}{end}": sums[name][0, k] / sums[name][1, k]
        for name, end in (("sector", ""), ("moved", ", moved"))
        for k in range(3)
        if sums[name][1, k] > 0
    }
    grain = np.nanmean(grains, 0)
    row |= dict(zip(("speckle down", "speckle across", "speckle mean over spread"), grain[0] / grain[1], strict=True))
    if len(real) > 2:
        changes = [float(np.abs(np.diff(frames, axis=0))[:, inside].mean()) for frames in (made, real)]
        row["change between frames"] = changes[0] / changes[1]
    return row


def clip_rows(name: str, clip: Clip, fractions: list[float], pipeline, look: Path | None) -> list[dict]:
    """One row a wish; the first asks for nothing."""
    same = synthesize(clip, bundle=pipeline)
    found = same.ejection_fractions()
    offset = np.nan if found["measured"] is None else found["measured"] - found["asked"]
    rows = [
        {"clip": name, "asked": np.nan, "psnr": psnr(same.clip.frames, same.real_frames(), torch.as_tensor(same.mask))}
    ]
    for ef in fractions:
        try:
            result = synthesize(clip, Wish(ef=ef), bundle=pipeline)
        except EchoKDMError as error:
            print(f"      {name}, EF {ef:g}: {error}")
            continue
        got = result.ejection_fractions()["measured"]
        rows.append(
            {
                "clip": name,
                "asked": ef,
                "source": found["source"],
                "missed": np.nan if got is None else got - ef - offset,
                **texture_row(result),
            }
        )
        if look is not None:
            from echokdm.report.synthesis import write_synthesis

            write_synthesis(result, look / f"{name}-{ef:g}", overwrite=True)
    return rows


def report(table: pd.DataFrame, what: str, bars: Bars) -> None:
    """Means with intervals over clips, and verdicts."""
    edited = table[table["asked"].notna()]
    for name in [c for c in table.columns if c.startswith(("octave", "speckle", "change"))]:
        each = edited.groupby("clip")[name].mean().dropna()
        if each.empty:
            continue
        low, high = FLICKER if name.startswith("change") else SPECKLE if name.startswith("speckle") else DETAIL
        found = mean_interval(each) if len(each) > 2 else None
        text = f"{each.mean():.3f}" + (
            f" [{found.low:.3f}, {found.high:.3f}]" if found else f" ({', '.join(f'{v:.3f}' for v in each)})"
        )
        if name.endswith("moved"):
            print(f"      {what}: {name} {text}")
        else:
            bars.check(f"{what}: {name} over the source's", low <= each.mean() <= high, text, f"{low:g} to {high:g}")
    bars.at_least(f"{what}: least PSNR of what nothing is asked of, dB", float(table["psnr"].min()), IDENTITY, 1)
    missed = edited["missed"]
    counted = f"{missed.notna().sum()} of {len(missed)} measured"
    bars.at_most(f"{what}: EF asked against measured, MAE, {counted}", float(missed.abs().mean()), MISSED, 2)
    print(edited.groupby("asked")["missed"].agg(["mean", "std", "count"]).round(1).to_string())


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 60, "CAMUS patients")
    options.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    options.add_argument(
        "--fractions", nargs="*", type=float, default=[25.0, 45.0, 65.0], help="EFs asked for, percent"
    )
    options.add_argument("--look", type=Path, help="write each result's folder here")
    arguments = options.parse_args()
    print(begin(arguments))
    pipeline, bars = load_pipeline(arguments.bundle), Bars()
    paths = {path.stem: path for path in arguments.clips} or real_clips()
    rows = [
        row
        for name, path in paths.items()
        for row in clip_rows(name, read_clip(path), arguments.fractions, pipeline, arguments.look)
    ]
    report(pd.DataFrame(rows), "video clips", bars)
    if TEST_DATA and not arguments.clips and arguments.patients:
        from hearts import hearts

        rows = [
            row
            for subject, clip, _ in hearts("judge", arguments.patients)
            for row in clip_rows(subject, clip, arguments.fractions, pipeline, None)
        ]
        report(pd.DataFrame(rows), "CAMUS", bars)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
