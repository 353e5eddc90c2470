"""`echokdm generate`: pictures and a wish, to what a trained bundle of any method makes of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from echokdm.core import defaults
from echokdm.core.errors import ConfigError, GeometryError

if TYPE_CHECKING:
    from torch import Tensor

    from echokdm.core.frames import Frames
    from echokdm.core.types import Clip, KeypointSchema
    from echokdm.data.frames import Square
    from echokdm.methods.base import Generated, Method, Request

FPS = 12.5  # of the output where no driving clip tells it


@dataclass(frozen=True)
class PictureWish:
    """What is asked of pictures; nothing of it: what the method makes of them alone.

    driving: a clip whose motion is wanted. keypoints: the file of its key-points or, without it, of places in the first
    source. condition: a picture of what goes where. drag: key-point -> (dx, dy) px of the first source. gammas: shares
    of the motion, a frame each. relative: the driving clip's motion since its first frame is carried over, not its
    places.
    """

    driving: str | Path | None = None
    keypoints: str | Path | None = None
    condition: str | Path | None = None
    drag: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    gammas: Sequence[float] | None = None
    relative: bool = False

    def record(self) -> dict[str, Any]:
        """For run.json: of files only whether there were any."""
        files = {name: getattr(self, name) is not None for name in ("driving", "keypoints", "condition")}
        return files | {
            "drag": {str(k): list(v) for k, v in self.drag.items()},
            "gammas": None if self.gammas is None else list(self.gammas),
            "relative": self.relative,
        }


@dataclass(frozen=True)
class Generation:
    """What was asked of a method and what came of it.

    frames: (T, 3, H, W) in [0, 1] at `fps`, of the first source's size where the method carries its pixels, else of the
    model's. options: what repeats it, without a file's name. empty: frames for which the files of key-points hold
    nobody.
    """

    request: "Request"
    made: "Generated"
    frames: "Frames"
    fps: float
    method: "Method"
    schema: "KeypointSchema | None"
    options: dict[str, Any]
    seconds: float
    empty: int = 0


def generate(
    bundle: str | Path,
    sources: Sequence[str | Path],
    wish: PictureWish = PictureWish(),
    *,
    source_keypoints: Sequence[str | Path] = (),
    whole: bool = False,
    steps: int | None = None,
    seed: int = defaults.SEED,
    device: str = defaults.DEVICE,
) -> Generation:
    """Generate frames with a trained bundle of any method.

    sources: pictures; several where the method takes them. source_keypoints: a file for each. whole: don't cut pictures
    to their key-points. steps: network calls a frame, None for the method's own. Raises ConfigError for a wish that the
    method doesn't know, BundleError, ClipError and GeometryError.
    """
    from echokdm.data.frames import three_channels
    from echokdm.methods.base import Request, method_of
    from echokdm.methods.bundle import bundle_config, find_bundle
    from echokdm.ops.wishes import check_drag

    began = time.perf_counter()
    folder = find_bundle(bundle)
    method = method_of(folder)
    drag, keypoints = wish.drag, wish.keypoints
    if drag and (wish.driving or keypoints):
        raise ConfigError("--drag moves the source's own key-points: leave --driving and --keypoints out.")
    _check(
        method,
        len(sources),
        len(source_keypoints),
        driving=wish.driving,
        condition=wish.condition,
        drag=drag,
        gamma=wish.gammas,
        keypoints=keypoints or source_keypoints,
    )
    size = int(bundle_config(folder)["size"])
    pipeline = method.pipeline.from_pretrained(folder).to(device)
    schema = method.schema(pipeline)
    if schema is None and (keypoints or source_keypoints or drag):
        raise ConfigError(f"The bundle '{folder.name}' takes no key-points.")
    if drag and schema is not None:
        check_drag(drag, len(schema))
    clips = [_first(path) for path in sources]
    clip = None if wish.driving is None else _read(wish.driving)
    told = _points(keypoints, schema, clips[0] if clip is None else clip)
    files: Sequence[str | Path | None] = source_keypoints or [None] * len(sources)
    given = [_points(file, schema, source) for file, source in zip(files, clips, strict=True)]
    if schema is not None:
        given = [
            _found(method, pipeline, source, size, whole) if p is None else p
            for source, p in zip(clips, given, strict=True)
        ]
    told = dragged(given[0], drag) if drag else told
    parts = [
        _square(source, None if p is None else p[:1], size, whole, told if clip is None and i == 0 else None)
        for i, (source, p) in enumerate(zip(clips, given, strict=True))
    ]
    pictures = _joined([part.frames for part in parts])
    assert pictures is not None  # `_check` asks for one at least
    request = Request(
        pictures,
        _joined([part.points for part in parts if part.points is not None]),
        parts[0].others,
        gammas=_joined([wish.gammas]),
        relative=wish.relative,
        steps=steps,
        seed=seed,
    )
    fps = FPS
    if clip is not None:
        if told is not None and len(told) != len(clip):
            raise GeometryError(f"The key-points tell of {len(told)} frames, the driving clip has {len(clip)}.")
        found = _found(method, pipeline, clip, size, whole) if told is None and schema is not None else None
        around = told if found is None else found[:1]  # at the first frame's scale, as the source is
        cut = _square(clip, around, size, whole, found)
        targets = cut.others if found is not None and len(found) == len(clip) else None if told is None else cut.points
        request, fps = replace(request, driving=cut.frames, target_keypoints=targets), clip.fps
    if wish.condition is not None:
        request = replace(request, condition=_square(_first(wish.condition), None, size, True).frames)
    empty = sum(int(points.isnan().all(-1).all(-1).sum()) for points in (told, *given) if points is not None)
    options = {
        "bundle": folder.name,
        "sources": len(sources),
        "source_keypoints": bool(source_keypoints),
        **wish.record(),
        "whole": whole,
        "steps": steps,
        "seed": seed,
        "device": device,
    }
    made = method.generate(pipeline, request)
    frames: Frames = made.frames
    if made.carried is not None:
        from echokdm.methods.photo import carry_photo

        frames = carry_photo(three_channels(clips[0].frames[:])[0], parts[0].square, made.carried)
    return Generation(request, made, frames, fps, method, schema, options, time.perf_counter() - began, empty)


class _Part(NamedTuple):
    """Frames (T, 3, S, S) of a square of pictures, key-points (T, N, 2) px in it, further ones, and where it lies."""

    frames: "Tensor"
    points: "Tensor | None"
    others: "Tensor | None"
    square: "Square"


def dragged(keypoints: "Tensor | None", drag: Mapping[int, tuple[float, float]]) -> "Tensor":
    """x_K,tgt = x_K,src + v (KDM, appendix D): key-points (T, N, 2), the first of which move by (dx, dy) px -> (1, N,
    2).

    Raises ConfigError where there are none.
    """
    if keypoints is None:
        raise ConfigError("--drag moves key-points of the source: name their file with --source-keypoints.")
    moved = keypoints[:1].clone()
    for i, offset in drag.items():
        moved[0, i] += moved.new_tensor(offset)
    return moved


def _check(method: "Method", sources: int, files: int, **wishes: Any) -> None:
    if not sources:
        raise ConfigError("Name at least one picture with --source.")
    if files not in (0, sources):
        raise ConfigError(f"{sources} sources need as many files of key-points, not {files}.")
    flags = {"sources": "several --source"}
    for wish, value in {"sources": sources > 1, **wishes}.items():
        if value and wish not in method.takes:
            known = ", ".join(flags.get(t, f"--{t}") for t in sorted(method.takes))
            raise ConfigError(
                f"The method {method.name} does not take {flags.get(wish, f'--{wish}')}; it takes {known}."
            )


def _read(path: str | Path) -> "Clip":
    from echokdm.io.read import read_clip

    clip = read_clip(path)
    return clip.with_frames(clip.frames[:])


def _first(path: str | Path) -> "Clip":
    clip = _read(path)
    return clip.with_frames(clip.frames[:1])


def _points(file: str | Path | None, schema: "KeypointSchema | None", clip: "Clip") -> "Tensor | None":
    from echokdm.data.keypoint_files import read_keypoints

    return None if file is None or schema is None else read_keypoints(Path(file), schema, clip.size)


def _found(method: "Method", pipeline: Any, clip: "Clip", size: int, whole: bool) -> "Tensor | None":
    """Key-points (1 or T, N, 2) of a clip's first frame or of all, where the method finds them itself.

    Where pictures stay whole, nothing has to be found to cut them to: the method may see them in the square.
    """
    from echokdm.data.frames import three_channels

    try:
        return method.find_keypoints(pipeline, three_channels(clip.frames[:]), size)
    except GeometryError:
        if not whole:
            raise
        return None


def _square(clip: "Clip", points: "Tensor | None", size: int, whole: bool, others: "Tensor | None" = None) -> _Part:
    """Frames (T, 3, S, S) at the model's size, cut around `points` (T, N, 2) unless `whole`; those and `others`
    follow."""
    import torch

    from echokdm.data.frames import fit_square, three_channels

    height, width = clip.size
    if points is not None:
        known = points[torch.isfinite(points).all(-1)]
        if not ((known >= -0.5) & (known <= torch.tensor([width, height]) - 0.5)).all(-1).float().mean() > 0.5:
            raise GeometryError(
                f"Most key-points lie outside the picture's {width} x {height} pixels: they belong to another one."
            )
    frames, square = fit_square(three_channels(clip.frames[:]), size, None if whole else points)
    points, others = (None if p is None else square.points(p) for p in (points, others))
    return _Part(frames, points, others, square)


def _joined(parts: Sequence[Any]) -> "Tensor | None":
    """Tensors or lists of numbers as one tensor along the first axis; None where there is none."""
    import torch

    known = [torch.as_tensor(part, dtype=torch.float32) for part in parts if part is not None]
    return torch.cat(known) if known else None
