"""What a run has done so far, file by file, so that one that was stopped goes on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from echokdm import __version__
from echokdm.deid.identity import Pseudonyms
from echokdm.deid.reasons import Reason
from echokdm.io.atomic import atomic_file

# What another run may decide otherwise: on a machine less busy, with other limits, another decoder or other
# permissions.
_PASSING = (Reason.TOO_SLOW, Reason.CRASHED, Reason.TOO_LARGE, Reason.NO_DECODER, Reason.UNREADABLE, Reason.NOT_GIVEN)


class Journal:
    """Outcomes in a folder, under names that tell nothing of the inputs: keyed hashes of settings and of what an input
    is known by.

    Beside each outcome lies what the file became, NAME.dcm and NAME.npz. An outcome whose files are not whole is
    forgotten.
    """

    def __init__(self, folder: Path, salt: bytes, shift_dates: bool) -> None:
        self.folder = folder
        self._pseudonyms = Pseudonyms(salt)
        self._settings = self._pseudonyms.token("settings", repr((__version__, shift_dates)))

    def target(self, key: object) -> Path:
        """Where the de-identified form of an input belongs. key: what tells it from all others, by its `repr`."""
        return self.folder / f"{self._settings}-{self._pseudonyms.token('input', repr(key))}.dcm"

    def kept(self) -> list[Path]:
        """The targets of all outcomes noted under the same salt and settings, in an order that tells nothing."""
        return sorted(path.with_suffix(".dcm") for path in self.folder.glob(f"{self._settings}-*.json"))

    def recall(self, target: Path) -> dict[str, Any] | Reason | None:
        """The facts of a file put out, the reason of one refused, or None where it has to be read."""
        try:
            outcome = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
            if "refused" in outcome:
                return Reason[outcome["refused"]]
            whole = outcome["digests"] == _digests(target)
        except (OSError, ValueError, KeyError):
            return None
        return dict(outcome["done"]) if whole else None

    def keep(self, target: Path, outcome: dict[str, Any] | Reason) -> None:
        """Note an outcome. Raises OutputError where the disk is full."""
        if outcome in _PASSING:
            return
        told = (
            {"refused": outcome.name} if isinstance(outcome, Reason) else {"done": outcome, "digests": _digests(target)}
        )
        with atomic_file(target.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps(told), encoding="utf-8")


def _digests(target: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (target, target.with_suffix(".npz"))]
