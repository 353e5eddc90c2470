"""The page in a real browser: what a user does with mouse and keys, and what becomes of it. Pictures of it lie in the
test's folder."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra echokdm[test], is not installed")
BROWSER = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which Debian's package chromium holds")
POINT, EF = 10, 41.6  # the drawn heart's, as the drawn pipeline measures it
LONG_MS = 60_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, without a window; one for all tests."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page are kept."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture
def page(chromium: Any, served: Any) -> Iterator[Any]:
    """A tab with the drawn heart, made whole; in the end nothing was asked of another place, and nothing failed."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    tab = context.new_page()
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on(
        "console", lambda said: faults.append(said.text) if said.type == "error" and "422" not in said.text else None
    )
    tab.on(
        "request",
        lambda asked: (
            faults.append(asked.url)
            if not asked.url.startswith((f"http://127.0.0.1:{served.port}/", "data:", "blob:"))
            else None
        ),
    )
    tab.goto(served.address)
    whole(tab)
    yield tab
    name = tab.evaluate("sessionStorage.getItem('session')")
    context.close()
    served.ask(f"/sessions/{name}", "DELETE")
    assert not faults


def whole(tab: Any) -> float:
    """Wait until the result is made and measured; its ejection fraction."""
    sync_api.expect(tab.locator("#work")).not_to_have_attribute("aria-busy", "true", timeout=LONG_MS)
    measured = tab.locator("#ef-measured")
    sync_api.expect(measured).to_contain_text("%", timeout=LONG_MS)
    return float(measured.inner_text().split()[0])


def state(tab: Any) -> dict[str, Any]:
    """What the server tells the tab."""
    found: dict[str, Any] = tab.evaluate(
        "fetch(`sessions/${sessionStorage.getItem('session')}`).then((answer) => answer.json())"
    )
    return found


def on_screen(tab: Any, picture: str, point: list[float]) -> tuple[float, float]:
    """Where a place (x, y) px of the clip is on the screen, by the page's geometry: the sector's box fitted into the
    canvas."""
    left, top, width, height = state(tab)["clip"]["box"]
    frame = tab.locator(f"#{picture}").bounding_box()
    scale = min(frame["width"] / width, frame["height"] / height)
    return (
        frame["x"] + (frame["width"] - scale * width) / 2 + scale * (point[0] + 0.5 - left),
        frame["y"] + (frame["height"] - scale * height) / 2 + scale * (point[1] + 0.5 - top),
    )


def drag(tab: Any, picture: str, point: int, by: tuple[float, float], shot: Path | None = None) -> None:
    """Pull a key-point of the frame that is shown by pixels of the clip."""
    told = state(tab)
    x, y = told["outlines"][picture][int(tab.locator("#time").input_value())][point]
    tab.mouse.move(*on_screen(tab, picture, [x, y]))
    tab.mouse.down()
    for share in (0.3, 0.7, 1.0):
        tab.mouse.move(*on_screen(tab, picture, [x + share * by[0], y + share * by[1]]))
    if shot is not None:
        sync_api.expect(tab.locator("#quality")).to_have_text("preview")
        tab.wait_for_timeout(300)
        tab.screenshot(path=shot)
    with tab.expect_response("**/changes"):
        tab.mouse.up()


def slide(tab: Any, name: str, value: float) -> None:
    """Move a slider and let it go."""
    slider = tab.locator(f"#wish-{name}")
    slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value)
    with tab.expect_response("**/changes"):
        slider.dispatch_event("change")


def downloaded(tab: Any, button: str) -> bytes:
    with tab.expect_download() as download:
        tab.click(button)
    return Path(download.value.path()).read_bytes()


def points_of(text: str) -> np.ndarray:
    """Key-points (T, 40, 2) of a keypoints.csv."""
    rows = list(csv.DictReader(io.StringIO(text)))
    frames: list[list[list[float]]] = [[] for _ in range(1 + max(int(row["Frame"]) for row in rows))]
    for row in rows:
        frames[int(row["Frame"])].append([float(row[name]) for name in ("X1", "Y1", "X2", "Y2")])
    chords = np.array(frames)[:, 1:]
    return np.concatenate([chords[:, :, :2], chords[:, ::-1, 2:]], 1)


