"""Charts as SVG: curves where their values say, M-modes whole, the same bytes twice."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from echokdm.report.charts import m_mode_chart, volume_chart

NAME = "{http://www.w3.org/2000/svg}"


def polyline(chart: str) -> np.ndarray:
    """(K, 2) px of the first."""
    found = ElementTree.fromstring(chart).find(f"{NAME}polyline")
    assert found is not None
    return np.array([[float(v) for v in pair.split(",")] for pair in found.attrib["points"].split()])


def numbers(chart: str) -> dict[str, tuple[float, float]]:
    """Where each number stands."""
    return {
        text.text: (float(text.attrib["x"]), float(text.attrib["y"]))
        for text in ElementTree.fromstring(chart).iter(f"{NAME}text")
        if text.text and re.fullmatch(r"[\d.]+", text.text)
    }


def test_a_curve_is_where_its_axes_say() -> None:
    times, values = np.array([0.0, 0.5, 1.0]), np.array([0.0, 100.0, np.nan])
    chart = volume_chart(times, [("a < b", values, "#123456", "--")], "mL", [(0, 1)])
    points, at = polyline(chart), numbers(chart)
    assert len(points) == 2  # what is not known is not drawn
    # A time's number stands below its place, a volume's beside it, a little lower than its middle.
    assert abs(points[0, 0] - at["0.2"][0] + 0.4 * (points[1, 0] - points[0, 0])) < 0.2
    assert (
        abs(points[1, 1] - (at["100"][1] - 4)) < 0.2
        and abs(points[0, 1] - (at["20"][1] - 4) - 0.2 * np.ptp(points[:, 1])) < 0.2
    )
    assert "a &lt; b" in chart and ">ED<" in chart and ">ES<" in chart and "(mL)" in chart
    assert chart == volume_chart(times, [("a < b", values, "#123456", "--")], "mL", [(0, 1)])


def test_one_frame_and_nothing_known_are_drawn() -> None:
    for values in (np.array([50.0]), np.array([np.nan]), np.array([0.0])):
        ElementTree.fromstring(volume_chart(np.zeros(1), [("still", values, "#000", ".-")], "px^3"))


def test_the_m_modes_are_whole() -> None:
    rows = [
        ("source", np.linspace(0, 0.5, 600, dtype=np.float32).reshape(20, 30)),
        ("synthetic", np.zeros((20, 30), np.float32)),
    ]
    chart = m_mode_chart(rows, 10.0, 55.0, Image.new("RGB", (40, 30)))
    images = [image.attrib["href"].partition(",")[2] for image in ElementTree.fromstring(chart).iter(f"{NAME}image")]
    _, source, made = (np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))) for image in images)
    assert source.shape == made.shape == (20, 30) and source.max() == 255 and not made.any()
    assert "source (mm)" in chart and "3" in numbers(chart) and "50" in numbers(chart)
