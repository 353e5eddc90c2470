"""Photos of faces and people moved by their key-points: what stays, what detail is left, and where key-points are found
again.

    python benchmarks/portraits.py [--patients 40] [--look FOLDER]

Photos: the three faces and the first frame of the clip of people that ECHOKDM_TEST_DATA holds. A face's mouth is
opened, its eyes are closed and its head is turned by 15 degrees either way; a person's forearm, arm and leg are turned.

- untouched: PSNR further from what moves than 20 % of the key-points' box (`ops.reach`);
- octave: detail as in `edit.py`, over the photo's, within that margin and not drawn anew; moved: the same where the picture was moved by
  more than half a pixel, over that of where it came from;
- found again: dlib's landmarks on the result, mean distance from those asked for over the face's size, beside the same of the photo and
  its mirror image, which is dlib's own error.

Phantoms: identities that no network saw, pairs that differ in few of a pose's parameters and others; MSE, the package's
perceptual distance, and the flow's error over all pixels. Bars: issue 21.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from bars import TEST_DATA, Bars, begin, parser
from edit import SIGMAS, psnr
from scipy import ndimage
from torch import Tensor

from echokdm.core.schemas import IBUG_68, OPENPOSE_COCO_18
from echokdm.core.types import KeypointSchema, luma
from echokdm.data.adapters.phantoms import HELD_OUT
from echokdm.data.face_finder import find_faces
from echokdm.data.keypoint_files import read_keypoints
from echokdm.data.pairs import PAIRS
from echokdm.data.posed import Kind, posed_store
from echokdm.io.read import read_clip
from echokdm.losses.perceptual import Perceptual
from echokdm.methods.generate import Generation, PictureWish, generate
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.kdm.editing import exact, move
from echokdm.methods.kdm.pipeline import KDMPipeline
from echokdm.metrics.intervals import mean_interval
from echokdm.ops.reach import box_side, reach_of
from echokdm.ops.tps import seen_tps_flow
from echokdm.ops.warp import warp
from echokdm.report.figures import to_image

UNTOUCHED, DETAIL, FOUND = 45.0, (0.9, 1.1), 0.02
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
JAW = {4: 0.3, 5: 0.55, 6: 0.8, 7: 0.95, 8: 1.0, 9: 0.95, 10: 0.8, 11: 0.55, 12: 0.3}  # shares of the drop
LOWER_LIP = {
    48: 0.3,
    54: 0.3,
    55: 0.7,
    59: 0.7,
    56: 1.0,
    57: 1.0,
    58: 1.0,
    60: 0.35,
    64: 0.35,
    65: 1.0,
    66: 1.0,
    67: 1.0,
}
# out of the face, in half-widths
NOSE = {27: 0.05, 28: 0.12, 29: 0.2, 30: 0.28, 31: 0.1, 32: 0.15, 33: 0.18, 34: 0.15, 35: 0.1}

Asked = Callable[[Tensor], Tensor]


def open_mouth(points: Tensor, share: float = 0.15) -> Tensor:
    """The lower lip and the jaw dropped by a share of the face's size, along the face's own axis."""
    down = points[8] - points[27]
    down = down / down.norm() * share * box_side(points)
    moved = points.clone()
    for place, part in (JAW | LOWER_LIP).items():
        moved[place] += part * down
    return moved


def close_eyes(points: Tensor, share: float = 0.9) -> Tensor:
    """The upper lids brought down by a share of each eye's opening."""
    moved = points.clone()
    for up, low in LIDS:
        moved[up] = points[up] + share * (points[low] - points[up])
    return moved


def turn_head(points: Tensor, degrees: float = 15.0) -> Tensor:
    """Turned about its own axis, on a cylinder from which the nose stands out; the axis goes most of the way along, as
    a neck lets it."""
    across = points[16] - points[0]
    half = float(across.norm()) / 2
    axis, centre, radius = across / (2 * half), (points[0] + points[16]) / 2, 1.3 * half
    x = (points - centre) @ axis
    depth = (radius**2 - x.clamp(-0.97 * radius, 0.97 * radius).square()).sqrt()
    for place, out in NOSE.items():
        depth[place] += out * half
    angle = math.radians(degrees)
    return points + (x * (math.cos(angle) - 1) + (depth - 0.75 * radius) * math.sin(angle))[:, None] * axis


def turn_limb(points: Tensor, joint: str, beyond: tuple[str, ...], degrees: float) -> Tensor:
    """The joints beyond one turned about it in the picture."""
    names, angle = OPENPOSE_COCO_18.names, math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved, about = points.clone(), points[names.index(joint)]
    for name in beyond:
        moved[names.index(name)] = about + turn @ (points[names.index(name)] - about)
    return moved


FACE: dict[str, Asked] = {
    "mouth opened": open_mouth,
    "eyes closed": close_eyes,
    "turned by 15 degrees": turn_head,
    "turned by -15 degrees": lambda points: turn_head(points, -15.0),
}
PERSON: dict[str, Asked] = {
    "forearm turned by 45 degrees": lambda points: turn_limb(points, "right_elbow", ("right_wrist",), 45.0),
    "arm turned by 30 degrees": lambda points: turn_limb(
        points, "right_shoulder", ("right_elbow", "right_wrist"), 30.0
    ),
    "leg turned by -12 degrees": lambda points: turn_limb(points, "left_hip", ("left_knee", "left_ankle"), -12.0),
}


