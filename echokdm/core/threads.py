"""How torch's threads wait and how many there are: said to OpenMP by the environment, which it reads once, when torch
is loaded.

Threads that wait by spinning, OpenMP's own choice, take the processor from the very thread they wait for where another
process is busy beside them. torch counts the processors that this process may run on, and not the share of their time
that a control group leaves it.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

COUNT, WAIT = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"


def arrange() -> None:
    """Waiting without spinning, and no more threads than a control group's quota feeds; what the user has set stands.

    Does nothing where torch is loaded. Processes that are started from this one take it over.
    """
    if "torch" in sys.modules:
        return
    os.environ.setdefault(WAIT, "PASSIVE")
    share = _bound()
    if share is not None:
        os.environ.setdefault(COUNT, str(threads_of(share)))


def source() -> str:
    """What torch's number of threads comes from, in words."""
    share, given = _bound(), os.environ.get(COUNT)
    if given and (share is None or given != str(threads_of(share))):
        return f"as {COUNT} says"
    if share is not None:
        return f"the control group's quota is {share:g} of {processors()} processors"
    return f"of {processors()} processors that this process may use"


def _bound() -> float | None:
    """The control groups' quota where it leaves less than the processors, else None: torch's own count is no greater
    then."""
    share = quota()
    return share if share is not None and share < processors() else None


def processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of(share: float) -> int:
    """Whole threads that a share of processors feeds, one at least."""
    return max(int(share), 1)


def quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Processors' worth of time that the control groups leave this process, None where they set no bound.

    own: its lines are id:controllers:path (cgroups(7)). A group is bound by its parents too. In a container the path
    may be the host's, which is not there: the group that is mounted at the top is the container's own.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return None
    shares = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            read, root = _second, groups
        elif "cpu" in controllers.split(","):
            read, root = (
                _first,
                next((groups / name for name in (controllers, "cpu") if (groups / name).is_dir()), groups),
            )
        else:
            continue
        shares += [share for folder in _upwards(root, path) if (share := read(folder)) is not None]
    return min(shares, default=None)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """A group's folder, and those of its parents up to the top."""
    inner = Path(path.strip("/"))
    yield from (root / part for part in (inner, *inner.parents))


def _second(folder: Path) -> float | None:
    """Of version 2: "max 100000", or microseconds in each period."""
    try:
        most, period = (folder / "cpu.max").read_text().split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return None


def _first(folder: Path) -> float | None:
    """Of version 1: microseconds in each period, -1 without a bound."""
    try:
        most, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return most / period if most > 0 else None
