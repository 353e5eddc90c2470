"""A drawn heart whose ventricle is known, and a pipeline that needs no training: dark is blood, motion is a spread of
key-points."""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from echokdm.core.errors import GeometryError
from echokdm.core.types import Clip
from echokdm.methods.kdm.drawing import Drawing
from echokdm.methods.kdm.pipeline import Ventricle
from echokdm.ops.render import spread_motion
from echokdm.ops.warp import warp

FPS, FRAMES, HEIGHT, WIDTH = 25.0, 24, 160, 200
CENTRE = np.array([100.0, 70.0])  # x, y of the ventricle
HALF_WIDTH, HALF_LENGTH = 20.0, 36.0  # at end-diastole, frame 0


def shrink(t: int) -> float:
    """Size of the ventricle's half-axes at frame t, 1 at end-diastole, 0.85 at end-systole: an EF of 1 - 0.85^3 = 38.6
    %."""
    return 1 - 0.15 * (1 - np.cos(2 * np.pi * t / FRAMES)) / 2


def draw_clip(frames: int = FRAMES, ventricle: bool = True) -> Clip:
    """A sector of speckle, which changes with the beat, with a dark ellipse that beats once."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    angle, radius = np.arctan2(x - WIDTH / 2, y + 12), np.hypot(x - WIDTH / 2, y + 12)
    sector = (np.abs(angle) < np.radians(38)) & (radius > 16) & (radius < 165)
    echoes = ndimage.gaussian_filter(rng.normal(size=(2, HEIGHT, WIDTH)), (0, 0.8, 0.8))
    clip = []
    for t in range(frames):
        # Tissue moves through the beam, and print does not: speckle changes within a beat.
        turn = 2 * np.pi * t / FRAMES
        speckle = np.abs(np.cos(turn) * echoes[0] + np.sin(turn) * echoes[1])
        speckle = np.clip(0.25 + 0.35 * speckle / speckle.mean(), 0, 1)
        s = shrink(t) if ventricle else 0.0
        inside = ((x - CENTRE[0]) / (HALF_WIDTH * s + 1e-9)) ** 2 + ((y - CENTRE[1]) / (HALF_LENGTH * s + 1e-9)) ** 2
        tissue = 0.03 + 0.97 / (1 + np.exp(np.clip(-(inside - 1) * 12, -50, 50)))
        flicker = 1 + 0.05 * rng.normal(size=(HEIGHT, WIDTH))
        clip.append(speckle * tissue * flicker * sector)
    return Clip(torch.tensor(np.array(clip), dtype=torch.float32).clamp(0, 1)[:, None], FPS, (0.8, 0.8))


def ellipse(t: int = 0, centre: np.ndarray = CENTRE, count: int = 20) -> np.ndarray:
    """Rows (count + 1, 4) of the drawn ventricle's tracing at frame t."""
    s = shrink(t)
    y = (np.arange(count) + 0.5) / count * 2 - 1
    half = HALF_WIDTH * s * np.sqrt(1 - y**2)
    rows = np.stack(
        [centre[0] - half, centre[1] + HALF_LENGTH * s * y, centre[0] + half, centre[1] + HALF_LENGTH * s * y], 1
    )
    axis = np.array([[centre[0], centre[1] - HALF_LENGTH * s, centre[0], centre[1] + HALF_LENGTH * s]])
    return np.concatenate([axis, rows])


class DrawnPipeline:
    """The interface of KDMPipeline with knowledge of drawn clips instead of weights."""

    bundle_name, licence, size = "drawn", "MIT", 112

    def __init__(self) -> None:
        self.components = {"segmenter": torch.nn.Linear(2, 2)}
        with torch.no_grad():
            self.components["segmenter"].weight.fill_(0.5)
            self.components["segmenter"].bias.fill_(0.25)
        self.calls: list[Drawing] = []  # of each clip, which may take several
        self.valve_openings: list[torch.Tensor] = []  # of each call
        self.confidence: torch.Tensor | None = None  # (T,), of whatever clip it sees

    def segment(
        self, frames: torch.Tensor, sector, fps: float, made: bool = False, any_view: bool = False
    ) -> Ventricle:
        inside = np.asarray(sector).astype(bool)
        deep = ndimage.binary_erosion(inside, iterations=6)
        masks = []
        for (frame,) in (picture.numpy() for picture in frames):
            labels, count = ndimage.label((ndimage.gaussian_filter(frame, 1.0) < 0.16) & deep)
            sizes = np.bincount(labels.ravel())[1:] if count else np.array([0])
            masks.append(labels == 1 + int(sizes.argmax()) if sizes.max() > 60 else np.zeros_like(inside))
        if not np.any(masks):
            raise GeometryError("No left ventricle was found with any certainty. Pass its outline with --keypoints.")
        return Ventricle(torch.from_numpy(np.array(masks)), self.confidence)

    def right_heart(self, frames: torch.Tensor, sector) -> torch.Tensor:
        return torch.zeros(len(frames), *frames.shape[2:], dtype=torch.bool)

    def __call__(
        self, source, source_keypoints, target_keypoints, sector, drawing=Drawing(), valve_opening=None, chunk=8
    ):
        self.valve_openings.append(valve_opening)
        if self.calls[-1:] != [drawing]:
            self.calls.append(drawing)
        start = source_keypoints.reshape(-1, 40, 2).expand(len(target_keypoints), -1, -1).float()
        flow = spread_motion(start, target_keypoints.float(), 112, 112) * drawing.gamma
        warped = warp(source.expand(len(flow), -1, -1, -1), flow) * torch.as_tensor(np.asarray(sector))
        return SimpleNamespace(frames=warped.clamp(0, 1), flow=flow, warped=warped)


@pytest.fixture
def heart() -> SimpleNamespace:
    """What is known of the drawn heart."""
    return SimpleNamespace(
        centre=CENTRE, frames=FRAMES, half_width=HALF_WIDTH, half_length=HALF_LENGTH, fps=FPS, ellipse=ellipse
    )


@pytest.fixture
def drawn_clip() -> Clip:
    return draw_clip()


@pytest.fixture
def still_clip() -> Clip:
    return draw_clip(frames=1)


@pytest.fixture
def empty_clip() -> Clip:
    return draw_clip(ventricle=False)


@pytest.fixture
def pipeline() -> DrawnPipeline:
    return DrawnPipeline()


@pytest.fixture
def as_every_bundle(monkeypatch: pytest.MonkeyPatch) -> Callable[[DrawnPipeline], None]:
    """Puts a pipeline in place of what any bundle's name or folder would load."""
    # All of them imported first: one that came later would take the one put in place for its own, and keep it.
    modules = [
        import_module(f"echokdm.{name}")
        for name in (
            "echo.bundle",
            "echo.derive",
            "echo.synthesis",
            "cohort.make",
            "cohort.audit.run",
            "evaluation.run",
        )
    ]

    def put(pipeline: DrawnPipeline) -> None:
        for module in modules:
            monkeypatch.setattr(module, "load_pipeline", lambda *_, **__: pipeline)

    return put
