"""A sweep in a folder: begun, stopped, gone on with; only what is missing is learned."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from qlrjax import files
from qlrjax.lab import learned, pool, sweepfolder, table
from qlrjax.lab.pool import News
from qlrjax.lab.sweepfile import Sweep, Task
from qlrjax.runs import interrupt, runfolder

Runner = Callable[[Sequence[Task], Path, interrupt.Stop], Iterator[News]]
OnNews = Callable[[News, "Standing"], None]
_WRITE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a sweep stands.

    Attributes:
        tasks: All of them.
        done: Results by task.
        failed: What went wrong by task, in this call.
        seconds_left: Estimated; None before the first result.
    """

    tasks: tuple[Task, ...]
    done: dict[str, learned.Result]
    failed: dict[str, str]
    seconds_left: float | None = None

    @property
    def missing(self) -> tuple[Task, ...]:
        """Tasks without a result."""
        return tuple(task for task in self.tasks if task.id not in self.done)


def standing(sweep: Sweep, folder: Path) -> Standing:
    """Where the sweep in a folder stands, read from its results."""
    found = {task.id: learned.read(folder, task.id) for task in sweep.tasks}
    done = {task: result for task, result in found.items() if result is not None}
    return Standing(sweep.tasks, done, {})


def local(workers: int, retries: int = 2) -> Runner:
    """Runs tasks in processes of this machine, see `pool.run`."""

    def runner(tasks: Sequence[Task], folder: Path, stop: interrupt.Stop) -> Iterator[News]:
        return pool.run(tasks, folder, workers, retries, stop)

    return runner


def run(
    sweep: Sweep,
    folder: Path,
    runner: Runner,
    on_news: OnNews | None = None,
    stop: interrupt.Stop | None = None,
    hours: float | None = None,
) -> Standing:
    """Learns every session of a sweep that has no result yet, and keeps the tables up to date.

    Args:
        sweep: What to learn.
        folder: Made if it is not there.
        runner: What carries tasks out: `local`, or `cluster.ray_runner`.
        on_news: Called with everything that happens.
        stop: After a stop was asked for, sessions at work save and end.
        hours: After so long, likewise; None is as long as it takes.

    Returns:
        Where the sweep stands at the end.

    Raises:
        ValueError: The folder holds something else, or another process works in it.
        OSError: It cannot be written to.
    """
    sweepfolder.look(folder)
    with runfolder.lock(folder):
        sweepfolder.claim(folder)
        files.write_atomic(folder / sweepfolder.FILE, sweep.text)
        now = standing(sweep, folder)
        watched = _Watched(folder, sweep, now, time.monotonic())
        bounded = _Bounded(stop or interrupt.Stop(), hours)
        if now.missing:
            for news in runner(now.missing, folder, bounded):
                now = watched.hear(news)
                if on_news:
                    on_news(news, now)
        table.write(folder, now.tasks, now.done)
    return now


class _Bounded(interrupt.Stop):
    """A stop that also comes by itself after some hours."""

    def __init__(self, stop: interrupt.Stop, hours: float | None) -> None:
        super().__init__()
        self._stop = stop
        self._until = None if hours is None else time.monotonic() + 3600 * hours

    @property
    def requested(self) -> bool:
        over = self._until is not None and time.monotonic() > self._until
        return self._stop.requested or over


class _Watched:
    """Results as they come, and what they say of the time that is left."""

    def __init__(self, folder: Path, sweep: Sweep, begun: Standing, at: float) -> None:
        self.folder, self.sweep = folder, sweep
        self.done, self.failed = dict(begun.done), dict(begun.failed)
        self.began: dict[str, float] = {}
        self.written = at

    def hear(self, news: News) -> Standing:
        now = time.monotonic()
        if news.kind == "began":
            self.began[news.task] = now
        elif news.kind in ("done", "failed", "stopped"):
            self.began.pop(news.task, None)
            if news.result is not None:
                self.done[news.task] = news.result
                if now - self.written > _WRITE_SECONDS:
                    table.write(self.folder, self.sweep.tasks, self.done)
                    self.written = time.monotonic()
            elif news.kind == "failed":
                self.failed[news.task] = news.error
        left = seconds_left(self.sweep.tasks, self.done, self.failed, self._running(now))
        return Standing(self.sweep.tasks, dict(self.done), dict(self.failed), left)

    def _running(self, now: float) -> dict[str, float]:
        return {task: now - began for task, began in self.began.items()}


def seconds_left(
    tasks: Sequence[Task],
    done: dict[str, learned.Result],
    failed: dict[str, str],
    running: dict[str, float],
) -> float | None:
    """An estimate from what like sessions took; None before any is finished.

    Args:
        tasks: All of them.
        done: Results by task; sessions that were resumed, and so are short, count as they are.
        failed: Tasks that are given up.
        running: Seconds that tasks at work have taken so far.
    """
    known: dict[tuple, list[float]] = {}
    for task in tasks:
        if task.id in done:
            seconds = float(done[task.id]["timing"].get("seconds", 0.0))
            for key in _likeness(task):
                known.setdefault(key, []).append(seconds)
    if not known:
        return None
    total = 0.0
    for task in tasks:
        if task.id not in done and task.id not in failed:
            like = next(known[key] for key in _likeness(task) if key in known)
            total += max(sum(like) / len(like) - running.get(task.id, 0.0), 0.0)
    return total / max(len(running), 1)


def _likeness(task: Task) -> list[tuple]:
    """What decides how long a session takes, from the closest to anything."""
    settings = task.settings
    place = (settings.weights, settings.stream.data, settings.latent_layer)
    return [(*place, settings.replays, settings.protocol.epochs), place, ()]


def default_workers() -> int:
    """As many as there are processors, up to four: more would wait for memory."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(count or 1, 4)