def made_of(bundle: str, file: Path, points: Tensor, asked: Tensor) -> Generation:
    """What `echokdm generate` makes of a photo and files of key-points."""
    with tempfile.TemporaryDirectory() as folder:
        for name, values in (("own", points), ("asked", asked)):
            np.save(Path(folder) / f"{name}.npy", values.numpy())
        return generate(
            bundle,
            [file],
            PictureWish(keypoints=Path(folder) / "asked.npy"),
            source_keypoints=[Path(folder) / "own.npy"],
        )


def photo_row(
    name: str, what: str, photo: Tensor, points: Tensor, asked: Tensor, result: Generation, schema: KeypointSchema
) -> dict:
    """Figures of one photo (1, 3, H, W) and one wish."""
    size = photo.shape[2:]
    frame = result.frames[:1]
    reach = reach_of(points, asked[None], schema, *size)[0, 0]
    row: dict = {
        "photo": name,
        "asked": what,
        "seconds": result.seconds,
        "untouched dB": psnr(frame, photo, reach == 0),
    }
    carried = result.made.carried
    assert carried is not None  # KDM's frames are carried
    # In the model's frame, brought to the photo's by where its key-points lie in both.
    x = torch.isfinite(points).all(-1)
    own = result.request.source_keypoints[0]
    scale = float((points[x].amax(0) - points[x].amin(0)).max() / (own[x].amax(0) - own[x].amin(0)).max())
    corner = (points[x] - scale * own[x]).mean(0)
    grid = [(torch.arange(n, dtype=torch.float32) - corner[1 - k]) / scale for k, n in enumerate(size)]
    side = carried.drawn.shape[-1]
    places = torch.stack(torch.meshgrid(grid[1] * 2 / (side - 1) - 1, grid[0] * 2 / (side - 1) - 1, indexing="xy"), -1)[
        None
    ]
    finer = carried.hidden.shape[-1] // side
    fields = torch.cat(
        [result.made.flow[:1].norm(dim=1, keepdim=True) * scale, F.max_pool2d(carried.hidden[:1], finer)], 1
    )
    moved, hidden = F.grid_sample(fields, places, align_corners=True)[0]
    after, before = (octave_maps(luma(frames))[0] for frames in (frame, photo))
    # of where pixels come from
    came = warp(before[None], F.grid_sample(result.made.flow[:1] * scale, places, align_corners=True))[0]
    inside, carried_on = (reach > 0) & (hidden < 0.01), (moved > 0.5) & (hidden < 0.01)
    row |= {f"octave {k + 1}": float(after[k][inside].sum() / before[k][inside].sum()) for k in range(3)}
    row |= {f"moved {k + 1}": float(after[k][carried_on].sum() / came[k][carried_on].sum()) for k in range(3)}
    row["drawn %"] = 100 * float((hidden > 0.5).float().mean())
    if schema is IBUG_68:
        row["found again"] = float((find_faces(frame, asked)[0] - asked).norm(dim=-1).mean()) / box_side(points)
        mirrored = IBUG_68.mirror(find_faces(photo.flip(-1), IBUG_68.mirror(points, size[1]))[0], size[1])
        row["dlib's own"] = float((mirrored - points).norm(dim=-1).mean()) / box_side(points)
    return row


def octave_maps(image: Tensor) -> Tensor:
    """(1, 3, H, W): energy of a picture (1, 1, H, W) in each of its top three octaves, as in `edit.octaves`, around
    each pixel."""
    blurred = [image[0, 0].numpy()] + [ndimage.gaussian_filter(image[0, 0].numpy(), sigma) for sigma in SIGMAS[1:]]
    return torch.from_numpy(np.stack([np.square(a - b) for a, b in zip(blurred, blurred[1:], strict=False)]))[None]


def photos(bundles: tuple[str, str], look: Path | None) -> pd.DataFrame:
    """One row a photo and wish."""
    rows = []
    folder = Path(TEST_DATA)
    for name in ("einstein", "s6", "s9"):
        file = folder / "face" / f"{name}.jpg"
        photo = read_clip(file).frames[:1].expand(-1, 3, -1, -1)
        points = find_faces(photo)[0]
        for what, ask in FACE.items():
            result = made_of(bundles[0], file, points, ask(points))
            rows.append(photo_row(name, what, photo, points, ask(points), result, IBUG_68))
            keep(look, f"{name}, {what}", result)
    clip = read_clip(folder / "pose" / "pose2sim_cam01.mp4")
    photo = clip.frames[:1]
    points = read_keypoints(folder / "pose" / "pose2sim_cam01_json", OPENPOSE_COCO_18)[0]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "people.png"
        to_image(photo[0]).save(file)
        for what, ask in PERSON.items():
            result = made_of(bundles[1], file, points, ask(points))
            rows.append(photo_row("people", what, photo, points, ask(points), result, OPENPOSE_COCO_18))
            keep(look, f"people, {what}", result)
    return pd.DataFrame(rows)


