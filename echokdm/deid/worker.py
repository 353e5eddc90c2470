"""The process that reads what comes from outside: `python -m echokdm.deid.worker`, JSON lines in and out.

A decoder that a damaged file crashes, hangs or bloats takes this process with it and not the run. Libraries may say on
its standard streams what they like, header values among it: they lead nowhere.
"""

import json
import logging
import os
import sys
import threading
import warnings
from pathlib import Path
from queue import SimpleQueue
from typing import Any


def _limit_memory(most: int) -> None:
    """Bytes that this process may take; not enforced on systems without such limits."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's file


def _listen(requests: SimpleQueue[str]) -> None:
    """Lines of standard input into the queue; at its end, which is the run's too, this process ends at once, whatever
    it is reading."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def main() -> None:
    """After one line of settings, answer each line {"source", "target"} with {"done": facts}, {"refused": reason} or
    {"output": error}."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    import torch

    from echokdm.core.errors import OutputError
    from echokdm.deid.identity import Pseudonyms
    from echokdm.deid.one_file import deidentify_file
    from echokdm.deid.reasons import Reason, Refusal

    torch.set_num_threads(1)
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    settings = json.loads(requests.get())
    _limit_memory(settings["memory"])
    pseudonyms = Pseudonyms(bytes.fromhex(settings["salt"]))

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    answer({"ready": True})
    while True:
        request = json.loads(requests.get())
        source, target = Path(request["source"]), Path(request["target"])
        try:
            answer({"done": deidentify_file(source, target, pseudonyms, settings["shift_dates"])})
        except OutputError as error:
            answer({"output": str(error)})
        except Refusal as refusal:
            answer({"refused": refusal.reason.name})
        except MemoryError:
            answer({"refused": Reason.TOO_LARGE.name})
        except Exception:  # fails closed: whatever it was, the file is refused, and its text may quote the header
            answer({"refused": Reason.UNEXPECTED.name})


if __name__ == "__main__":
    main()
