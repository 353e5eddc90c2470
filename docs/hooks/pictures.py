"""The pictures of README and concepts, of simulated hearts alone.

    python docs/hooks/pictures.py

draws them anew into docs/pictures, in about a minute of one CPU core. The studio's takes playwright, of the extra
`test`, and Chromium.
"""

import io
import queue
import shutil
import threading
from collections.abc import Sequence

import numpy as np
import torch
from links import ROOT
from PIL import Image, ImageDraw

import echokdm
from echokdm.ops.warp import warp
from echokdm.phantom.a4c import A4CPhantom
from echokdm.report import figures
from echokdm.report.charts import volume_chart

FOLDER = ROOT / "docs" / "pictures"
SEED = 1_000_013  # of a simulated patient whom no training has seen
SIDE = 224  # px of a tile


def row(tiles: Sequence[tuple[str, Image.Image]], side: int = SIDE) -> Image.Image:
    """Pictures beside one another, each under its name."""
    head, gap = 22, 6
    canvas = Image.new("RGB", (len(tiles) * (side + gap) - gap, side + head), figures.PAPER)
    for k, (name, picture) in enumerate(tiles):
        canvas.paste(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (k * (side + gap), head))
        ImageDraw.Draw(canvas).text(
            (k * (side + gap) + side / 2, head / 2), name, fill=figures.INK, font_size=13, anchor="mm"
        )
    return canvas


def save(name: str, picture: Image.Image) -> None:
    picture.save(FOLDER / f"{name}.webp", "WEBP", quality=72, method=6)


def flow_and_keypoints() -> None:
    """flow: end-diastole, end-systole, the exact flow between them, and what it fetches. keypoints: the 40 with their
    numbers."""
    heart = A4CPhantom([SEED])
    ed, es = torch.zeros(1), heart.end_systole
    frames, points = heart.frames(torch.stack([ed, es], 1))[0], heart.keypoints(torch.stack([ed, es], 1))[0].numpy()
    flow = heart.flow(es, ed)
    reach = float(flow.square().sum(1).sqrt().max())
    save(
        "flow",
        row(
            [
                ("source: end-diastole", figures.to_image(frames[0], 2)),
                ("target: end-systole", figures.to_image(frames[1], 2)),
                ("flow", figures.flow_picture(flow[0], reach, 2, heart.sector[0])),
                ("the source, warped by it", figures.to_image(warp(frames[:1], flow)[0], 2)),
            ]
        ),
    )
    (left, top), side = np.maximum(points.min((0, 1)) - 10, 0).astype(int), int(np.ptp(points, (0, 1)).max()) + 20
    near = frames[:, :, top : top + side, left : left + side]
    save(
        "keypoints",
        row(
            [
                (name, figures.overlay(near[k], points[k] - (left, top), 8, every=5))
                for k, name in enumerate(("end-diastole", "end-systole"))
            ],
            side=320,
        ),
    )


def twins() -> None:
    """The same heart twice with another ejection fraction, at end-systole, and the flow from one to the other."""
    strong, weak = A4CPhantom([SEED], ejection_fraction=[65.0]), A4CPhantom([SEED], ejection_fraction=[30.0])
    phase = strong.end_systole
    flow = weak.flow(phase, phase, strong)
    reach = float(flow.square().sum(1).sqrt().max())
    save(
        "twins",
        row(
            [
                ("ejects 65 %", figures.to_image(strong.frames(phase[:, None])[0, 0], 2)),
                ("its twin, 30 %", figures.to_image(weak.frames(phase[:, None])[0, 0], 2)),
                ("flow, same phase", figures.flow_picture(flow[0], reach, 2, strong.sector[0])),
            ]
        ),
    )


def edits() -> None:
    """edit: a clip asked for another ejection fraction, at its own size. wish: volumes. kdm: one frame moved by each
    network in turn."""
    pipeline = echokdm.KDMPipeline.from_pretrained("a4c")
    clip = A4CPhantom([SEED], size=SIDE).clip(20.0)[0]
    source = echokdm.derive_keypoints(clip, bundle=pipeline)
    result = echokdm.synthesize(source, echokdm.Wish(ef=40), bundle=pipeline)
    es = result.trajectory.es
    before, after = clip.frames[es], result.clip.frames[es]
    fractions = result.ejection_fractions()
    save(
        "edit",
        row(
            [
                (f"source, EF {fractions['source']:.0f} %: end-systole", figures.to_image(before)),
                (f"asked for {fractions['asked']:.0f} %: the same frame", figures.to_image(after)),
                (
                    "found, asked for",
                    figures.overlay(
                        before, source.keypoints_source[es], 2, dots=False, extra=[(result.keypoints[es], "#ffffff")]
                    ),
                ),
                (
                    "flow, in the model's frame",
                    figures.flow_picture(result.edited.flow[es], 6.0, 2, source.model.sector_mask),
                ),
            ]
        ),
    )
    times = np.arange(len(clip)) / clip.fps
    curves = [
        ("source", source.volumes, "#52606d", ":"),
        ("asked for", result.trajectory.asked, "#c2410c", "--"),
        ("drawn", result.drawn_volumes, "#1d6fb8", "-"),
        ("measured again", result.measured_volumes, "#15803d", "."),
    ]
    (FOLDER / "wish.svg").write_text(
        volume_chart(times, curves, result.unit, result.trajectory.beats), encoding="utf-8"
    )
    whole = echokdm.synthesize(source, echokdm.Wish(), echokdm.Sampling(from_frame=source.ed), bundle=pipeline)
    model = source.model.clip.frames
    save(
        "kdm",
        row(
            [
                ("source frame", figures.to_image(model[source.ed], 2)),
                ("K2F-net: flow", figures.flow_picture(whole.edited.flow[source.es], 8.0, 2, source.model.sector_mask)),
                ("warped by it", figures.to_image(whole.edited.warped[source.es], 2)),
                ("F2I-net: picture", figures.to_image(whole.edited.model.clip.frames[source.es], 2)),
                ("the true frame", figures.to_image(model[source.es], 2)),
            ]
        ),
    )


def studio() -> None:
    """The studio's page with a clip asked for another ejection fraction, as a browser shows it."""
    from playwright.sync_api import expect, sync_playwright

    from echokdm.studio.heart import Heart, Settings
    from echokdm.studio.serve import serve

    pipeline = echokdm.KDMPipeline.from_pretrained("a4c")
    clip = A4CPhantom([SEED], size=2 * SIDE).clip(20.0)[0]
    settings = Settings(pipeline)
    heart, told = Heart(echokdm.derive_keypoints(clip, bundle=pipeline), settings), queue.Queue[str]()
    threading.Thread(target=serve, args=(settings, heart, 0, told.put), daemon=True).start()
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).new_page(
            viewport={"width": 1280, "height": 800}
        )
        page.goto(told.get())
        page.locator("#work").wait_for(timeout=120_000)
        page.locator("#wish-ef").evaluate(
            "(slider) => { slider.value = 35; slider.dispatchEvent(new Event('change')); }"
        )
        expect(page.locator("#ef-asked")).to_have_text("35 %", timeout=120_000)
        expect(page.locator("#ef-measured")).to_contain_text("%", timeout=120_000)
        page.wait_for_timeout(1000)  # the M-modes
        save("studio", Image.open(io.BytesIO(page.screenshot())))
        page.click("#stop")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    flow_and_keypoints()
    twins()
    edits()
    studio()