def keep(look: Path | None, name: str, result: Generation) -> None:
    """Save a result where it is to be looked at."""
    if look is not None:
        look.mkdir(parents=True, exist_ok=True)
        to_image(result.frames[0]).save(look / f"{name.replace(', ', '-').replace(' ', '-')}.png")


@torch.no_grad()
def phantoms(kind: Kind, bundle: str, count: int, cache: Path) -> pd.DataFrame:
    """One row an identity, pair and way of making the target."""
    pipeline = KDMPipeline.from_pretrained(bundle)
    size, distance = pipeline.size, Perceptual("own")
    store = posed_store(cache / f"{kind}-{size}-{count}", kind, count, size, HELD_OUT, edits=True)
    whole, rows = torch.ones(1, 1, size, size), []
    for i in range(count):
        for k in range(0, PAIRS, 4):  # of each identity one edit, and one pair of unlike poses
            for pair in (k, k + 1):
                target, source = store["pair"][i, pair]
                before, after = (torch.from_numpy(store["keypoints"][i, t].copy()) for t in (source, target))
                image, truth = (
                    torch.from_numpy(store["image"][i, t].astype(np.float32) / 255)[None] for t in (source, target)
                )
                true_flow = torch.from_numpy(store["flow"][i, pair].astype(np.float32))[None]
                raw = pipeline.predict_flow(image, before[None], after[None], whole, Drawing(exact=False))
                still = torch.zeros_like(raw)
                result = move(pipeline, image, before, after[None])
                flows = {
                    "no edit": still,
                    "spline": seen_tps_flow(before, after, size, size),
                    "no network": exact(still, before[None], after[None], pipeline.schema),
                    "K2F-net": raw,
                    "edit, no F2I": result.flow,
                    "edit": result.flow,
                }
                for way, flow in flows.items():
                    made = result.frames if way == "edit" else warp(image, flow, mode="bicubic").clamp(0, 1)
                    rows.append(
                        {
                            "identity": i,
                            "pair": "few parameters" if pair % 2 == 0 else "all",
                            "way": way,
                            "MSE 1e-4": 1e4 * float((made - truth).square().mean()),
                            "perceptual": float(distance(made, truth)),
                            "flow px": float((flow - true_flow).norm(dim=1).clamp(max=20).mean()),
                        }
                    )
    return pd.DataFrame(rows)


def report(table: pd.DataFrame, kind: str, bars: Bars) -> None:
    """Means with intervals over identities, and whether the edit is below a spline."""
    names = ["MSE 1e-4", "perceptual", "flow px"]
    for pair, part in table.groupby("pair"):
        print(f"\nPhantoms, {kind}, {pair}: mean over {part['identity'].nunique()} identities [95 % interval]")
        means = part.groupby(["way", "identity"], sort=False)[names].mean()
        for way in part["way"].unique():
            found = {name: mean_interval(means.loc[way][name].to_numpy()) for name in names}
            print(
                f"  {way:14s}"
                + "   ".join(f"{name} {i.value:.4g} [{i.low:.4g}, {i.high:.4g}]" for name, i in found.items())
            )
        for name in ("MSE 1e-4", "perceptual"):
            gain = means.loc["edit"][name] - means.loc["spline"][name]
            bars.at_most(
                f"{kind}, {pair}, {name}: edit minus spline, upper end", mean_interval(gain.to_numpy()).high, 0.0
            )


def main() -> int:
    """Parse the command line, measure, print."""
    options = parser(__doc__, 40)
    options.set_defaults(bundle="face")
    options.add_argument("--people", default="people", help="the bundle of people")
    options.add_argument("--look", type=Path, help="where to keep the pictures")
    options.add_argument(
        "--cache", type=Path, default=Path("runs/cache/portraits"), help="folder of the simulated phantoms"
    )
    arguments = options.parse_args()
    began, bars = time.perf_counter(), Bars()
    print(begin(arguments))
    if TEST_DATA:
        table = photos((arguments.bundle, arguments.people), arguments.look)
        print(table.round(3).to_string(index=False))
        bars.at_least("untouched beyond the margin, least dB", table["untouched dB"].min(), UNTOUCHED, 1)
        for k in range(3):
            values = table[f"octave {k + 1}"]
            bars.check(
                f"detail kept, octave {k + 1}",
                bool(values.between(*DETAIL).all()),
                f"{values.min():.2f} to {values.max():.2f}",
                f"{DETAIL[0]} to {DETAIL[1]}",
            )
        bars.at_most("key-points found again, of the face's size, worst", table["found again"].max(), FOUND)
    for kind, bundle in (("face", arguments.bundle), ("body", arguments.people)):
        report(phantoms(kind, bundle, arguments.patients, arguments.cache), kind, bars)
    print(f"{time.perf_counter() - began:.0f} s")
    return bars.close()


if __name__ == "__main__":
    raise SystemExit(main())