def test_a_clip_opens_and_plays_beside_its_result(page: Any, shots: Path) -> None:
    sync_api.expect(page.locator("#quality")).to_have_text("made")
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "open.png")
    assert abs(whole(page) - EF) < 3
    assert page.locator("#export").is_enabled() and not page.locator("#undo").is_enabled()
    lit = page.evaluate("""() => ['source', 'result', 'volume', 'strain', 'm-source', 'm-result'].map((id) => {
        const canvas = document.getElementById(id);
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return data.some((value, i) => i % 4 < 3 && value > 60); })""")
    assert lit == [True] * 6
    at = page.locator("#time").input_value()
    page.click("#play")
    page.wait_for_timeout(400)
    page.click("#play")
    assert page.locator("#time").input_value() != at


def test_a_point_pulled_by_ten_pixels_is_so_in_the_export(page: Any, shots: Path) -> None:
    before = np.array(state(page)["outlines"]["result"])
    drag(page, "result", POINT, (-10, 0), shots / "drag.png")
    whole(page)
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "dragged.png")
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "#export"))) as archive:
        assert {"synth/report.html", "synth/synth.dcm", "synth/synth.mp4", "synth/run.json"} <= set(archive.namelist())
        moved = points_of(archive.read("synth/keypoints.csv").decode()) - before
        record = json.loads(archive.read("synth/run.json"))
    assert np.allclose(moved[:, POINT], [-10, 0], atol=0.5)
    assert np.abs(moved[:, POINT + 20]).max() < 0.1
    assert record["options"]["drag"][str(POINT)] == pytest.approx([-10, 0], abs=0.5)
    assert record["command"] == page.locator("#command").input_value()
    page.click("#undo")
    whole(page)
    assert np.allclose(state(page)["outlines"]["result"], before)


def test_an_outline_put_right_is_saved(page: Any, shots: Path) -> None:
    page.click("#to-ed")
    before = np.array(state(page)["outlines"]["source"])
    drag(page, "source", POINT, (-5, 0))
    whole(page)
    page.click("#to-es")
    drag(page, "source", POINT + 19, (3, 0))
    whole(page)
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "corrected.png")
    told = state(page)
    assert told["corrected"] == sorted([told["ed"], told["es"]])
    saved = points_of(downloaded(page, "#outlines").decode())
    assert np.allclose(saved[told["ed"], POINT] - before[told["ed"], POINT], [-5, 0], atol=0.5)
    assert np.allclose(saved[told["es"], POINT + 19] - before[told["es"], POINT + 19], [3, 0], atol=0.5)
    page.click("#clear-outlines")
    sync_api.expect(page.locator("#clear-outlines")).to_be_disabled()
    assert np.allclose(state(page)["outlines"]["source"], before)


def test_the_slider_asks_and_the_result_is_measured(page: Any, shots: Path) -> None:
    slider = page.locator("#wish-ef")
    slider.evaluate("(slider) => { slider.value = 30; slider.dispatchEvent(new Event('input')); }")
    sync_api.expect(page.locator("#ef-asked")).to_have_text("30 %")  # while it moves: nothing is made of it yet
    sync_api.expect(page.locator("#undo")).to_be_disabled()
    slide(page, "ef", 30)
    assert abs(whole(page) - 30) < 5
    page.check("#line")
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "ef.png")
    assert "--ef 30" in page.locator("#command").input_value()
    page.keyboard.press("Control+z")
    sync_api.expect(page.locator("#redo")).to_be_enabled()
    assert "--ef" not in page.locator("#command").input_value() and abs(whole(page) - EF) < 3
    page.keyboard.press("Control+Shift+Z")
    sync_api.expect(page.locator("#redo")).to_be_disabled()
    assert state(page)["edit"]["ef"] == 30


