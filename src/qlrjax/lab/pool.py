"""Worker processes of this machine: tasks go out one by one, and a dead worker's is tried again.

Each worker gets its share of the processors before JAX counts them, so that several together use
what one would. A worker is told to stop by SIGTERM, saves what it has, and says so; one whose
parent has gone ends at its next event.
"""

import dataclasses
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from qlrjax import programs
from qlrjax import settings as settings_file
from qlrjax.lab import learned
from qlrjax.lab.sweepfile import Task
from qlrjax.runs import interrupt

_TICK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class News:
    """What happened to a task.

    Attributes:
        task: Which.
        kind: "began", "event", "done", "failed", "died" (and is tried again), "stopped", or "tick"
            without a task, so that whoever shows time can do so.
        event: Events learned, where kind is "event"; attempts that died, where it is "died".
        of: Events in all.
        accuracy: A share of 1, where it was tested.
        result: Where kind is "done".
        error: One sentence, where it failed.
    """

    task: str
    kind: str
    event: int = 0
    of: int = 0
    accuracy: float | None = None
    result: learned.Result | None = None
    error: str = ""


@dataclasses.dataclass
class _Worker:
    process: Any
    pipe: connection.Connection
    task: Task | None = None


def run(
    tasks: Sequence[Task], folder: Path, workers: int, retries: int, stop: interrupt.Stop
) -> Iterator[News]:
    """Runs tasks in worker processes.

    Args:
        tasks: In the order in which they are begun.
        folder: The sweep's.
        workers: Processes, at most one a task.
        retries: How often a task is tried again whose worker died.
        stop: No task is begun after a stop was asked for, and those at work save and end.

    Yields:
        What happened, as it happens.
    """
    waiting, deaths = deque(tasks), dict.fromkeys((task.id for task in tasks), 0)
    crew: list[_Worker] = []
    shares = _shares(min(workers, len(tasks)))
    told = False
    try:
        crew += [_start(folder, share) for share in shares]
        while True:
            for worker in crew:
                if worker.task is None and waiting and not stop.requested:
                    worker.task = waiting.popleft()
                    values = settings_file.to_dict(worker.task.settings)
                    if _send(worker, (worker.task.id, values)):
                        yield News(worker.task.id, "began")
            if stop.requested and not told:
                told = True
                for worker in crew:
                    _signal(worker, signal.SIGTERM)
            busy = [worker for worker in crew if worker.task is not None]
            if not busy:
                return
            ready = connection.wait([worker.pipe for worker in busy], _TICK_SECONDS)
            if not ready:
                yield News("", "tick")
            for place, worker in enumerate(crew):
                if worker.pipe not in ready or worker.task is None:
                    continue
                try:
                    news = worker.pipe.recv()
                except (EOFError, OSError):
                    news = _died(worker.task, deaths, retries, stop)
                    if news.kind == "died":
                        waiting.appendleft(worker.task)
                    worker.process.join()
                    crew[place] = _start(folder, shares[place])
                else:
                    if news.kind != "event":
                        worker.task = None
                yield news
    finally:
        _end(crew)


def _died(task: Task, deaths: dict[str, int], retries: int, stop: interrupt.Stop) -> News:
    deaths[task.id] += 1
    if stop.requested:
        return News(task.id, "stopped")
    if deaths[task.id] > retries:
        error = f"its worker died {deaths[task.id]} times; it was killed, or ran out of memory"
        return News(task.id, "failed", error=error)
    return News(task.id, "died", event=deaths[task.id])


def _send(worker: _Worker, order: Any) -> bool:
    """False where the worker is dead, which its pipe says next."""
    try:
        worker.pipe.send(order)
        return True
    except OSError:
        return False


def _signal(worker: _Worker, number: int) -> None:
    if worker.process.is_alive():
        os.kill(worker.process.pid, number)


def _shares(count: int) -> list[list[int]]:
    """The processors of each worker: as equal parts as there are, or one for several workers."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(count)]
    mine = sorted(os.sched_getaffinity(0))
    if count >= len(mine):
        return [[mine[place % len(mine)]] for place in range(count)]
    size, rest = divmod(len(mine), count)
    shares, begin = [], 0
    for place in range(count):
        end = begin + size + (place < rest)
        shares.append(mine[begin:end])
        begin = end
    return shares


def _start(folder: Path, share: list[int]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, str(folder), share), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _end(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
    for worker in crew:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: connection.Connection, folder: str, share: list[int]) -> None:
    """What a worker does until its pipe is closed."""
    os.setpgrp()  # Ctrl-C is the parent's; it passes it on once
    if share:
        os.sched_setaffinity(0, share)
    programs.keep()
    with interrupt.catch() as stop:
        while not stop.requested:
            try:
                task, values = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                pipe.send(_try(task, values, Path(folder), pipe, stop))
            except OSError:  # the parent has gone
                return


def _try(
    task: str, values: dict[str, Any], folder: Path, pipe: connection.Connection, stop: Any
) -> News:
    def on_event(event: int, of: int, accuracy: float | None) -> None:
        pipe.send(News(task, "event", event, of, accuracy))

    try:
        result = learned.learn(task, values, folder, on_event, stop)
    except (ValueError, FloatingPointError) as error:
        return News(task, "failed", error=" ".join(str(error).split()))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return News(task, "failed", error=" ".join(str(error).split()))
    return News(task, "done", result=result) if result else News(task, "stopped")
