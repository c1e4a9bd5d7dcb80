"""Tasks on a Ray cluster; the sweep's folder has to be one that all nodes share.

A session saves itself into the shared folder after every event. Ray gives the task of a worker or a
node that died to another one, which goes on from there.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from qlrjax import settings as settings_file
from qlrjax.lab import learned
from qlrjax.lab.pool import News
from qlrjax.lab.sweep import Runner
from qlrjax.lab.sweepfile import Task
from qlrjax.runs import interrupt, runfolder

_TICK_SECONDS = 1.0
_BUSY_SECONDS = 180.0  # until a lost node's worker has let go of its folder
_WAITING = 2  # tasks that are handed to Ray for each that can run
_held: list[filelock.BaseFileLock] = []


def runner(address: str, cpus: int = 2, retries: int = 3) -> Runner:
    """Runs tasks on a cluster.

    Args:
        address: Of its head, such as 127.0.0.1:6379; "local" starts one on this machine.
        cpus: Processors of a task.
        retries: How often a task is tried again whose worker or node died.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        import ray  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "--ray needs Ray, which is not installed; install it with: pip install 'qlrjax[ray]'"
        ) from error

    def run(tasks: Sequence[Task], folder: Path, stop: interrupt.Stop) -> Iterator[News]:
        return _run(tasks, folder.absolute(), stop, (address, cpus, retries))

    return run


def _run(
    tasks: Sequence[Task], folder: Path, stop: interrupt.Stop, where: tuple[str, int, int]
) -> Iterator[News]:
    import ray  # pyright: ignore[reportMissingImports]

    address, cpus, retries = where
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(f"there is no Ray cluster at {address!r}: {error}") from error
    try:
        least = min(cpus, int(max(node["Resources"].get("CPU", 0) for node in ray.nodes())) or 1)
        remote = ray.remote(num_cpus=least, max_retries=retries, max_calls=0)(learn)
        waiting, at_work = deque(tasks), {}
        while waiting or at_work:
            slots = int(ray.cluster_resources().get("CPU", 1)) // least
            while waiting and len(at_work) < _WAITING * max(slots, 1) and not stop.requested:
                task = waiting.popleft()
                values = settings_file.to_dict(task.settings)
                reference = remote.remote(task.id, values, str(folder), least)
                at_work[reference] = task.id
                yield News(task.id, "began")
            if stop.requested:
                for reference in at_work:
                    ray.cancel(reference)
                return
            ready, _ = ray.wait(list(at_work), timeout=_TICK_SECONDS)
            if not ready:
                yield News("", "tick")
            for reference in ready:
                yield _news(at_work.pop(reference), reference)
    finally:
        ray.shutdown()


def _news(task: str, reference: Any) -> News:
    import ray  # pyright: ignore[reportMissingImports]
    from ray import exceptions  # pyright: ignore[reportMissingImports]

    try:
        result, error = ray.get(reference)
    except exceptions.RayError as lost:
        return News(task, "failed", error=" ".join(str(lost).split())[:500])
    if result is None:
        return News(task, "failed", error=error)
    return News(task, "done", result=result)


def learn(
    task: str, values: dict[str, Any], folder: str, cpus: int
) -> tuple[learned.Result | None, str]:
    """What a worker of the cluster does: a result, or one sentence that says why there is none."""
    import ray  # pyright: ignore[reportMissingImports]

    _take_processors(cpus)
    worker = f"node {ray.get_runtime_context().get_node_id()[:8]}"
    begun = time.monotonic()
    while True:
        try:
            return learned.learn(task, values, Path(folder), worker=worker), ""
        except runfolder.FolderBusy as error:
            # A node that was lost may not know it yet.
            if time.monotonic() - begun > _BUSY_SECONDS:
                return None, str(error)
            time.sleep(1)
        except (ValueError, FloatingPointError, OSError) as error:
            return None, " ".join(str(error).split())


def _take_processors(cpus: int) -> None:
    """Keeps this process to so many processors of its node, others than its neighbours'.

    A share is held by a lock, which goes with the process however that ends.
    """
    if _held or not hasattr(os, "sched_setaffinity"):
        return
    mine = sorted(os.sched_getaffinity(0))
    place = Path(tempfile.gettempdir()) / f"qlrjax-processors-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    for begin in range(0, len(mine) - cpus + 1, cpus):
        lock = filelock.FileLock(place / f"{mine[begin]}.lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            continue
        _held.append(lock)
        os.sched_setaffinity(0, mine[begin : begin + cpus])
        return
