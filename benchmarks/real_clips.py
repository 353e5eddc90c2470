"""Real clips: what the codec loses, and each clip's own motion made again from its end-diastolic frame, by third of the
beat.

    python benchmarks/real_clips.py [--bundle B] [--patients 2] [--codec-only] [--look FOLDER] [--bound] [CLIP ...]

Without CLIP: pydicom's A4C example and, where ECHOKDM_TEST_DATA is set, the echotracker clip. Bars: codec LPIPS <= .020
and MSE <= .0006; in every third MSE <= 0.75 x no edit, LPIPS <= 1.1 x no edit, MD <= 2 px at 112. --bound: what flows
of few control points reach that are fitted to each frame by this very MSE, as none can be that is told by key-points
alone: the warp, and F2I's frames.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bars import Bars, begin, parser, perceptual_distances, real_clips

from echokdm.echo.derive import Derived, derive_keypoints, load_pipeline
from echokdm.evaluation.held_out import KDM, NO_EDIT
from echokdm.evaluation.resynthesis import THIRDS, beat_thirds
from echokdm.evaluation.run import score_clip
from echokdm.io import find_sector, read_clip, to_model_frame
from echokdm.methods.bundle import find_bundle
from echokdm.metrics.codec import codec_scores
from echokdm.ops.cycle import valve_opening
from echokdm.ops.warp import warp


def check_codec(clip: Path, bundle: str, distances: dict, bars: Bars) -> None:
    """The image codec's round trip on every frame."""
    from diffusers.models.autoencoders.vq_model import VQModel

    codec = VQModel.from_pretrained(
        find_bundle(bundle) / "image_codec", local_files_only=True, low_cpu_mem_usage=False
    ).eval()
    read = read_clip(clip)
    model = to_model_frame(read, find_sector(read))
    for quantize in (True, False):
        scores = codec_scores(codec, model.clip.frames, torch.as_tensor(model.sector_mask), distances, quantize)
        if quantize:
            bars.at_most(
                f"{clip.stem}: codec LPIPS-squeeze, {len(read)} frames", float(scores["LPIPS_squeeze"].mean()), 0.020
            )
            bars.at_most(f"{clip.stem}: codec MSE", float(scores["MSE_img"].mean()), 0.0006, 5)
        else:
            print(
                f"      {clip.stem}: without the codebook LPIPS {scores['LPIPS_squeeze'].mean():.4f}, MSE {scores['MSE_img'].mean():.5f}"
            )


def check_motion(clip: Path, pipeline, distances: dict, bars: Bars, look: Path | None, bound: bool) -> None:
    """The clip's own motion from one frame, against leaving that frame as it is."""
    source = derive_keypoints(clip, bundle=pipeline)
    table, made = score_clip(pipeline, source, distances)
    print(
        f"{clip.stem}: {len(source.clip)} frames, ED {source.ed}, ES {source.es}, EF {source.ejection_fraction:.1f} %"
    )
    means = table.groupby(["method", "third"])[["MSE_img", "LPIPS_squeeze", "SSIM", "MD"]].mean()
    print(means.to_string(float_format=lambda v: f"{v:.4f}"))
    for third in THIRDS:
        if (KDM, third) not in means.index:
            bars.check(f"{clip.stem}, {third} third", False, "no frames", "some")
            continue
        mine, still = means.loc[(KDM, third)], means.loc[(NO_EDIT, third)]
        bars.at_most(f"{clip.stem}, {third} third: MSE over no edit", mine["MSE_img"] / still["MSE_img"], 0.75, 3)
        bars.at_most(
            f"{clip.stem}, {third} third: LPIPS over no edit", mine["LPIPS_squeeze"] / still["LPIPS_squeeze"], 1.1, 3
        )
        bars.at_most(f"{clip.stem}, {third} third: MD, px", mine["MD"], 2.0, 2)
    if bound:
        print_bound(source, pipeline)
    if look is not None:
        strip(source.model.clip.frames, made, look / f"{clip.stem}.png")


