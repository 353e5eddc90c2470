"""What the command line says of faults: one sentence; with --debug where, and never what was read."""

import logging
import warnings

import numpy as np
import typer
from typer.testing import CliRunner

from echokdm.cli.app import app
from echokdm.cli.refusals import OneSentence

SECRET = "KOWALSKI"


def test_debug_tells_where_and_not_what(tmp_path):
    (tmp_path / SECRET).mkdir()
    path = tmp_path / SECRET / f"{SECRET}.npz"
    np.savez(path, frames=np.zeros((4, 16, 16), np.uint8))
    path.write_bytes(path.read_bytes()[:200])
    plain = CliRunner().invoke(app, ["keypoints", str(path), "--out", str(tmp_path / "out")])
    told = CliRunner().invoke(app, ["--debug", "keypoints", str(path), "--out", str(tmp_path / "out")])
    for done in (plain, told):
        assert done.exit_code == 2 and "Error: This clip is truncated or damaged" in done.output
        assert SECRET not in done.output and "Traceback" not in done.output and str(tmp_path) not in done.output
    assert "raised at" not in plain.output
    assert "BadZipFile, raised at" in told.output and "echokdm/io/npz.py:" in told.output


def test_a_fault_of_its_own_is_one_sentence_without_its_text():
    broken = typer.Typer(cls=OneSentence, pretty_exceptions_enable=False)

    @broken.callback()
    def root(debug: bool = False) -> None:
        pass

    @broken.command()
    def work() -> None:
        raise KeyError(SECRET)

    @broken.command()
    def noise() -> None:
        logging.getLogger("library").error(SECRET)
        warnings.warn(SECRET, stacklevel=1)

    said = CliRunner().invoke(broken, ["noise"])
    assert said.exit_code == 0 and not said.output and logging.root.manager.disable == 0
    for arguments in (["work"], ["--debug", "work"]):
        done = CliRunner().invoke(broken, arguments)
        assert done.exit_code == 1 and "KeyError" in done.output and "test_refusals.py" in done.output
        assert SECRET not in done.output and "Traceback" not in done.output
    assert CliRunner().invoke(broken, ["nothing"]).exit_code == 2