def test_a_reload_loses_nothing_and_another_tab_is_another_session(page: Any, shots: Path, served: Any) -> None:
    slide(page, "ef", 45)
    slide(page, "mid-septal", 0.5)
    name = page.evaluate("sessionStorage.getItem('session')")
    other = page.context.new_page()
    other.goto(f"http://127.0.0.1:{served.port}/")
    whole(other)
    assert state(other)["edit"]["ef"] is None
    slide(other, "ef", 25)
    twin = page.context.new_page()  # duplicated: it has the memory of the tab that it comes from
    twin.add_init_script(f"sessionStorage.getItem('session') ?? sessionStorage.setItem('session', '{name}')")
    twin.goto(f"http://127.0.0.1:{served.port}/")
    whole(twin)
    assert twin.evaluate("sessionStorage.getItem('session')") != name and state(twin)["edit"]["ef"] is None
    page.reload()
    whole(page)
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "reload.png")
    assert page.evaluate("sessionStorage.getItem('session')") == name
    edit = state(page)["edit"]
    assert edit["ef"] == 45 and edit["walls"] == {"mid-septal": 0.5} and page.locator("#wish-ef").input_value() == "45"
    page.click("#undo")
    sync_api.expect(page.locator("#redo")).to_be_enabled()
    assert state(page)["edit"]["walls"] == {}


def test_a_slider_stays_in_the_hand_while_an_earlier_change_comes_back(page: Any) -> None:
    slider = page.locator("#wish-mid-septal")
    slider.evaluate("slider => { slider.value = 0.5; slider.dispatchEvent(new Event('input')); }")
    slide(page, "ef", 45)
    sync_api.expect(page.locator("#wish-ef")).to_have_value("45")
    page.wait_for_timeout(300)
    assert slider.input_value() == "0.5"
    with page.expect_response("**/changes"):
        slider.dispatch_event("change")
    edit = state(page)["edit"]
    assert edit["ef"] == 45 and edit["walls"] == {"mid-septal": 0.5}


def test_keys_move_the_chosen_point(page: Any) -> None:
    before = np.array(state(page)["outlines"]["result"])[0]
    page.locator("#result").focus()
    outlined = page.locator("#result").evaluate("(canvas) => getComputedStyle(canvas).outlineStyle")
    for key in ("]", "]", "ArrowLeft", "ArrowLeft", "Shift+ArrowUp"):
        page.keyboard.press(key)
    with page.expect_response("**/changes"):
        pass
    assert outlined == "solid"
    moved = np.array(state(page)["outlines"]["result"])[0] - before
    assert np.allclose(moved[2], [-2, -5], atol=0.1)
    assert state(page)["undo"] == 1  # one step of several keys
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea, canvas')].filter((control) =>
        !control.textContent.trim() && !control.labels?.length && !control.ariaLabel).map((control) => control.id)""")
    assert unnamed == []


def test_what_can_not_be_is_said_and_undone(page: Any) -> None:
    before = state(page)["outlines"]["result"]
    drag(page, "result", POINT, (60, 0))
    sync_api.expect(page.locator("#message")).to_contain_text("cross itself")
    assert state(page)["outlines"]["result"] == before


def test_another_clip_is_opened_in_the_place_of_the_first(page: Any, clip_file: Path, served: Any) -> None:
    slide(page, "ef", 30)
    page.set_input_files("#open", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no clip"})
    sync_api.expect(page.locator("#message")).to_contain_text("not a clip")
    assert state(page)["edit"]["ef"] == 30  # what was open stays
    name = page.evaluate("sessionStorage.getItem('session')")
    page.set_input_files("#open", clip_file)
    sync_api.expect(page.locator("#undo")).to_be_disabled(timeout=LONG_MS)
    assert abs(whole(page) - EF) < 3
    assert page.evaluate("sessionStorage.getItem('session')") != name
    assert served.ask(f"/sessions/{name}").status == 404


def test_it_is_whole_on_a_tablet(page: Any, shots: Path) -> None:
    for width, height, name in ((1024, 768, "tablet"), (820, 1180, "tablet-upright")):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        page.screenshot(path=shots / f"{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#result").bounding_box()["width"] > 0.45 * width


def test_stop_ends_the_server(chromium: Any, start: Callable[[], Any]) -> None:
    served = start()
    tab = chromium.new_page()
    tab.goto(served.address)
    whole(tab)
    tab.click("#stop")
    sync_api.expect(tab.locator("body")).to_contain_text("The studio has ended")
    served.thread.join(30)
    assert not served.thread.is_alive()
    tab.close()
