"""What commands show: progress while they work, tables and sentences when they are done."""

import csv
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qlrjax.names import for_rich, printable
from qlrjax.runs.runfolder import Record

_CLASSES_NAMED = 5
_NAME_AT_MOST = 40
_LEAST_SECONDS = 0.02


def notes(console: Console, lines: Sequence[str]) -> None:
    """Things the user should know, one line each."""
    for line in lines:
        console.print(f"[yellow]note:[/] {for_rich(line)}", soft_wrap=True)


Shown = tuple[Callable[[str, int, int], None], Callable[[Record], None]]


@contextmanager
def progress(console: Console, strategy: str = "") -> Iterator[Shown]:
    """Bars on a terminal, a plain line an event elsewhere.

    Args:
        console: Where to.
        strategy: What learns, named in every line.

    Yields:
        Functions to call with (what, done, total), and with the record of an event.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, int] = {}
        pace = Pace()

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(for_rich(what), total=total, state="")
            bars.update(bars.tasks[tasks[what]].id, completed=done, total=total)

        def on_event(record: Record) -> None:
            accuracy = record.get("accuracy")
            state = "" if accuracy is None else f"accuracy {100 * accuracy:.1f} %"
            if console.is_terminal:
                what = f"{strategy}: events"
                on_progress(what, record["event"] + 1, record["of"])
                bars.update(bars.tasks[tasks[what]].id, state=pace.text(record, state))
            else:
                print(event_line(strategy, record, state), file=sys.stderr)

        yield on_progress, on_event


class Pace:
    """What stands beside the bar of events: the last accuracy, and how many images a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is learned yet."""
        self._clock = clock
        self._since = clock()
        self._accuracy = ""

    def text(self, record: Record, accuracy: str) -> str:
        """After an event; one that a log repeats takes no time and has no throughput."""
        seconds = self._clock() - self._since
        self._since += seconds
        self._accuracy = accuracy or self._accuracy
        quick = f"{record['images'] / seconds:.0f} images/s" if seconds > _LEAST_SECONDS else ""
        return ", ".join(part for part in (self._accuracy, quick) if part)


def event_line(strategy: str, record: Record, state: str) -> str:
    """One line of progress: who learned, which event, which classes, how well."""
    known = record["classes"]
    names = [printable(name, _NAME_AT_MOST) for name in known[:_CLASSES_NAMED]]
    more = f" and {len(known) - _CLASSES_NAMED} more" if len(known) > _CLASSES_NAMED else ""
    text = f"{strategy}: event {record['event'] + 1}/{record['of']}: {', '.join(names)}{more}"
    return f"{text}; {state}" if state else text


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose first column is names and whose others are figures."""
    shown = Table(title=for_rich(title))
    for place, column in enumerate(columns):
        shown.add_column(for_rich(column), justify="right" if place else "left")
    for row in rows:
        shown.add_row(*(for_rich(cell) for cell in row))
    return shown


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
