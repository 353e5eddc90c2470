"""Where independent work is done: in this process, or by workers of Ray Data on one machine or a cluster.

An engine is called with `build` and `items`: each worker calls `build(device)` once for what it works with (weights,
say, which it takes to that device), then that on one item after another; what comes out is yielded as it is ready.
Results must not depend on the worker or the order.
"""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from echokdm.core import defaults
from echokdm.core.errors import ConfigError, EchoKDMError
from echokdm.core.stopping import own_handlers
from echokdm.core.threads import COUNT

Worker = Callable[[Any], Iterable[Any]]
Build = Callable[[str], Worker]
Engine = Callable[[Build, Sequence[Any]], Iterator[Any]]

STORE = 512 << 20  # bytes of shared memory for what workers are handed; sources go as paths, so it is little
RETRIES = 3  # of an item whose worker died; one that kills every worker must not keep them busy for ever


class WorkerError(EchoKDMError):
    """The workers of a cluster are lost."""


def serial(build: Build, items: Sequence[Any]) -> Iterator[Any]:
    """The engine that works here, in the order of the items, with networks where they are."""
    worker = build("cpu")
    for item in items:
        yield from worker(item)


@contextmanager
def ray_engine(workers: int | None = None, device: str = defaults.DEVICE) -> Iterator[Engine]:
    """An engine of `workers` Ray actors with one thread each; default: one a core, or one a GPU with `device` "cuda".

    Ray is started on this machine and stopped at the end, except where RAY_ADDRESS names a cluster or the program has
    started Ray already. A worker that dies is started again, and its item done again, three times at most. The engine
    raises what a worker raised where that is an EchoKDMError, and WorkerError where the cluster goes or an item ends
    every worker. Raises ConfigError where Ray is not installed, or no cluster is there.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"A cohort takes 1 or more workers, not {workers}.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "The engine ray needs Ray Data, which is not installed: pip install 'echokdm[cluster]'."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it has a console and a file of its own
    begun = not ray.is_initialized()
    if begun:
        _start(workers)
    try:
        yield lambda build, items: _spread(build, items, workers, device)
    finally:
        if begun:
            ray.shutdown()


def _start(workers: int | None) -> None:
    import ray

    os.environ.setdefault("RAY_worker_niceness", "0")  # else Ray puts its workers behind everything else on the machine
    address = os.environ.get("RAY_ADDRESS")
    here = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE}
    try:
        host, _, port = (address or "").rpartition(":")
        if port.isdecimal() and "/" not in host:
            socket.create_connection((host, int(port)), 10).close()  # Ray itself would try for minutes
        with own_handlers():  # Ray would end the process its own way
            ray.init(
                address=address or "local", logging_level="critical", log_to_driver=False, **({} if address else here)
            )
    except OSError as error:
        if not address:
            raise
        raise ConfigError(
            "No Ray cluster answers at RAY_ADDRESS, or it wants a token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH): start "
            "one with `ray start --head`, or unset RAY_ADDRESS to work on this machine alone."
        ) from error


def _spread(build: Build, items: Sequence[Any], workers: int | None, device: str) -> Iterator[Any]:
    """Items through a pool of actors, one in flight each; Ray Data holds back what they can't take yet."""
    import ray
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext

    if not items:
        return
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    # Pickled as Ray pickles all that goes between its own processes; nothing that was read from a file is unpickled. As
    # bytes: of anything else Ray Data guesses a type for its tables, and logs the values, a clip's path, that have
    # none.
    rows = ray.data.from_items([{"item": cloudpickle.dumps(item)} for item in items], override_num_blocks=len(items))
    resource = "GPU" if device.startswith("cuda") else "CPU"
    there = int(ray.cluster_resources().get(resource, 0))
    if not there:
        raise ConfigError(f"The workers would wait for ever: no machine of Ray has a {resource}; use another --device.")
    with warnings.catch_warnings(action="ignore"):  # Ray has no other way yet to say how often
        done = rows.flat_map(
            _Actor,
            fn_constructor_args=(ray.put(build), device),
            num_cpus=1,
            num_gpus=int(resource == "GPU"),
            compute=ActorPoolStrategy(size=min(workers or there, len(items)), max_tasks_in_flight_per_actor=1),
            max_task_retries=RETRIES,
        )
    fault = None
    try:
        for row in done.iter_rows():
            result, refused = cloudpickle.loads(row["out"])
            if refused is None:
                yield result
            fault = fault or refused
    except ray.exceptions.RayTaskError:
        raise  # a fault of the program
    except ray.exceptions.RayError as error:
        raise WorkerError(
            "The workers are lost, with a machine or to one clip that ended each that took it; what is finished is kept, and "
            "the same command goes on from there."
        ) from error
    if fault is not None:
        raise fault


class _Actor:
    """One worker.

    An EchoKDMError goes back as a result, since Ray would keep and print a traceback. From then on the worker refuses
    every item, so that the queue is empty at once while the others finish what they have begun.
    """

    def __init__(self, build: Any, device: str) -> None:
        import ray

        os.environ[COUNT] = "1"  # torch reads it when it is loaded, which may be never
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        self.fault: EchoKDMError | None = None
        try:
            self.worker = ray.get(build)(device)
        except EchoKDMError as error:
            self.fault = type(error)(str(error))

    def __call__(self, row: dict[str, Any]) -> list[dict[str, bytes]]:
        from ray import cloudpickle

        results: list[tuple[Any, EchoKDMError | None]] = []
        if self.fault is None:
            try:
                results = [(result, None) for result in self.worker(cloudpickle.loads(row["item"]))]
            except EchoKDMError as error:
                self.fault = type(error)(str(error))  # without what it came from
        if self.fault is not None:
            results = [(None, self.fault)]
        return [{"out": cloudpickle.dumps(result)} for result in results]