def fitted_flow(
    image: torch.Tensor, targets: torch.Tensor, sector: torch.Tensor, points: int, steps: int = 100
) -> torch.Tensor:
    """(T, 2, H, W): the bicubic flow of `points` x `points` control points that brings image (1, 1, H, W) nearest each
    target, by MSE."""
    from torchvision.transforms.functional import gaussian_blur

    control = torch.zeros(len(targets), 2, points, points, requires_grad=True)
    optimiser = torch.optim.Adam([control], 0.15)

    def flow() -> torch.Tensor:
        return F.interpolate(control, targets.shape[2:], mode="bicubic", align_corners=True)

    for sigma in (4.0, 2.0, None):
        source, wanted = (
            picture if sigma is None else gaussian_blur(picture, 25, sigma) for picture in (image, targets)
        )
        for _ in range(steps):
            optimiser.zero_grad()
            ((warp(source.expand_as(wanted), flow()) - wanted) * sector).square().mean((1, 2, 3)).sum().backward()
            optimiser.step()
    return flow().detach()


def print_bound(source: Derived, pipeline, counts: tuple[int, ...] = (2, 4, 5, 6, 8)) -> None:
    """MSE over no edit by third, of flows that saw the target."""
    frames, sector = source.model.clip.frames, torch.as_tensor(source.model.sector_mask)
    image = frames[source.ed : source.ed + 1]
    third, kept = beat_thirds(source.volumes, source.beats), np.arange(len(frames)) != source.ed
    still = ((image - frames) * sector).square().mean((1, 2, 3)).numpy()
    points, valves = (
        torch.as_tensor(source.keypoints, dtype=torch.float32),
        torch.as_tensor(valve_opening(source.volumes)),
    )
    for count in counts:
        flow = fitted_flow(image, frames, sector, count)
        drawn = pipeline(image, points[source.ed], points, sector=sector, flow=flow, valve_opening=valves).frames
        for name, made in (("warp", warp(image.expand_as(frames), flow)), ("F2I", drawn)):
            left = ((made - frames) * sector).square().mean((1, 2, 3)).numpy()
            ratios = [
                f"{THIRDS[n]} {left[kept & (third == n)].mean() / still[kept & (third == n)].mean():.3f}"
                for n in range(3)
                if (kept & (third == n)).any()
            ]
            print(
                f"      fitted to the target, {count} x {count} control points, {name}: MSE over no edit {', '.join(ratios)}"
            )


def strip(real: torch.Tensor, made: torch.Tensor, path: Path, shown: int = 8, zoom: int = 2) -> None:
    """A PNG of some real frames, KDM's below them, and their difference."""
    from PIL import Image

    at = np.unique(np.linspace(0, len(real) - 1, shown).round().astype(int))
    rows = [np.concatenate(list(frames[at, 0].numpy()), 1) for frames in (real, made, (real - made).abs() * 2)]
    picture = (np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).resize((picture.shape[1] * zoom, picture.shape[0] * zoom), Image.Resampling.NEAREST).save(
        path
    )


def main() -> int:
    """Parse the command line, print figures and verdicts."""
    options = parser(__doc__, 2, "at most so many clips")
    options.add_argument("clips", type=Path, nargs="*")
    options.add_argument(
        "--codec-only", action="store_true", help="leave the motion out; needs no more of a bundle than its codec"
    )
    options.add_argument("--look", type=Path, help="a folder for a picture of each clip")
    options.add_argument("--bound", action="store_true", help="also what flows reach that saw the target")
    arguments = options.parse_args()
    print(begin(arguments))
    distances, bars = perceptual_distances(), Bars()
    print("inside the sector, 112 px;", "; ".join(d.provenance for d in distances.values()))
    clips = (arguments.clips or list(real_clips().values()))[: arguments.patients]
    for clip in clips:
        check_codec(clip, arguments.bundle, distances, bars)
    if not arguments.codec_only:
        pipeline = load_pipeline(arguments.bundle)
        for clip in clips:
            check_motion(clip, pipeline, distances, bars, arguments.look, arguments.bound)
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
