"""Bars at the width of a terminal: counts and the time that is left are never cut."""

import io
import re

import pytest
from rich.console import Console

from echokdm.cli.shared import counted
from echokdm.cohort.workers import serial
from echokdm.core.progress import progress_bar, track


@pytest.mark.parametrize(("label", "figures"), [("echonet-dynamic, outlined frames", False), ("image_codec", True)])
def test_a_line_of_80_columns_holds_counts_and_both_times(label: str, figures: bool) -> None:
    bar = progress_bar(figures=figures)
    bar.add_task(label, total=12_000, completed=250, figures="loss 0.1174 perceptual 0.01301 squared 0.003759")
    shown = io.StringIO()
    Console(file=shown, width=80).print(bar.get_renderable())
    lines = shown.getvalue().splitlines()
    assert len(lines) == 1 and "250/12000" in lines[0]
    assert len(re.findall(r"\d:\d\d:\d\d|-:--:--", lines[0])) == 2
    assert ("loss" in lines[0]) == figures


def test_items_pass_through_in_order_and_the_screen_s_output_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


def test_an_engine_is_counted_by_what_its_items_give(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = []
    monkeypatch.setattr(
        "echokdm.core.progress.track", lambda items, label, total: totals.append((label, total)) or items
    )
    engine = counted(serial, "making clips", len)
    assert list(engine(lambda device: list, ["ab", "cde"])) == list("abcde") and totals == [("making clips", 5)]
