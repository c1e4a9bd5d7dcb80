"""`qlrjax sweep`: many sessions from one file, as resumable tasks."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.lab import sweep, sweepfile, table
from qlrjax.lab.pool import News
from qlrjax.lab.sweepfile import Task
from qlrjax.names import for_rich, printable
from qlrjax.runs import interrupt

_LISTED_AT_MOST = 20
_SHOWN = ("accuracy_percent", "forgetting_points", "replay_bytes")


@dataclasses.dataclass(frozen=True)
class SweepArguments:
    """Learn many sessions; what is finished already is not learned again.

    Attributes:
        file: TOML file of settings and what varies, see docs/lab.md.
        out: The sweep's folder; made if it is not there.
        data: Where images come from, instead of what the file says; see `qlrjax run --data`.
        workers: Processes of this machine; 0 is one a processor, up to four.
        hours: Begin nothing after so many hours, save what is at work, and list what is left.
        retries: How often a session is tried again whose worker died.
        missing: Only list what is not learned yet.
        ray: Address of a Ray cluster that shares the folder, or "local"; workers are its own then.
        ray_cpus: Processors of a session there.
    """

    file: Annotated[Path, tyro.conf.Positional]
    out: Path
    data: str = ""
    workers: int = 0
    hours: float | None = None
    retries: int = 2
    missing: bool = False
    ray: str = ""
    ray_cpus: int = 2

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"--workers is {self.workers}; give how many processes, or 0")
        if self.hours is not None and not self.hours > 0:
            raise ValueError(f"--hours is {self.hours}; give a positive number of hours")
        if self.retries < 0:
            raise ValueError(f"--retries is {self.retries}; give 0 or more")
        if self.ray_cpus < 1:
            raise ValueError(f"--ray-cpus is {self.ray_cpus}; give 1 or more")

    def runner(self) -> sweep.Runner:
        """What carries tasks out."""
        if not self.ray:
            return sweep.local(self.workers or sweep.default_workers(), self.retries)
        from qlrjax.lab import cluster

        return cluster.runner(self.ray, self.ray_cpus, self.retries)


def main(words: Sequence[str], stop: interrupt.Stop) -> int:
    """Learns what is missing.

    Returns:
        0 when every session is finished, 1 when some failed, 130 and 143 when interrupted, 0 when
        the hours are over.
    """
    arguments = parse_arguments(SweepArguments, words, "qlrjax sweep")
    wanted, console = sweepfile.load(arguments.file, arguments.data), Console(stderr=True)
    if arguments.missing:
        _list(sweep.standing(wanted, arguments.out).missing)
        return 0
    with _Shown(console, wanted) as shown:
        now = sweep.run(
            wanted, arguments.out, arguments.runner(), shown.hear, stop, arguments.hours
        )
    _conclude(Console(), arguments, wanted, now)
    if stop.requested:
        return stop.exit_code
    return 1 if now.failed else 0


class _Shown:
    """One bar for all sessions on a terminal, a line a session elsewhere."""

    def __init__(self, console: Console, wanted: sweepfile.Sweep) -> None:
        self.console, self.names = console, {task.id: name(task) for task in wanted.tasks}
        self.total, self.at_work = len(wanted.tasks), {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        columns += (TextColumn("{task.fields[state]}"),)
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self.bar = self.bars.add_task("sessions", total=self.total, state="")

    def __enter__(self) -> "_Shown":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def hear(self, news: News, now: sweep.Standing) -> None:
        """Shows what happened."""
        if news.kind == "event":
            self.at_work[news.task] = f"{news.event}/{news.of}"
        elif news.kind != "tick":
            self.at_work.pop(news.task, None)
        state = ", ".join(self.at_work.values())
        left = "" if now.seconds_left is None else f"{duration(now.seconds_left)} left"
        text = "; ".join(part for part in (left, f"events {state}" if state else "") if part)
        self.bars.update(self.bar, completed=len(now.done), state=text)
        line = self._line(news)
        if line and self.console.is_terminal:
            self.bars.console.print(for_rich(line), soft_wrap=True)
        elif line:
            ending = f" ({len(now.done)}/{self.total}{', ' + left if left else ''})"
            print(time.strftime("%H:%M:%S ") + line + ending, file=sys.stderr, flush=True)

    def _line(self, news: News) -> str:
        what = self.names.get(news.task, "")
        if news.kind == "done" and news.result:
            figures, timing = news.result["figures"], news.result["timing"]
            return f"{what}: {figures['accuracy_percent']:.1f} % in {timing['seconds']:.0f} s"
        if news.kind == "failed":
            return f"{what}: failed: {news.error}"
        if news.kind == "died":
            return f"{what}: its worker died; tried again from its last checkpoint"
        return ""


def name(task: Task) -> str:
    """A task by what its sweep varies."""
    varied = ", ".join(f"{key} {value}" for key, value in task.varied.items())
    return printable(f"{task.case}: {varied}" if task.case else varied or task.id, 120)


def duration(seconds: float) -> str:
    """Like 3 h 05 min, 12 min or 40 s."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _list(missing: Sequence[Task]) -> None:
    print(f"{len(missing)} sessions are missing")
    for task in missing:
        print(f"{task.id}  {name(task)}")


def _conclude(
    console: Console, arguments: SweepArguments, wanted: sweepfile.Sweep, now: sweep.Standing
) -> None:
    found = table.rows(now.tasks, now.done)
    varied = list(dict.fromkeys(key for task in wanted.tasks for key in ("case", *task.varied)))
    varied = [key for key in varied if len({str(row[key]) for row in found}) > 1]
    if found:
        columns = [*varied, *_SHOWN]
        rows = [[row[key] for key in columns] for row in found[:_LISTED_AT_MOST]]
        console.print(show.table(wanted.title, columns, rows))
        rest = len(found) - _LISTED_AT_MOST
        more = f", {rest} more rows of them" if rest > 0 else ""
        text = f"table: {arguments.out / table.CSV} and {table.PARQUET}{more}"
        console.print(for_rich(text), soft_wrap=True)
    for task, error in now.failed.items():
        console.print(for_rich(f"failed: {task}: {error}"), soft_wrap=True)
    if now.missing:
        text = (
            f"{len(now.missing)} of {len(now.tasks)} sessions are missing; the same command goes "
            "on, and --missing lists them"
        )
        console.print(text, soft_wrap=True)
